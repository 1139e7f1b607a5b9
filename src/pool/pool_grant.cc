// Requests and leases of a pool: in the queue, out of it, and the records that stand for them.
#include <utility>

#include "base/limits.h"
#include "pool/pool.h"

namespace berth::pool {
namespace {

std::string too_many_waiters_text() {
  return "this session has " + std::to_string(kMaxWaitersPerSession) +
         " requests that wait already";
}

}  // namespace

void Pool::request(TimePoint now, Session& session, const Request& request, Actions& actions) {
  const bool patient = request.timeout > Duration::zero();
  const Ticket ticket{session.id,
                      request.request_id,
                      ++shared_.arrivals,
                      now,
                      patient ? after(now, request.timeout) : now,
                      patient,
                      request.detach};
  last_arrival_ = ticket.arrival;
  if (request.count == 1 && grant_at_once(now, session, ticket, actions)) return;
  auto refusal = refusal_at_once(now, request.count);
  if (!refusal && session.waiters.size() >= kMaxWaitersPerSession) {
    refusal = Refusal{Code::kQueueFull, too_many_waiters_text(), {}, {}};
  }
  if (refusal) {
    turn_away(now, session.id, request.request_id, std::move(*refusal), actions);
    return;
  }
  serve_new(now, enqueue(session, ticket, request.count), actions);
}

void Pool::turn_away(TimePoint now, SessionId session, uint64_t request_id, Refusal refusal,
                     Actions& actions) {
  note_refusal(now, session, refusal.code);
  actions.add(Refuse{session, request_id, std::move(refusal)});
}

bool is_carried(const SessionInfo& info, const PoolPolicy& policy) {
  if (policy.carries_channels()) return true;
  if (policy.lends_slots()) return false;
  const bool sandboxed = info.foreign_netns && policy.sandbox == Sandbox::relay;
  return policy.handoff == Handoff::relay || info.unmodified || sandboxed;
}

// The fast way: nobody waits, and a connection is idle.
bool Pool::grant_at_once(TimePoint now, Session& session, const Ticket& ticket, Actions& actions) {
  if (!waiters_.empty() || ending_ || intake_ != Intake::open) return false;
  const Owner owner = owner_for(session.info);
  Connection* best = best_idle(now, owner, {}, actions);
  if (best == nullptr || needs_check(now, *best)) return false;
  move_to(now, *best, State::leased);
  const bool carried = best->carried || is_carried(session.info, policy_);
  actions.add(Grant{ticket, id_, {make_lease(now, session, owner, *best)}, carried});
  if (policy_.min_idle > 0) settle(now, actions);
  return true;
}

void Pool::serve_new(TimePoint now, Waiter& waiter, Actions& actions) {
  if (!waiter.ticket.patient) {
    const WaiterId id = waiter.id;
    serve(now, actions);
    if (shared_.waiters.find(id) != nullptr) refuse(now, waiter, Code::kTimedOut, actions);
  }
  settle(now, actions);
}

// His own first, then nobody's, so that the ready reserve lasts; but first what needs no check.
Connection* Pool::pick_idle(TimePoint now, Owner owner, const Entitled& earlier) const {
  const IdleOrder order = policy_.idle_order;
  if (!policy_.check.empty()) {
    if (Connection* own = idle_.best_own(owner, order, earlier, now)) return own;
    if (Connection* nobodys = idle_.best_nobodys(owner, order, earlier, now)) return nobodys;
  }
  Connection* own = idle_.best_own(owner, order, earlier);
  return own != nullptr ? own : idle_.best_nobodys(owner, order, earlier);
}

// On the way it closes what is too old, should the timer be late.
Connection* Pool::best_idle(TimePoint now, Owner owner, const Entitled& earlier, Actions& actions) {
  while (true) {
    Connection* best = pick_idle(now, owner, earlier);
    if (best == nullptr || now < best->expires_at) return best;
    close(now, *best, CloseReason::age, actions);
  }
}

std::string Pool::too_many_text(uint32_t count) const {
  const std::string text = "count is " + std::to_string(count) + ", but ";
  if (exceeds_max(count)) {
    return text + "max_connections of \"" + policy_.key + "\" is " +
           std::to_string(policy_.max_connections);
  }
  return text + "berthd has " + std::to_string(shared_.budget.limit()) + " slots in all";
}

bool Pool::never_to_be_had(uint32_t count) const {
  return exceeds_max(count) || (!policy_.has_connections() && count > shared_.budget.limit());
}

// Who may not wait, whatever comes free.
std::optional<Refusal> Pool::refusal_to_wait(uint32_t count) const {
  if (ending_)
    return removed() ? Refusal{Code::kNoSuchKey, gone_text(), {}, {}}
                     : Refusal{Code::kShuttingDown, "", {}, {}};
  if (intake_ == Intake::disabled) return Refusal{Code::kDisabled, policy_.key, {}, {}};
  if (never_to_be_had(count)) return Refusal{Code::kInvalid, too_many_text(count), {}, {}};
  return std::nullopt;
}

std::optional<Refusal> Pool::refusal_at_once(TimePoint now, uint32_t count) const {
  if (auto refusal = refusal_to_wait(count)) return refusal;
  if (count == 0) return Refusal{Code::kInvalid, "count is 0", {}, {}};
  if (refuses_at_once(now)) return Refusal{Code::kUpstreamDown, "", {}, why(now)};
  if (waiters_.size() >= static_cast<size_t>(policy_.max_waiters)) {
    Why full = why(now);
    full.cause = Cause::kQueueFull;
    return Refusal{Code::kQueueFull, "", {}, std::move(full)};
  }
  return std::nullopt;
}

Waiter& Pool::enqueue(Session& session, const Ticket& ticket, uint32_t count) {
  const WaiterId id = shared_.waiters.allocate();
  Waiter& waiter = shared_.waiters[id];
  waiter.id = id;
  waiter.pool = id_;
  waiter.session = &session;
  waiter.ticket = ticket;
  waiter.count = count;
  waiter.owner = owner_for(session.info);
  waiter.deadline.kind = Deadline::Kind::waiter;
  waiter.deadline.subject = id.value();
  shared_.deadlines.set(waiter.deadline, ticket.until);
  session.waiters.push_back(waiter);
  ++session.user->waiters;
  session.user->wanted += count;
  insert_in_order(waiters_, waiter,
                  [&](const Waiter& other) { return other.ticket.arrival > ticket.arrival; });
  missing_ += count;
  return waiter;
}

void Pool::collect(TimePoint now, Connection& connection, Waiter& waiter) {
  move_to(now, connection, State::leased);
  waiter.collected.push_back(connection);
  --missing_;
}

void Pool::uncollect(Connection& connection, Waiter& waiter) {
  waiter.collected.remove(connection);
  ++missing_;
  if (collecting_ == &waiter && waiter.collected.empty()) set_collecting(nullptr);
}

void Pool::put_back(TimePoint now, Waiter& waiter) {
  while (Connection* connection = waiter.collected.front()) {
    uncollect(*connection, waiter);
    move_to(now, *connection, State::idle);
  }
}

void Pool::set_collecting(Waiter* waiter) {
  if (collecting_ == waiter) return;
  if (collecting_ != nullptr) shared_.collectors.remove(*collecting_);
  collecting_ = waiter;
  if (waiter == nullptr) return;
  insert_in_order(shared_.collectors, *waiter, [&](const Waiter& other) {
    return other.ticket.arrival > waiter->ticket.arrival;
  });
}

void Pool::grant(TimePoint now, Waiter& waiter, Actions& actions) {
  Session& session = *waiter.session;
  Grant grant{waiter.ticket, id_, {}, is_carried(session.info, policy_)};
  while (Connection* connection = waiter.collected.front()) {
    waiter.collected.remove(*connection);
    list(State::leased)
        .remove(*connection);  // it is leased from now on, not since it was collected
    list(State::leased).push_back(*connection);
    grant.carried = grant.carried || connection->carried;
    grant.leases.push_back(make_lease(now, session, waiter.owner, *connection));
  }
  session.user->wanted -= waiter.count;
  waiter.count = 0;  // it lacks nothing more
  dequeue(now, waiter);
  actions.add(std::move(grant));
}

Granted Pool::make_lease(TimePoint now, Session& session, Owner owner, Connection& connection) {
  const LeaseId id = shared_.leases.allocate();
  Lease& lease = shared_.leases[id];
  lease.id = id;
  lease.session = &session;
  lease.connection = &connection;
  lease.granted_at = now;
  session.leases.push_back(lease);
  ++session.user->leases;
  if (policy_.lease_warn + policy_.lease_timeout > Duration::zero()) watch_lease(lease);
  const bool fresh = connection.uses == 0;
  const bool new_session = !fresh && connection.last_session != session.id;
  connection.lease = id;
  connection.owner = owner;
  connection.last_session = session.id;
  ++connection.uses;
  note_lease(now, EventKind::grant, lease);
  return {id, connection.id, fresh, new_session, connection.slot};
}

void Pool::dequeue(TimePoint now, Waiter& waiter) {
  put_back(now, waiter);
  if (collecting_ == &waiter) set_collecting(nullptr);
  missing_ -= waiter.missing();
  waiters_.remove(waiter);
  waiter.session->waiters.remove(waiter);
  --waiter.session->user->waiters;
  waiter.session->user->wanted -= waiter.count;
  shared_.deadlines.clear(waiter.deadline);
  shared_.waiters.free(waiter.id);
}

void Pool::refuse(TimePoint now, Waiter& waiter, Code code, Actions& actions) {
  const bool explain = code == Code::kTimedOut || code == Code::kUpstreamDown;
  note_refusal(now, waiter.session->id, code);
  Refusal refusal{code, "", now - waiter.ticket.since, {}};
  if (code == Code::kDisabled) refusal.text = policy_.key;
  if (code == Code::kNoSuchKey) refusal.text = gone_text();
  if (explain) refusal.why = why(now);
  actions.add(Refuse{waiter.session->id, waiter.ticket.request_id, std::move(refusal)});
  dequeue(now, waiter);
}

void Pool::refuse_all(TimePoint now, Code code, Actions& actions) {
  while (Waiter* waiter = waiters_.front()) refuse(now, *waiter, code, actions);
}

void Pool::cancel(TimePoint now, Waiter& waiter, Actions& actions) {
  refuse(now, waiter, Code::kCancelled, actions);
  settle(now, actions);
}

void Pool::take_back(TimePoint now, const Grant& grant, Session& session,
                     std::optional<Refusal> barred, ConnectionId failed, CloseReason reason,
                     Actions& actions) {
  if (collecting_ != nullptr && collecting_->ticket.arrival > grant.ticket.arrival) {
    put_back(now, *collecting_);
  }
  Waiter& waiter = enqueue(session, grant.ticket, static_cast<uint32_t>(grant.leases.size()));
  for (const Granted& granted : grant.leases) {
    Lease* lease = shared_.leases.find(granted.lease);
    if (lease == nullptr) continue;  // revoked meanwhile
    Connection& connection = *lease->connection;
    note_lease(now, EventKind::take_back, *lease);
    drop_lease(*lease);
    undo_use(connection, granted);
    if (connection.id == failed) {
      close(now, connection, reason, actions);
    } else if (const auto unusable = unfit(now, connection)) {
      close(now, connection, *unusable, actions);
    } else {
      move_to(now, connection, State::idle);
    }
  }
  // While it was being handed over, a reload or an administrator may have ended his wait.
  if (!barred) barred = refusal_to_wait(waiter.count);
  if (!barred) return serve_new(now, waiter, actions);
  turn_out(now, waiter, std::move(*barred), actions);
  settle(now, actions);
}

// As if it had not been granted. Whose options it has is not known any more; new_session stays
// true.
void Pool::undo_use(Connection& connection, const Granted& granted) {
  --connection.uses;
  if (granted.fresh) connection.owner = Owner();
  if (granted.fresh || granted.new_session) connection.last_session = {};
}

void Pool::drop_lease(Lease& lease) {
  lease.session->leases.remove(lease);
  --lease.session->user->leases;
  lease.connection->lease = {};
  shared_.deadlines.clear(lease.deadline);
  shared_.leases.free(lease.id);
}

}  // namespace berth::pool
