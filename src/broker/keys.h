// Keys: finds the pool that serves a key; makes one for a URL, or for bare slots, where dynamic
// keys are allowed.
//
// Loop thread only. Borrows the driver.
#pragma once

#include <string_view>
#include <variant>

#include "broker/driver.h"
#include "config/settings.h"

namespace berth::broker {

// Where dynamic keys are allowed: of a pool of bare slots.
inline constexpr std::string_view kSlotKey = "slot";

class Keys {
 public:
  Keys(PoolDriver& driver, bool dynamic_keys, pool::PoolPolicy dynamic_default)
      : driver_(driver),
        dynamic_keys_(dynamic_keys),
        dynamic_default_(std::move(dynamic_default)) {}

  void set_dynamic_default(pool::PoolPolicy policy) { dynamic_default_ = std::move(policy); }

  // The refusal names the nearest key that this session may lease.
  std::variant<PoolId, pool::Refusal> find(SessionId session, std::string_view key);

  // The same without effects: a policy is that of the pool that would be made. Nothing: no pool
  // serves the key, nor could one.
  using Found = std::variant<std::monostate, PoolId, pool::PoolPolicy, pool::Refusal>;
  Found look_up(std::string_view key) const;

 private:
  Found look_up_url(std::string_view key) const;
  pool::PoolPolicy slots() const;
  pool::Refusal unknown(SessionId session, std::string_view key) const;

  PoolDriver& driver_;
  bool dynamic_keys_;
  pool::PoolPolicy dynamic_default_;
};

}  // namespace berth::broker
