// The driver's part that looks at sockets: what state they are in, and how they end.
#include <algorithm>
#include <utility>

#include "base/log.h"
#include "base/status_text.h"
#include "broker/driver.h"
#include "net/close.h"

namespace berth::broker {
namespace {

using namespace std::chrono_literals;

constexpr Duration kLongestWait = 64ms;
// Between the two stages of a revocation: time for the holder to see the end of stream.
constexpr Duration kResetAfter = 1s;

// Its steps are nobody else's business: an inspection would take a byte of the server's answer.
bool is_settling(const pool::Connection& connection) {
  return connection.state == pool::State::resetting && connection.task == pool::Task::inspect;
}

}  // namespace

// The check before each grant (DESIGN section 4, points 1 to 3). Says what is wrong, if anything.
std::optional<CloseReason> PoolDriver::prepare(Upstream& upstream, const pool::Granted& granted,
                                               bool may_hold_greeting, net::Heir heir) {
  const int fd = upstream.fd.get();
  if (may_hold_greeting) {
    if (!net::still_open(fd)) return CloseReason::dead;
  } else if (upstream.inspected != moment_) {
    const net::Peek peek = upstream.peek();
    if (peek != net::Peek::clean) {
      return peek == net::Peek::has_data ? CloseReason::dirty : CloseReason::dead;
    }
  }
  const bool touched = granted.new_session && upstream.handed_out;
  if (touched &&
      !net::restore_options(fd, upstream.peer, *upstream.options, heir, upstream.layer)) {
    return CloseReason::dirty;
  }
  return std::nullopt;
}

// Release inspection (DESIGN section 4, point 2).
pool::Condition PoolDriver::inspect(ConnectionId id) {
  Upstream* upstream = upstreams_.find(id);
  BERTH_CHECK(upstream != nullptr, "a connection that is given back has a socket");
  upstream->inspected = moment_;
  const pool::Condition left = end_relay(id);
  if (left != pool::Condition::clean) return left;
  if (upstream->tls != nullptr) {
    const pool::Condition records = inspect_records(id, *upstream);
    if (records != pool::Condition::clean) return records;
  }
  const net::Released released =
      net::inspect_released(upstream->fd.get(), upstream->peer, upstream->proof(), upstream->layer);
  switch (released.verdict) {
    case net::Released::clean: return pool::Condition::clean;
    case net::Released::unsent: return pool::Condition::unsent;
    case net::Released::dirty: break;
  }
  log().info("pool {}: a connection came back dirty: {}", key_of(id), released.why);
  return pool::Condition::dirty;
}

// What a connection needs that was just given back: a watch if it is idle, another look if it has
// bytes to send.
void PoolDriver::look_after(ConnectionId id, Duration next_wait) {
  const pool::Connection& connection = *depot_.connection(id);
  if (connection.state == pool::State::idle) return idle_watch_.add(id);
  if (!is_settling(connection)) return;
  settling_.push_back({id, next_wait});
  if (!settling_timer_.armed()) settling_timer_.arm(loop_.now() + next_wait);
}

void PoolDriver::inspect_settling() {
  for (const Settling& settling : std::exchange(settling_, {})) {
    const pool::Connection* connection = depot_.connection(settling.id);
    if (connection == nullptr || !is_settling(*connection)) continue;
    const pool::Condition condition = inspect(settling.id);
    if (condition != pool::Condition::unsent) {
      depot_.inspected(loop_.now(), settling.id, condition == pool::Condition::clean, actions_);
    }
    look_after(settling.id, std::min(settling.wait * 2, kLongestWait));
  }
  pump();
}

void PoolDriver::stirred(ConnectionId id) {
  Upstream* upstream = upstreams_.find(id);
  if (upstream == nullptr || !upstream->watched) return;
  idle_watch_.remove(*upstream);
  const net::Peek peek = upstream->peek();
  // A record may be nothing to anybody but TLS.
  if (peek == net::Peek::clean && upstream->tls != nullptr) return idle_watch_.add(id);
  const bool spoke = peek == net::Peek::has_data;
  depot_.lost(loop_.now(), id, spoke ? CloseReason::dirty : CloseReason::dead, actions_);
  pump();
}

std::unique_ptr<Upstream> PoolDriver::take_upstream(ConnectionId id) {
  std::unique_ptr<Upstream> upstream = upstreams_.take(id);
  if (upstream != nullptr) resolver_.leave(*upstream);
  return upstream;
}

void PoolDriver::close_upstream(std::unique_ptr<Upstream> upstream, const char* key) {
  if (upstream->contended() && take_leave(*upstream)) return;
  if (upstream->tls != nullptr) upstream->tls->close();
  note_close(net::close_pooled(std::move(upstream->fd), upstream->handed_out, upstream->layer),
             key);
}

void PoolDriver::let_go(std::unique_ptr<Upstream> upstream, const char* key) {
  note_close(net::let_go(std::move(upstream->fd)), key);
}

void PoolDriver::note_close(const absl::Status& closed, const char* key) {
  if (closed.ok()) return;
  ++failed_closes_;
  log().error("pool {}: {}", key, text_of(closed));
}

// The first stage of a revocation. False: it is not to be reset, or there is no slot to keep it in
// meanwhile; closing it shuts it down as well.
bool PoolDriver::keep_for_reset(std::unique_ptr<Upstream>& upstream) {
  if (depot_.stopping() || !upstream->handed_out || !upstream->peer.is_tcp() ||
      !depot_.reserve_slots(1))
    return false;
  (void)net::shutdown_pooled(upstream->fd.get());  // what fails here, fails again at the close
  revoked_.push_back({std::move(upstream), loop_.now() + kResetAfter});
  if (!revoked_timer_.armed()) revoked_timer_.arm(revoked_.front().reset_at);
  return true;
}

// The second stage: whoever still has the socket, and the server, meet a reset.
void PoolDriver::reset_revoked() {
  while (!revoked_.empty() && revoked_.front().reset_at <= loop_.now()) {
    std::unique_ptr<Upstream> upstream = std::move(revoked_.front().upstream);
    revoked_.pop_front();
    const absl::Status reset = net::reset_peer(upstream->fd.get());
    if (!reset.ok()) log().info("a revoked connection is closed, not reset: {}", text_of(reset));
    close_upstream(std::move(upstream), "?");
    release_slots(1);
  }
  if (!revoked_.empty()) revoked_timer_.arm(revoked_.front().reset_at);
}

}  // namespace berth::broker
