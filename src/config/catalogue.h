// The catalogue of settings: the one table that reading, printing, messages and the test of
// berthd.toml(5) go by. A new setting is one member in its struct and one entry here.
#pragma once

#include <string_view>
#include <vector>

#include "config/setting.h"
#include "config/settings.h"
#include "pool/policy.h"

namespace berth::config {

const std::vector<Setting<DaemonSettings>>& daemon_settings();
const std::vector<Setting<pool::PoolPolicy>>& pool_settings();
const std::vector<Setting<SocketSettings>>& socket_settings();
// Which of them a pool's settings are.
inline Scope scope_of(const pool::PoolPolicy& pool) {
  if (pool.lends_slots()) return kSlotPools;
  return pool.carries_channels() ? kChannelPools : kStreamPools;
}
// What [dynamic] has beside those of a pool.
const std::vector<Setting<DynamicSettings>>& dynamic_settings();

template <class T>
std::vector<std::string_view> names_of(const std::vector<Setting<T>>& settings) {
  std::vector<std::string_view> names;
  names.reserve(settings.size());
  for (const Setting<T>& setting : settings) names.push_back(setting.name);
  return names;
}

}  // namespace berth::config
