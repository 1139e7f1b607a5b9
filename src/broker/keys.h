// Keys: finds the pool that serves a key; makes one for a URL, or for bare slots, where dynamic
// keys allow it.
//
// Loop thread only. Borrows the driver.
#pragma once

#include <string_view>
#include <variant>

#include "broker/driver.h"
#include "config/settings.h"

namespace berth::broker {

// Where dynamic keys allow slot: of a pool of bare slots.
inline constexpr std::string_view kSlotKey = "slot";

class Keys {
 public:
  Keys(PoolDriver& driver, config::DynamicSettings dynamic)
      : driver_(driver), dynamic_(std::move(dynamic)) {}

  // Pools that keys have made take over the policy; they go if their keys are allowed no more.
  void reload(config::DynamicSettings dynamic);

  // The refusal names the nearest key that this session may lease.
  std::variant<PoolId, pool::Refusal> find(SessionId session, std::string_view key);

  // The same without effects: a policy is that of the pool that would be made. Nothing: no pool
  // serves the key, nor could one.
  using Found = std::variant<std::monostate, PoolId, pool::PoolPolicy, pool::Refusal>;
  Found look_up(std::string_view key) const;

 private:
  Found look_up_url(std::string_view key) const;
  bool allows(const Endpoint& endpoint) const;
  pool::PoolPolicy policy_for(const Endpoint& endpoint) const;
  std::variant<PoolId, pool::Refusal> make(SessionId session, pool::PoolPolicy policy);
  pool::Refusal unknown(SessionId session, std::string_view key) const;

  PoolDriver& driver_;
  config::DynamicSettings dynamic_;
};

}  // namespace berth::broker
