#include "config/cite.h"

#include <algorithm>

#include "config/catalogue.h"
#include "config/text.h"

namespace berth::config {

std::string title_of(const pool::PoolPolicy& pool) {
  return pool.key.empty() ? "[dynamic]" : "[pool." + pool.key + "]";
}

bool all_valid(const Said& said, std::initializer_list<std::string_view> names) {
  return std::all_of(names.begin(), names.end(),
                     [&](std::string_view name) { return said.valid(name); });
}

bool has_default(const pool::PoolPolicy& pool, std::string_view name) {
  const auto& settings = pool_settings();
  const auto setting = std::find_if(settings.begin(), settings.end(),
                                    [name](const auto& each) { return each.name == name; });
  return setting->kind.write(pool) == setting->kind.write({});
}

std::string cite(const Said& said, const char* name, int number) {
  const std::string value = number == pool::kNone ? "\"none\"" : std::to_string(number);
  return cite(said, name, value);
}

std::string cite(const Said& said, const std::string& name, const std::string& value) {
  return name + " = " + value + said.origin(name);
}

std::string cite(const Said& said, const std::string& name) {
  return name + said.origin(name);
}

Place last_place(const Said& said, const char* first, const char* second) {
  const Place a = said.place(first);
  const Place b = said.place(second);
  return a.line > b.line ? a : b;
}

}  // namespace berth::config
