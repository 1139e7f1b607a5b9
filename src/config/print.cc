#include "config/print.h"

#include <algorithm>

#include "config/catalogue.h"
#include "config/text.h"

namespace berth::config {
namespace {

template <class T>
std::string table_text(const std::string& title, const std::vector<Setting<T>>& settings,
                       const T& values, bool slots = false) {
  std::string out = title + "\n";
  for (const Setting<T>& setting : settings) {
    if (slots && setting.scope != Scope::slots_too) continue;
    out.append(setting.name).append(" = ").append(setting.kind.write(values)).append("\n");
  }
  return out;
}

// TOML takes an unquoted dot for the start of a table inside the table.
std::string title_of(const pool::PoolPolicy& pool) {
  const bool dotted = pool.key.find('.') != pool.key.npos;
  return "[pool." + (dotted ? toml_string(pool.key) : pool.key) + "]";
}

}  // namespace

std::string print(const Settings& settings) {
  std::string out = table_text("[daemon]", daemon_settings(), settings.daemon);
  for (const pool::PoolPolicy& pool : settings.pools) {
    out += "\n" + table_text(title_of(pool), pool_settings(), pool, pool.lends_slots());
  }
  if (settings.dynamic_keys) {
    out +=
        "\n# URLs may serve as keys too, and slot. Such a pool has the default of every setting.\n";
  }
  return out;
}

}  // namespace berth::config
