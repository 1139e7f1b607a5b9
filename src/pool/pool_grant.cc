// Requests and leases of a pool: in the queue, out of it, and the records that stand for them.
#include <utility>

#include "base/limits.h"
#include "pool/pool.h"

namespace berth::pool {

void Pool::request(TimePoint now, Session& session, const Request& request, Actions& actions) {
  const Ticket ticket{session.id, request.request_id,          ++shared_.arrivals,
                      now,        after(now, request.timeout), request.timeout > Duration::zero()};
  if (request.count == 1 && grant_at_once(now, session, ticket, actions)) return;
  if (auto refusal = refusal_at_once(now, session, request)) {
    actions.add(Refuse{session.id, request.request_id, std::move(*refusal)});
    return;
  }
  serve_new(now, enqueue(session, ticket, request.count), actions);
}

// The fast way: nobody waits, and a connection is idle.
bool Pool::grant_at_once(TimePoint now, Session& session, const Ticket& ticket, Actions& actions) {
  if (!waiters_.empty() || stopping_) return false;
  const Owner owner = owner_for(session.info);
  Connection* best = idle_.best(owner, policy_.idle_order, {});
  if (best == nullptr) return false;
  move_to(now, *best, State::leased);
  actions.add(Grant{ticket, id_, {make_lease(now, session, owner, *best)}});
  if (policy_.min_idle > 0) settle(now, actions);
  return true;
}

void Pool::serve_new(TimePoint now, Waiter& waiter, Actions& actions) {
  const WaiterId id = waiter.id;
  const bool patient = waiter.ticket.patient;
  settle(now, actions);
  if (patient || shared_.waiters.find(id) == nullptr) return;
  refuse(now, waiter, Code::kTimedOut, actions);
  settle(now, actions);
}

std::optional<Refusal> Pool::refusal_at_once(TimePoint now, const Session& session,
                                             const Request& request) const {
  if (stopping_) return Refusal{Code::kShuttingDown, "", {}, {}};
  if (policy_.max_connections != kUnlimited &&
      request.count > static_cast<uint32_t>(policy_.max_connections)) {
    return Refusal{Code::kInvalid,
                   "count is " + std::to_string(request.count) + ", but max_connections of \"" +
                       policy_.key + "\" is " + std::to_string(policy_.max_connections),
                   {},
                   {}};
  }
  if (refuses_at_once(now)) return Refusal{Code::kUpstreamDown, "", {}, why(now)};
  if (waiters_.size() >= static_cast<size_t>(policy_.max_waiters)) {
    Why full = why(now);
    full.cause = Cause::kQueueFull;
    return Refusal{Code::kQueueFull, "", {}, std::move(full)};
  }
  if (session.waiters.size() >= kMaxWaitersPerSession) {
    return Refusal{Code::kQueueFull,
                   "this session has " + std::to_string(kMaxWaitersPerSession) +
                       " requests that wait already",
                   {},
                   {}};
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
  insert_in_order(waiters_, waiter, [&](const Waiter& other) {
    return other.ticket.arrival > ticket.arrival;
  });
  missing_ += count;
  return waiter;
}

void Pool::collect(TimePoint now, Connection& connection, Waiter& waiter) {
  move_to(now, connection, State::leased);
  waiter.collected.push_back(connection);
  --missing_;
}

void Pool::grant(TimePoint now, Waiter& waiter, Actions& actions) {
  Session& session = *waiter.session;
  Grant grant{waiter.ticket, id_, {}};
  while (Connection* connection = waiter.collected.front()) {
    waiter.collected.remove(*connection);
    grant.leases.push_back(make_lease(now, session, waiter.owner, *connection));
  }
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
  const bool fresh = connection.uses == 0;
  const bool new_session = !fresh && connection.last_session != session.id;
  connection.lease = id;
  connection.owner = owner;
  connection.last_session = session.id;
  ++connection.uses;
  return {id, connection.id, fresh, new_session};
}

void Pool::dequeue(TimePoint now, Waiter& waiter) {
  missing_ -= waiter.missing();
  while (Connection* connection = waiter.collected.front()) {
    waiter.collected.remove(*connection);
    move_to(now, *connection, State::idle);
  }
  waiters_.remove(waiter);
  waiter.session->waiters.remove(waiter);
  shared_.deadlines.clear(waiter.deadline);
  shared_.waiters.free(waiter.id);
}

void Pool::refuse(TimePoint now, Waiter& waiter, Code code, Actions& actions) {
  const bool explain = code == Code::kTimedOut || code == Code::kUpstreamDown;
  Refusal refusal{code, "", now - waiter.ticket.since, {}};
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

void Pool::abandon(TimePoint now, Waiter& waiter, Actions& actions) {
  dequeue(now, waiter);
  settle(now, actions);
}

void Pool::take_back(TimePoint now, const Grant& grant, Session& session, ConnectionId failed,
                     CloseReason reason, Actions& actions) {
  Waiter& waiter = enqueue(session, grant.ticket, static_cast<uint32_t>(grant.leases.size()));
  for (const Granted& granted : grant.leases) {
    Lease& lease = shared_.leases[granted.lease];
    Connection& connection = *lease.connection;
    drop_lease(lease);
    --connection.uses;
    if (connection.id == failed) {
      close(now, connection, reason, actions);
    } else {
      waiter.collected.push_back(connection);
      --missing_;
    }
  }
  serve_new(now, waiter, actions);
}

void Pool::drop_lease(Lease& lease) {
  lease.session->leases.remove(lease);
  lease.connection->lease = {};
  shared_.leases.free(lease.id);
}

}  // namespace berth::pool
