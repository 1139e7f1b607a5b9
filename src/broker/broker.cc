#include "broker/broker.h"

#include <fmt/format.h>
#include <sys/random.h>

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "base/status_text.h"
#include "net/listen.h"
#include "net/peer.h"
#include "net/pin.h"

namespace berth::broker {
namespace {

// A lease socket, a session and some connections; with fewer, nothing useful can be done.
constexpr uint32_t kLeastSlots = 8;
constexpr int kBacklog = 4096;  // as net.core.somaxconn has been since Linux 5.4

uint64_t random_seed() {
  uint64_t seed = 0;
  BERTH_CHECK(getrandom(&seed, sizeof seed, 0) == sizeof seed, "the kernel has random bytes");
  return seed;
}

pool::DepotSettings depot_settings(const config::DaemonSettings& daemon, uint32_t fd_limit) {
  const auto reserve = static_cast<uint32_t>(daemon.fd_reserve);
  return {fd_limit > reserve ? fd_limit - reserve : 0, daemon.total_max_idle, random_seed()};
}

net::DialOptions dial_options(bool pin) {
  net::DialOptions options;
  options.pin = pin;
  return options;
}

// Sessions may take half of the descriptors, so that there is always something to lease.
SessionLimits session_limits(const config::DaemonSettings& daemon, const pool::FdBudget& budget) {
  const uint32_t half = std::max(1u, budget.limit() / 2 / Sessions::kSlots);
  return {std::min(static_cast<uint32_t>(daemon.max_sessions), half),
          static_cast<uint32_t>(daemon.max_sessions_per_user)};
}

}  // namespace

Broker::Broker(loop::Loop& loop, const config::Settings& settings, uint32_t fd_limit)
    : loop_(loop),
      settings_(settings.daemon),
      pools_(settings.pools),
      can_pin_(net::can_pin()),
      driver_(loop, depot_settings(settings.daemon, fd_limit), dial_options(can_pin_.ok())),
      keys_(driver_, settings.dynamic_keys, settings.dynamic_default),
      sessions_(loop, driver_, keys_, session_limits(settings.daemon, driver_.depot().budget()),
                net::own_netns_cookie().value_or(0)) {
  loop_.at_end_of_turn([this] { end_turn(); });
}

absl::Status Broker::check_slots() const {
  const uint32_t slots = driver_.depot().budget().limit();
  if (slots < kLeastSlots) {
    return absl::ResourceExhaustedError(
        fmt::format("the fd limit (RLIMIT_NOFILE) less fd_reserve = {} leaves {} descriptors; at "
                    "least {} are needed",
                    settings_.fd_reserve, slots, kLeastSlots));
  }
  uint64_t kept = 0;
  for (const pool::PoolPolicy& policy : pools_) kept += static_cast<uint64_t>(policy.min_idle);
  if (kept <= slots / 4 * 3) return absl::OkStatus();  // the rest is for leases and sessions
  return absl::ResourceExhaustedError(
      fmt::format("min_idle of all pools is {} together, more than three quarters of the {} "
                  "descriptors that the fd limit (RLIMIT_NOFILE) leaves",
                  kept, slots));
}

// Without pins a connection's peer is compared at each release instead, which serves the daemon's
// own network namespace; what leaves it must be pinned.
absl::Status Broker::check_pins() const {
  if (can_pin_.ok()) return absl::OkStatus();
  for (const pool::PoolPolicy& policy : pools_) {
    const bool tcp = policy.endpoints.front().kind == Endpoint::Kind::tcp;
    if (!tcp || policy.sandbox != pool::Sandbox::pinned) continue;
    return absl::FailedPreconditionError(fmt::format(
        "pool \"{}\" says sandbox = \"pinned\", but this process cannot pin sockets: {}",
        policy.key, text_of(can_pin_)));
  }
  log().info("sockets are not pinned to their servers: {}", text_of(can_pin_));
  return absl::OkStatus();
}

absl::Status Broker::open() {
  if (const absl::Status enough = check_slots(); !enough.ok()) return enough;
  if (const absl::Status pins = check_pins(); !pins.ok()) return pins;
  const std::string& path = settings_.lease_socket;
  absl::StatusOr<UniqueFd> listener =
      net::listen_seqpacket(path, settings_.lease_socket_mode, kBacklog);
  if (!listener.ok()) return listener.status();
  BERTH_CHECK(driver_.reserve_slots(1), "there are kLeastSlots");
  const auto number = static_cast<uint32_t>(doors_.size());
  doors_.push_back(
      std::make_unique<Door>(loop_, std::move(*listener), path, number, driver_, sessions_));
  for (const pool::PoolPolicy& policy : pools_) driver_.add_pool(policy, /*dynamic=*/false);
  log().info("listens on {}", path);
  return absl::OkStatus();
}

void Broker::shut_down(Duration timeout, std::function<void()> done) {
  driver_.shut_down(timeout, [this, done = std::move(done)] { drained_ = done; });
}

void Broker::end_turn() {
  sessions_.reap();
  for (const auto& door : doors_) door->reopen();
  driver_.end_turn();
  if (!drained_) return;
  sessions_.end_all(Code::kShuttingDown, "berthd is stopping");
  doors_.clear();
  std::exchange(drained_, nullptr)();
}

}  // namespace berth::broker
