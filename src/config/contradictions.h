// Settings that are right by themselves and wrong together. Both are named, with their lines.
#pragma once

#include "config/problem.h"
#include "config/settings.h"
#include "config/table_reader.h"

namespace berth::config {

// Takes from a pool what it has by default only and cannot mean it: a proxy where none leads, and
// a password that was written for another proxy.
void fit_defaults(pool::PoolPolicy& pool, const Said& said);

void check_pool(const pool::PoolPolicy& pool, const Said& said, Report& report);

// What the pools ask for together against what [daemon] allows. `said` is [daemon]'s.
void check_totals(const Settings& settings, const Said& said, Report& report);

}  // namespace berth::config
