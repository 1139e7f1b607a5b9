// How messages about several settings name them.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>

#include "config/table_reader.h"
#include "pool/policy.h"

namespace berth::config {

// The table that a pool's settings stand in: "[pool.redis]" or "[dynamic]".
std::string title_of(const pool::PoolPolicy& pool);

bool all_valid(const Said& said, std::initializer_list<std::string_view> names);
bool has_default(const pool::PoolPolicy& pool, std::string_view name);

// "max_connections = 20 (default)", "max_connections = 4 (line 7)"; -1 is "none".
std::string cite(const Said& said, const char* name, int number);
// "relogin = true (line 7)".
std::string cite(const Said& said, const std::string& name, const std::string& value);
// "listen (line 7)", of a setting that was said.
std::string cite(const Said& said, const std::string& name);

// The place of the setting that was written last.
Place last_place(const Said& said, const char* first, const char* second);

}  // namespace berth::config
