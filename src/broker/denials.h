// Denials: what is logged of those who ask for what they may not have, without letting anybody
// flood the log.
//
// Of each user kBurst are logged at once and one every kEvery after that; those left out are
// counted. Loop thread only; `now` is a parameter.
#pragma once

#include <absl/container/flat_hash_map.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/time.h"
#include "pool/records.h"

namespace berth::broker {

class Denials {
 public:
  static constexpr uint32_t kBurst = 5;
  static constexpr Duration kEvery = std::chrono::seconds(10);
  // Users that are told apart; beyond, they share a limit.
  static constexpr size_t kMaxUsers = 256;

  // Nothing: of this user no more is to be logged now. Else what is to stand at the end of the
  // line: how many were left out, if any.
  std::optional<std::string> may_log(TimePoint now, uint32_t uid);
  // The line to log, or nothing. `key` and `why` may hold any bytes.
  std::optional<std::string> note(TimePoint now, const pool::SessionInfo& who, std::string_view key,
                                  std::string_view why);

  size_t users() const { return users_.size(); }

 private:
  struct User {
    TimePoint quiet_at{};   // when all of kBurst may be logged again
    uint64_t left_out = 0;  // since the last line
  };

  User& user(TimePoint now, uint32_t uid);

  absl::flat_hash_map<uint32_t, User> users_;
  User others_;
};

}  // namespace berth::broker
