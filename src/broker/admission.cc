#include "broker/admission.h"

#include <fmt/format.h>

#include "net/process.h"

namespace berth::broker {

std::string Admission::refusal_of(uint32_t uid) const {
  if (count_ >= limits_.all) {
    return fmt::format("berthd holds {} sessions already (max_sessions, or half of its fd limit)",
                       count_);
  }
  const auto at = per_user_.find(uid);
  if (at != per_user_.end() && at->second >= limits_.per_user) {
    return fmt::format("uid {} ({}) has {} sessions already (max_sessions_per_user)", uid,
                       net::user_name(uid), at->second);
  }
  return "";
}

uint64_t Admission::enter(uint32_t uid) {
  ++count_;
  ++per_user_[uid];
  return ++numbers_;
}

void Admission::leave(uint32_t uid) {
  --count_;
  const auto user = per_user_.find(uid);
  if (--user->second == 0) per_user_.erase(user);
}

}  // namespace berth::broker
