// Settings that are right by themselves and wrong together. Both are named, with their lines.
#pragma once

#include "config/problem.h"
#include "config/settings.h"
#include "config/table_reader.h"

namespace berth::config {

void check_pool(const pool::PoolPolicy& pool, const Said& said, Report& report);

// `said` is what [dynamic] says of pools.
void check_dynamic(const DynamicSettings& dynamic, const Said& said, Report& report);
void check_socket(const SocketSettings& socket, const Said& said, Report& report);

// What the pools ask for together against what [daemon] allows. `said` is [daemon]'s.
void check_totals(const Settings& settings, const Said& said, Report& report);

}  // namespace berth::config
