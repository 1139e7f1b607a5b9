#include "control/gate.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/epoll.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/limits.h"
#include "base/log.h"
#include "base/status_text.h"
#include "net/peer.h"

namespace berth::control {
namespace {

using namespace std::chrono_literals;

// Without slots, or with the most connections: nothing tells when that changes.
constexpr Duration kRetryAfter = 100ms;
// gRPC closes its descriptor on a thread of its own, soon after the end.
constexpr Duration kBuryAgainAfter = 20ms;
// High numbers, out of the way of all others, which are given from 0; but not so high that the
// kernel's table of descriptors becomes large for their sake.
constexpr int kHighestFirst = 16384;
constexpr int kMostNumbers = 8192;
constexpr int kNoNumber = -1;

// Whether two descriptors of this process are the same socket.
bool same_socket(int a, int b) {
  struct stat first {};
  struct stat second {};
  return fstat(a, &first) == 0 && fstat(b, &second) == 0 && first.st_ino == second.st_ino &&
         first.st_dev == second.st_dev;
}

}  // namespace

Gate::Numbers::Numbers(uint32_t fd_limit)
    : first(std::min(static_cast<int>(fd_limit) / 2, kHighestFirst)),
      end(std::min(static_cast<int>(fd_limit), first + kMostNumbers)),
      next(first) {}

UniqueFd Gate::Numbers::duplicate(int fd) {
  for (const int from : {next, first}) {
    UniqueFd high(fcntl(fd, F_DUPFD_CLOEXEC, from));
    if (!high.valid() || high.get() >= end) continue;
    next = high.get() + 1 < end ? high.get() + 1 : first;
    return high;
  }
  return UniqueFd();
}

Gate::Gate(loop::Loop& loop, net::Listener listener, uint32_t fd_limit, broker::PoolDriver& driver,
           Peers& peers, std::function<void(int fd)> adopt)
    : loop_(loop),
      listener_(std::move(listener)),
      driver_(driver),
      peers_(peers),
      adopt_(std::move(adopt)),
      numbers_(fd_limit),
      ends_(loop, [this](uint64_t tag, uint32_t) { ended(tag); }),
      bury_timer_(loop, [this] { bury(); }),
      retry_(loop,
             [this] {
               watch_.watch({true, false});
             }),
      watch_(loop, listener_.fd(), [this](loop::Ready) { accept(); }) {
  watch_.watch({true, false});
}

Gate::~Gate() {
  for (const auto& [tag, connection] : connections_) {
    if (std::find(ending_.begin(), ending_.end(), tag) == ending_.end()) {
      ends_.remove(connection.ours.get());
    }
  }
}

void Gate::pause(Duration duration) {
  watch_.watch({});
  retry_.arm(loop_.now() + duration);
}

void Gate::accept() {
  // Asked first, since to reserve may cost somebody an idle connection.
  for (int i = 0; i < kMaxAcceptsPerTurn && net::has_caller(listener_.fd()); ++i) {
    const bool has_slots = take_slots();
    if (!has_slots && without_slots_ > kMaxControlConnectionsOfReserve) {
      give_back(has_slots);
      return pause(kRetryAfter);
    }
    net::Accepted accepted = net::accept_session(listener_.fd());
    if (accepted.kind == net::Accepted::session) {
      admit(std::move(accepted.fd), has_slots);
      continue;
    }
    give_back(has_slots);
    if (accepted.kind == net::Accepted::nothing) return;
    log().error("{}: accept: {}", listener_.path(), std::strerror(accepted.error_number));
    return pause(kRetryAfter);
  }
}

bool Gate::take_slots() {
  const bool has_slots = connections_.size() - without_slots_ < kMaxControlConnections &&
                         driver_.reserve_slots(kSlots);
  if (!has_slots) ++without_slots_;
  return has_slots;
}

void Gate::give_back(bool has_slots) {
  if (has_slots) return driver_.release_slots(kSlots);
  --without_slots_;
}

std::string Gate::refusal_of(uint32_t uid, bool has_slots) const {
  if (!has_slots && !peers_.is_admin(uid)) {
    return fmt::format("uid {} is no administrator, and for others no descriptor is left", uid);
  }
  const auto at = per_user_.find(uid);
  if (at == per_user_.end() || at->second < kMaxControlConnectionsPerUser) return "";
  return fmt::format("uid {} has {} connections already", uid, at->second);
}

void Gate::admit(UniqueFd fd, bool has_slots) {
  absl::StatusOr<net::PeerIdentity> peer = net::identify_peer(fd.get());
  std::string refusal = peer.ok() ? refusal_of(peer->uid, has_slots) : text_of(peer.status());
  UniqueFd theirs;
  if (refusal.empty()) {
    peer->pidfd.reset();  // a call is as good as its connection, whoever holds that now
    theirs = numbers_.duplicate(fd.get());
    if (!theirs.valid()) refusal = "no descriptor number is left";
  }
  const uint64_t tag = ++tags_;
  if (refusal.empty() && !ends_.add(fd.get(), EPOLLRDHUP, tag)) {
    refusal = "the kernel watches no more descriptors";
  }
  if (!refusal.empty()) {
    log().warn("{}: a connection is refused: {}", listener_.path(), refusal);
    theirs.reset();
    fd.reset();
    return give_back(has_slots);
  }
  ++per_user_[peer->uid];
  take_number(theirs.get());
  peers_.add(theirs.get(), {peer->uid, peer->pid});
  log().debug("{}: uid {} (pid {}) has connected as fd:{}", listener_.path(), peer->uid, peer->pid,
              theirs.get());
  connections_[tag] = {std::move(fd), theirs.get(), peer->uid, has_slots};
  adopt_(theirs.release());
}

// With few numbers free, one may come round before the gate has learnt that its last holder is
// gone.
void Gate::take_number(int number) {
  for (auto& [tag, connection] : connections_) {
    if (connection.number == number) connection.number = kNoNumber;
  }
}

void Gate::ended(uint64_t tag) {
  const auto at = connections_.find(tag);
  if (at == connections_.end() || std::find(ending_.begin(), ending_.end(), tag) != ending_.end()) {
    return;
  }
  ends_.remove(at->second.ours.get());
  ending_.push_back(tag);
  bury();
}

// The credentials stay as long as gRPC's descriptor: a call that is under way may still ask.
void Gate::bury() {
  std::erase_if(ending_, [this](uint64_t tag) {
    const auto at = connections_.find(tag);
    const Connection& connection = at->second;
    if (same_socket(connection.ours.get(), connection.number)) return false;
    peers_.remove(connection.number);
    if (--per_user_[connection.uid] == 0) per_user_.erase(connection.uid);
    const bool had_slots = connection.has_slots;
    connections_.erase(at);
    give_back(had_slots);
    return true;
  });
  bury_timer_.arm(ending_.empty() ? kNever : loop_.now() + kBuryAgainAfter);
}

}  // namespace berth::control
