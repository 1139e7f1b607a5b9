#include "pool/pool.h"

#include <algorithm>
#include <utility>

namespace berth::pool {

Pool::Pool(PoolId id, PoolPolicy policy, Shared& shared)
    : id_(id), policy_(std::move(policy)), shared_(shared), idle_(shared.evictable) {
  endpoints_.configure(policy_.endpoints);
  BERTH_CHECK(!policy_.endpoints.empty(), "a pool has an endpoint");
  deadline_.kind = Deadline::Kind::pool;
  deadline_.subject = id.value();
}

Pool::~Pool() {
  want_slot(0);
  shared_.hungry.erase(id_);
  shared_.lifted.erase(id_);
  shared_.deadlines.clear(deadline_);
}

Owner Pool::owner_for(const SessionInfo& info) const {
  // At the sockets for all a uid is the same user everywhere.
  const uint32_t realm = info.tenant.empty() ? 0 : info.socket;
  switch (policy_.share) {
    case Share::user: return Owner(realm, info.uid);
    case Share::socket: return Owner(info.socket, 0);
    case Share::group: return Owner(realm, info.gid);
    case Share::any: break;
  }
  return Owner(0, 0);
}

bool Pool::empty(TimePoint now) const {
  return total_ == 0 && waiters_.empty() && endpoints_.first_ready(now) == kNever;
}

void Pool::open(TimePoint now, Actions& actions) {
  settle(now, actions);
}

// --- states ---

void Pool::move_to(TimePoint now, Connection& connection, State state, Task task) {
  BERTH_CHECK(may_move(connection.state, state), "the move is one of may_move()");
  const bool was_at_rest = connection.at_rest();
  const bool rests = state == State::idle || (state == State::resetting && task == Task::check);
  leave_state(connection, rests);
  if (!rests) connection.marked = false;
  connection.state = state;
  connection.task = task;
  connection.since = now;
  enter_state(connection, was_at_rest);
}

void Pool::leave_state(Connection& connection, bool stays_at_rest) {
  list(connection.state).remove(connection);
  endpoints_.left(connection.endpoint, connection.state);
  if (connection.state == State::closing) --shared_.closing;
  if (!connection.at_rest()) return;
  if (stays_at_rest) {
    if (connection.state == State::idle) idle_.set_aside(connection);
    return;
  }
  --shared_.idle;
  if (Connection* kept = idle_.remove(connection); kept != nullptr) {
    shared_.deadlines.set(kept->deadline, due_at(*kept));
  }
}

void Pool::enter_state(Connection& connection, bool was_at_rest) {
  insert_in_order(list(connection.state), connection, [&](const Connection& other) {
    return connection.state == State::idle && other.idle_since > connection.idle_since;
  });
  endpoints_.entered(connection.endpoint, connection.state);
  if (connection.state == State::closing) ++shared_.closing;
  if (connection.state == State::idle) {
    const auto min_idle = static_cast<size_t>(policy_.min_idle);
    if (was_at_rest) {
      idle_.take_back(connection, min_idle);
    } else {
      ++shared_.idle;
      idle_.insert(connection, min_idle);
    }
  }
  shared_.deadlines.set(connection.deadline, due_at(connection));
}

TimePoint Pool::due_at(const Connection& connection) const {
  switch (connection.state) {
    case State::connecting: return after(connection.since, policy_.dial_timeout);
    case State::resetting:
      return after(connection.since,
                   connection.task == Task::check ? policy_.check_timeout : policy_.reset_timeout);
    case State::idle:
      return std::min({idle_until(connection), connection.expires_at, connection.check_at});
    case State::leased:
    case State::parked:
    case State::closing: return kNever;
  }
  return kNever;
}

TimePoint Pool::idle_until(const Connection& connection) const {
  const bool never = connection.kept || policy_.idle_timeout == Duration::zero();
  const TimePoint own = never ? kNever : after(connection.idle_since, policy_.idle_timeout);
  const Duration learnt = endpoints_[connection.endpoint].idle_age.limit();
  return learnt == Duration::zero() ? own : std::min(own, after(connection.quiet_since, learnt));
}

void Pool::close(TimePoint now, Connection& connection, CloseReason reason, Actions& actions,
                 std::string_view text) {
  connection.close_reason = reason;
  note_connection(now, EventKind::close, connection, static_cast<uint64_t>(reason), text);
  // What is renewed gives way to what works.
  const bool lost = connection.state != State::connecting && reason != CloseReason::renewed;
  move_to(now, connection, State::closing);
  if (lost && endpoints_.closed(connection.endpoint, now)) shared_.lifted.insert(id_);
  actions.add(Close{connection.id, reason});
}

void Pool::close_all(TimePoint now, State state, CloseReason reason, Actions& actions) {
  while (Connection* connection = list(state).front()) close(now, *connection, reason, actions);
}

void Pool::forget(Connection& connection) {
  leave_state(connection);
  shared_.deadlines.clear(connection.deadline);
  shared_.connections.free(connection.id);
  shared_.budget.release(1);
  --total_;
}

// --- what came of a dial ---

void Pool::dialed(TimePoint now, Connection& connection, Actions& actions) {
  note_connection(now, EventKind::dialed, connection);
  Endpoints::Place& place = endpoints_[connection.endpoint];
  place.backoff.succeed();
  place.last_error.clear();
  if (policy_.balance == Balance::failover) return_to(now, connection.endpoint, actions);
  if (policy_.max_lifetime != Duration::zero()) {
    // Each its own, up to a quarter shorter, so that connections dialled together do not end
    // together.
    const double part = 1 - 0.25 * shared_.random.unit();
    connection.expires_at =
        after(now, std::chrono::duration_cast<Duration>(policy_.max_lifetime * part));
  }
  if (policy_.warm == Warm::single_use) {
    connection.expires_at = std::min(connection.expires_at, after(now, policy_.max_warm_age));
  }
  connection.idle_since = now;
  proven(now, connection);
  put_to_rest(now, connection, actions);
}

void Pool::dial_failed(TimePoint now, Connection& connection, std::string_view error,
                       Actions& actions) {
  note_failure(now, connection, error);
  forget(connection);
  settle(now, actions);
}

void Pool::note_failure(TimePoint now, const Connection& connection, std::string_view error) {
  note_connection(now, EventKind::dial_failed, connection, 0, error);
  Endpoints::Place& place = endpoints_[connection.endpoint];
  const TimePoint before = place.backoff.ready_at();
  place.backoff.fail(now, connection.since, shared_.random);
  place.last_error = error;
  if (place.backoff.ready_at() == before) return;
  const Duration wait = place.backoff.ready_at() - now;
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(wait).count();
  note(now, EventKind::backoff, static_cast<uint64_t>(ms));
}

// --- what came of a release ---

// Why a connection that comes back, or was just dialled, must not be granted.
std::optional<CloseReason> Pool::unfit(TimePoint now, const Connection& connection) const {
  if (ending_) return ending_;
  if (connection.epoch == kGoneEpoch) return CloseReason::address_gone;
  if (connection.epoch != epoch_) return CloseReason::renewed;
  if (now >= connection.expires_at) return CloseReason::age;
  if (beyond_max()) return CloseReason::overflow;
  if (used_up(connection) || connection.slot) return CloseReason::uses;
  return std::nullopt;
}

void Pool::release(TimePoint now, Lease& lease, Condition condition, Actions& actions) {
  Connection& connection = *lease.connection;
  note_lease(now, EventKind::release, lease);
  drop_lease(lease);
  std::optional<CloseReason> reason = CloseReason::discarded;
  if (condition != Condition::discarded) reason = unfit(now, connection);
  if (!reason && condition == Condition::dirty) reason = CloseReason::dirty;
  if (reason) {
    close(now, connection, *reason, actions);
  } else if (condition == Condition::unsent) {
    move_to(now, connection, State::resetting);
  } else {
    take_in(now, connection, actions);
  }
}

void Pool::inspected(TimePoint now, Connection& connection, bool clean, Actions& actions) {
  if (connection.state != State::resetting || connection.task != Task::inspect) return;
  const auto reason = clean ? unfit(now, connection) : CloseReason::dirty;
  if (reason) {
    close(now, connection, *reason, actions);
  } else {
    take_in(now, connection, actions);
  }
}

void Pool::end_lease(TimePoint now, Lease& lease, CloseReason reason, Actions& actions) {
  Connection& connection = *lease.connection;
  drop_lease(lease);
  close(now, connection, reason, actions);
}

// --- the end of a connection ---

void Pool::lost(TimePoint now, Connection& connection, CloseReason reason, Actions& actions) {
  const bool collected = connection.state == State::leased && !connection.lease.valid();
  if (connection.state != State::idle && !collected) return;
  if (collected) uncollect(connection, *collecting_);
  const bool idle = connection.state == State::idle;
  const uint32_t endpoint = connection.endpoint;
  const Duration quiet = now - connection.quiet_since;
  close(now, connection, reason, actions);
  if (idle) learn(now, endpoint, quiet);
  settle(now, actions);
}

// Rule 20. What was renewed meanwhile goes for that.
void Pool::address_gone(TimePoint now, Connection& connection, Actions& actions) {
  if (connection.state == State::closing || connection.epoch != epoch_) return;
  const bool collected = connection.state == State::leased && !connection.lease.valid();
  if (collected) uncollect(connection, *collecting_);
  if (collected || connection.state == State::idle) {
    close(now, connection, CloseReason::address_gone, actions);
  } else {
    connection.epoch = kGoneEpoch;
  }
  settle(now, actions);
}

// Rule 5: how long the server lets a connection be idle, kept ones too.
void Pool::learn(TimePoint now, uint32_t endpoint, Duration quiet) {
  IdleAge& idle_age = endpoints_[endpoint].idle_age;
  if (!idle_age.closed(now, quiet)) return;
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(idle_age.limit()).count();
  note(now, EventKind::learn, static_cast<uint64_t>(ms));
  for (Connection& c : list(State::idle)) shared_.deadlines.set(c.deadline, due_at(c));
}

void Pool::evict(TimePoint now, Connection& connection, CloseReason reason, Actions& actions) {
  BERTH_CHECK(connection.state == State::idle, "only an idle connection is evicted");
  close(now, connection, reason, actions);
  meet_needs(now, actions);  // but nothing better is sought: what comes free is for others
  plan_retry(now);
}

void Pool::closed(TimePoint now, Connection& connection, Actions& actions) {
  BERTH_CHECK(connection.state == State::closing, "the driver closes what it was told to close");
  forget(connection);
  settle(now, actions);
}

void Pool::yield(TimePoint now, Waiter& batch, Actions& actions) {
  Connection& connection = *batch.collected.front();
  uncollect(connection, batch);
  close(now, connection, CloseReason::evicted, actions);
  settle(now, actions);
}

// --- deadlines ---

void Pool::connection_due(TimePoint now, Connection& connection, Actions& actions) {
  switch (connection.state) {
    case State::connecting:
      note_failure(now, connection, overdue_dial(connection));
      close(now, connection, CloseReason::dead, actions);
      break;
    case State::resetting:
      performed(now, connection, overdue(connection), "no answer in time", actions);
      return;
    case State::idle:
      if (now >= connection.expires_at) {
        close(now, connection, CloseReason::age, actions);
      } else if (now >= idle_until(connection)) {
        close(now, connection, CloseReason::idle, actions);
      } else {
        perform(now, connection, Task::check, actions);
      }
      break;
    case State::leased:
    case State::parked:
    case State::closing: BERTH_CHECK(false, "this state has no deadline");
  }
  settle(now, actions);
}

std::string Pool::overdue_dial(const Connection& connection) const {
  const Endpoints::Place& place = endpoints_[connection.endpoint];
  const Proxy* proxy = policy_.proxy_to(place.endpoint);
  return place.name + ": no connection within " + format_duration(policy_.dial_timeout) +
         " (dial_timeout)" + (proxy != nullptr ? " through " + proxy->name() : "");
}

void Pool::waiter_due(TimePoint now, Waiter& waiter, Actions& actions) {
  refuse(now, waiter, Code::kTimedOut, actions);
  settle(now, actions);
}

// --- rule 11 ---

Why Pool::why(TimePoint now) const {
  Why why;
  why.leased = static_cast<uint32_t>(count(State::leased));
  why.max_connections = static_cast<uint32_t>(policy_.max_connections);
  why.waiting = static_cast<uint32_t>(waiters_.size());
  why.dial_failures = endpoints_.failures();
  why.last_dial_error = endpoints_.last_error();
  for (const Connection& connection : list(State::leased)) {
    if (why.holders.size() == kMaxHoldersShown) break;
    const Lease* lease = shared_.leases.find(connection.lease);
    if (lease == nullptr) continue;  // collected for a batch
    const Session& session = *lease->session;
    why.holders.push_back(
        {session.id, session.info.uid, session.info.pid, now - lease->granted_at});
  }
  const bool dialing = why.dial_failures > 0 || count(State::connecting) > 0;
  const bool lends_slots = !policy_.has_connections();
  why.cause = intake_ == Intake::paused ? Cause::kPaused
              : wants_slot()            ? Cause::kNoSlots
              : dialing                 ? Cause::kUpstreamDown
              : at_max() || lends_slots ? Cause::kExhausted
                                        : Cause::kUnspecified;  // it had no time for a dial
  return why;
}

}  // namespace berth::pool
