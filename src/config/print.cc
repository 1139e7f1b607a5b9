#include "config/print.h"

#include <algorithm>

#include "config/catalogue.h"
#include "config/text.h"

namespace berth::config {
namespace {

template <class T, class Wanted>
std::string settings_text(const std::vector<Setting<T>>& settings, const T& values, Wanted wanted) {
  std::string out;
  for (const Setting<T>& setting : settings) {
    if (!wanted(setting)) continue;
    out.append(setting.name).append(" = ").append(setting.kind.write(values)).append("\n");
  }
  return out;
}

template <class T>
std::string table_text(const std::string& title, const std::vector<Setting<T>>& settings,
                       const T& values, unsigned scope = kAllPools) {
  return title + "\n" + settings_text(settings, values, [scope](const Setting<T>& setting) {
           return (setting.scope & scope) != 0;
         });
}

// TOML takes an unquoted dot for the start of a table inside the table.
std::string title_of(const std::string& kind, const std::string& name) {
  const bool dotted = name.find('.') != name.npos;
  return "[" + kind + "." + (dotted ? toml_string(name) : name) + "]";
}

}  // namespace

std::string print(const Settings& settings) {
  std::string out = table_text("[daemon]", daemon_settings(), settings.daemon);
  for (const pool::PoolPolicy& pool : settings.pools) {
    out += "\n" + table_text(title_of("pool", pool.key), pool_settings(), pool, scope_of(pool));
  }
  for (const SocketSettings& socket : settings.sockets) {
    out += "\n" + table_text(title_of("socket", socket.name), socket_settings(), socket);
  }
  if (!settings.dynamic.allow.empty()) {
    out += "\n" + table_text("[dynamic]", dynamic_settings(), settings.dynamic) +
           settings_text(pool_settings(), settings.dynamic.policy, [](const auto& setting) {
             const bool of_streams = (setting.scope & kStreamPools) != 0;
             return of_streams && setting.name != "endpoints" && setting.name != "min_idle";
           });
  }
  return out;
}

}  // namespace berth::config
