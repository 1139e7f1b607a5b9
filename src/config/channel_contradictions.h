// Settings of channel pools that are wrong together, or elsewhere (config/contradictions.h).
#pragma once

#include "config/problem.h"
#include "config/table_reader.h"
#include "pool/policy.h"

namespace berth::config {

// Whether the endpoints are not of one kind, which is told then.
bool mixes_channels(const pool::PoolPolicy& pool, const Said& said, Report& report);

// Of a channel pool.
void check_channels(const pool::PoolPolicy& pool, const Said& said, Report& report);

// Of a stream pool, or [dynamic]: what only channel pools have.
void refuse_channel_settings(const pool::PoolPolicy& pool, const Said& said, Report& report);

}  // namespace berth::config
