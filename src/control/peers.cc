#include "control/peers.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <utility>

namespace berth::control {

void Peers::add(int fd, Peer peer) {
  const std::lock_guard lock(mutex_);
  peers_[fd] = peer;
}

void Peers::remove(int fd) {
  const std::lock_guard lock(mutex_);
  peers_.erase(fd);
}

std::optional<Peer> Peers::find(std::string_view name) const {
  constexpr std::string_view kPrefix = "fd:";
  if (!name.starts_with(kPrefix)) return std::nullopt;
  name.remove_prefix(kPrefix.size());
  int fd = -1;
  const auto [rest, error] = std::from_chars(name.data(), name.data() + name.size(), fd);
  if (error != std::errc{} || rest != name.data() + name.size()) return std::nullopt;
  const std::lock_guard lock(mutex_);
  const auto found = peers_.find(fd);
  return found != peers_.end() ? std::optional(found->second) : std::nullopt;
}

void Peers::set_admins(std::vector<uint32_t> admins) {
  const std::lock_guard lock(mutex_);
  admins_ = std::move(admins);
}

bool Peers::is_admin(uint32_t uid) const {
  if (uid == 0 || uid == geteuid()) return true;
  const std::lock_guard lock(mutex_);
  return std::find(admins_.begin(), admins_.end(), uid) != admins_.end();
}

}  // namespace berth::control
