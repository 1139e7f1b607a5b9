// Admission: how many sessions there may be, in all and of one user, by whichever socket they come.
//
// Loop thread only.
#pragma once

#include <absl/container/flat_hash_map.h>

#include <cstdint>
#include <string>

namespace berth::broker {

struct SessionLimits {
  uint32_t all = 4096;
  uint32_t per_user = 1024;
};

class Admission {
 public:
  explicit Admission(SessionLimits limits) : limits_(limits) {}

  // For those admitted from now on.
  void set_limits(SessionLimits limits) { limits_ = limits; }

  // Why one more of this user is not welcome; "" if he is.
  std::string refusal_of(uint32_t uid) const;
  // Returns its number, which is never given twice.
  uint64_t enter(uint32_t uid);
  void leave(uint32_t uid);

 private:
  SessionLimits limits_;
  uint32_t count_ = 0;
  absl::flat_hash_map<uint32_t, uint32_t> per_user_;
  uint64_t numbers_ = 0;
};

}  // namespace berth::broker
