#include "broker/denials.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "net/process.h"

namespace berth::broker {

Denials::User& Denials::user(TimePoint now, uint32_t uid) {
  if (const auto at = users_.find(uid); at != users_.end()) return at->second;
  if (users_.size() >= kMaxUsers) {
    absl::erase_if(users_, [now](const auto& entry) { return entry.second.quiet_at <= now; });
  }
  return users_.size() < kMaxUsers ? users_[uid] : others_;
}

std::optional<std::string> Denials::may_log(TimePoint now, uint32_t uid) {
  User& limit = user(now, uid);
  const TimePoint quiet_at = std::max(limit.quiet_at, now) + kEvery;
  if (quiet_at > now + kBurst * kEvery) {
    ++limit.left_out;
    return std::nullopt;
  }
  limit.quiet_at = quiet_at;
  const uint64_t left_out = std::exchange(limit.left_out, 0);
  return left_out > 0 ? fmt::format(" ({} more were not logged)", left_out) : "";
}

std::optional<std::string> Denials::note(TimePoint now, const pool::SessionInfo& who,
                                         std::string_view key, std::string_view why) {
  const std::optional<std::string> left_out = may_log(now, who.uid);
  if (!left_out) return std::nullopt;
  return fmt::format("denied: pid {} {} (uid {}) asks for {:?}: {:?}{}", who.pid,
                     net::command_of(who.pid), who.uid, key, why, *left_out);
}

}  // namespace berth::broker
