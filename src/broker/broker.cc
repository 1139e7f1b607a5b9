#include "broker/broker.h"

#include <fmt/format.h>
#include <sys/random.h>
#include <sys/socket.h>

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "base/status_text.h"
#include "config/catalogue.h"
#include "net/peer.h"
#include "net/pin.h"

namespace berth::broker {
namespace {

// A lease socket, a session and some connections; with fewer, nothing useful can be done.
constexpr uint32_t kLeastSlots = 8;

uint64_t random_seed() {
  uint64_t seed = 0;
  BERTH_CHECK(getrandom(&seed, sizeof seed, 0) == sizeof seed, "the kernel has random bytes");
  return seed;
}

pool::UserLimits user_limits(const config::DaemonSettings& daemon) {
  return {daemon.max_leases_per_user, daemon.max_waiters_per_user};
}

pool::DepotSettings depot_settings(const config::DaemonSettings& daemon, uint32_t fd_limit) {
  const auto reserve = static_cast<uint32_t>(daemon.fd_reserve);
  return {fd_limit > reserve ? fd_limit - reserve : 0, daemon.total_max_idle, user_limits(daemon),
          random_seed()};
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
      sockets_(settings.sockets),
      can_pin_(net::can_pin()),
      own_netns_(net::own_netns_cookie().value_or(0)),
      driver_(loop, depot_settings(settings.daemon, fd_limit), can_pin_.ok()),
      keys_(driver_, settings.dynamic),
      admission_(session_limits(settings.daemon, driver_.depot().budget())),
      sessions_(loop, driver_, keys_, admission_, own_netns_),
      local_clients_(loop, driver_, admission_, own_netns_),
      listen_sockets_(loop, driver_, local_clients_) {
  driver_.set_total_stream_buffer(settings_.total_stream_buffer);
  loop_.at_end_of_turn([this] { end_turn(); });
}

absl::Status Broker::check(const Policies& pools) const {
  if (absl::Status enough = check_slots(pools); !enough.ok()) return enough;
  return check_pins(pools);
}

absl::Status Broker::check_slots(const Policies& pools) const {
  const uint32_t slots = driver_.depot().budget().limit();
  if (slots < kLeastSlots) {
    return absl::ResourceExhaustedError(
        fmt::format("the fd limit (RLIMIT_NOFILE) less fd_reserve = {} leaves {} descriptors; at "
                    "least {} are needed",
                    settings_.fd_reserve, slots, kLeastSlots));
  }
  uint64_t kept = 0;
  for (const pool::PoolPolicy& policy : pools) kept += static_cast<uint64_t>(policy.min_idle);
  if (kept <= slots / 4 * 3) return absl::OkStatus();  // the rest is for leases and sessions
  return absl::ResourceExhaustedError(
      fmt::format("min_idle of all pools is {} together, more than three quarters of the {} "
                  "descriptors that the fd limit (RLIMIT_NOFILE) leaves",
                  kept, slots));
}

// Without pins a connection's peer is compared at each release instead, which serves the daemon's
// own network namespace; what leaves it must be pinned.
absl::Status Broker::check_pins(const Policies& pools) const {
  if (can_pin_.ok()) return absl::OkStatus();
  for (const pool::PoolPolicy& policy : pools) {
    const bool tcp = std::any_of(policy.endpoints.begin(), policy.endpoints.end(),
                                 [](const Endpoint& e) { return e.kind == Endpoint::Kind::tcp; });
    const bool bare = tcp || !policy.dial_command.empty();  // a program may pass TCP
    if (!bare || policy.sandbox != pool::Sandbox::pinned) continue;
    return absl::FailedPreconditionError(fmt::format(
        "pool \"{}\" says sandbox = \"pinned\", but this process cannot pin sockets: {}",
        policy.key, text_of(can_pin_)));
  }
  return absl::OkStatus();
}

absl::Status Broker::open(net::Listeners& listeners) {
  if (absl::Status fit = check(pools_); !fit.ok()) return fit;
  if (!can_pin_.ok()) {
    log().info("sockets are not pinned to their servers: {}", text_of(can_pin_));
  }
  absl::Status opened =
      open_door(listeners, "lease", {settings_.lease_socket, settings_.lease_socket_mode}, "");
  for (const config::SocketSettings& socket : sockets_) {
    if (!opened.ok()) break;
    opened = open_door(listeners, "socket." + socket.name, {socket.path, socket.mode, socket.owner},
                       socket.name);
  }
  if (!opened.ok()) return opened;
  auto listening = listen_sockets_.prepare(listeners, pools_);
  if (!listening.ok()) return listening.status();
  for (const pool::PoolPolicy& policy : pools_) driver_.add_pool(policy, /*dynamic=*/false);
  listen_sockets_.adopt(*std::move(listening), pools_, next_socket_);
  return absl::OkStatus();
}

absl::Status Broker::open_door(net::Listeners& listeners, const std::string& name,
                               const net::SocketFile& file, const std::string& tenant) {
  absl::StatusOr<net::Listener> listener =
      listeners.open({name, SOCK_SEQPACKET, file, kListenBacklog});
  if (!listener.ok()) return listener.status();
  if (!driver_.reserve_slots(1)) {
    return absl::ResourceExhaustedError("no file descriptor is left for " + file.path);
  }
  const Gateway gateway{next_socket_++, tenant};
  doors_.push_back(std::make_unique<Door>(
      loop_, *std::move(listener), Sessions::kSlots, driver_,
      [this, gateway](UniqueFd fd) { sessions_.admit(std::move(fd), gateway); }));
  return absl::OkStatus();
}

absl::StatusOr<Broker::Reloaded> Broker::reload(const config::Settings& settings) {
  if (driver_.depot().stopping()) return absl::UnavailableError("berthd is stopping");
  if (absl::Status fit = check(settings.pools); !fit.ok()) return fit;
  net::Listeners none_passed;
  auto listening = listen_sockets_.prepare(none_passed, settings.pools);
  if (!listening.ok()) return listening.status();
  Reloaded done;
  config::DaemonSettings next = settings.daemon;
  for (const auto& setting : config::daemon_settings()) {
    if (setting.effect != config::Effect::restart) continue;
    if (setting.kind.write(next) != setting.kind.write(settings_)) {
      done.at_restart.emplace_back(setting.name);
    }
  }
  // What waits for a restart stays what it is.
  next.lease_socket = settings_.lease_socket;
  next.lease_socket_mode = settings_.lease_socket_mode;
  next.control_socket = settings_.control_socket;
  next.control_socket_mode = settings_.control_socket_mode;
  next.fd_reserve = settings_.fd_reserve;
  settings_ = std::move(next);
  driver_.set_total_max_idle(settings_.total_max_idle);
  driver_.set_total_stream_buffer(settings_.total_stream_buffer);
  driver_.set_user_limits(user_limits(settings_));
  admission_.set_limits(session_limits(settings_, driver_.depot().budget()));
  for (const config::SocketSettings& socket : settings.sockets) note_restart(socket, done);
  reload_pools(settings.pools, done);
  listen_sockets_.adopt(*std::move(listening), pools_, next_socket_);
  keys_.reload(settings.dynamic);
  if (at_reload_) at_reload_();
  return done;
}

// A tenant's keys are in force with the pools that list it; where its socket is, is not.
void Broker::note_restart(const config::SocketSettings& next, Reloaded& done) const {
  const auto same_name = [&](const config::SocketSettings& old) { return old.name == next.name; };
  const auto old = std::find_if(sockets_.begin(), sockets_.end(), same_name);
  if (old != sockets_.end() && old->path == next.path && old->mode == next.mode &&
      old->owner == next.owner) {
    return;
  }
  done.at_restart.push_back("[socket." + next.name + "]");
}

// Removed ones first: their slots and keys serve the others.
void Broker::reload_pools(const std::vector<pool::PoolPolicy>& pools, Reloaded& done) {
  const auto by_key = [](const std::vector<pool::PoolPolicy>& all, const std::string& key) {
    return std::find_if(all.begin(), all.end(), [&](const auto& p) { return p.key == key; });
  };
  const pool::Depot& depot = driver_.depot();
  for (const pool::PoolPolicy& old : pools_) {
    if (by_key(pools, old.key) != pools.end()) continue;
    driver_.remove_pool(*depot.find_pool(old.key));
    done.removed.push_back(old.key);
  }
  for (const pool::PoolPolicy& policy : pools) {
    const auto old = by_key(pools_, policy.key);
    if (old != pools_.end() && *old == policy) continue;
    const bool turned = old != pools_.end() && old->carries_channels() != policy.carries_channels();
    if (old == pools_.end() || turned) {
      // A URL key may have made a pool of that name, which the configured one replaces.
      if (const auto dynamic = depot.find_pool(policy.key)) driver_.remove_pool(*dynamic);
      driver_.add_pool(policy, /*dynamic=*/false);
      (turned ? done.renewed : done.added).push_back(policy.key);
      continue;
    }
    done.changed.push_back(policy.key);
    if (driver_.reconfigure_pool(*depot.find_pool(policy.key), policy)) {
      done.renewed.push_back(policy.key);
    }
  }
  pools_ = pools;
}

void Broker::shut_down(Duration timeout, std::function<void()> done) {
  driver_.shut_down(timeout, [this, done = std::move(done)] { drained_ = done; });
}

bool Broker::kill(SessionId id, const std::string& message) {
  return sessions_.kill(id, message) || local_clients_.kill(id);
}

void Broker::end_turn() {
  driver_.end_channels();
  sessions_.reap();
  local_clients_.reap();
  for (const auto& door : doors_) door->reopen();
  listen_sockets_.reopen();
  driver_.end_turn();
  if (!drained_) return;
  sessions_.end_all(Code::kShuttingDown, "berthd is stopping");
  local_clients_.end_all();
  listen_sockets_.close_all();
  doors_.clear();
  std::exchange(drained_, nullptr)();
}

}  // namespace berth::broker
