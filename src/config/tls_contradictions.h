// Settings of TLS that are wrong together, or with others (config/contradictions.h).
#pragma once

#include <string>

#include "config/problem.h"
#include "config/table_reader.h"
#include "pool/policy.h"

namespace berth::config {

void check_tls(const pool::PoolPolicy& pool, const Said& said, Report& report);
// The same of a channel pool.
void check_channel_tls(const pool::PoolPolicy& pool, const Said& said, Report& report);

// Why no pool can come of what [dynamic] says and a URL, which the file does not know; "" if one
// can.
std::string fault_of_url_pool(const pool::PoolPolicy& pool);

}  // namespace berth::config
