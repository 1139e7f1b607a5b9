// Who gets what: one pass over the waiters after each event (the order C to G of DESIGN section 5).
#include <algorithm>

#include "pool/pool.h"

namespace berth::pool {

void Pool::settle(TimePoint now, Actions& actions) {
  meet_needs(now, actions);
  if (policy_.balance == Balance::failover) seek_better(now, actions);
  plan_retry(now);
}

// Those who wait, and min_idle.
void Pool::meet_needs(TimePoint now, Actions& actions) {
  if (!waiters_.empty() && refuses_at_once(now)) refuse_all(now, Code::kUpstreamDown, actions);
  const size_t spare_dials = serve(now, actions);
  limit_idle(now, actions);
  refill(now, spare_dials, actions);
}

size_t Pool::serve(TimePoint now, Actions& actions) {
  if (!policy_.has_connections()) {
    lend_slots(now, actions);
    return 0;
  }
  while (true) {
    const Pass pass = serve_all(now, actions);
    if (!pass.again) return pass.dials_left;
  }
}

Pool::Pass Pool::serve_all(TimePoint now, Actions& actions) {
  want_slot(0);
  Pass pass;
  pass.dials_left = count(State::connecting);
  pass.closes_left = count(State::closing);
  if (intake_ != Intake::open) return pass;
  if (!waiters_.empty() && count(State::resetting) > 0) note_coming(pass);
  for (Waiter* waiter = waiters_.front(); waiter != nullptr;) {
    const bool dials_suffice = pass.coming.empty() && count(State::connecting) >= missing_;
    if (list(State::idle).empty() && (dials_suffice || !pass.may_dial)) {
      if (dials_suffice) pass.dials_left = count(State::connecting) - missing_;
      break;
    }
    Waiter* const next = WaiterQueue::next(*waiter);
    serve_one(now, *waiter, pass, actions);
    waiter = next;
  }
  return pass;
}

void Pool::serve_one(TimePoint now, Waiter& waiter, Pass& pass, Actions& actions) {
  if (waiter.ticket.patient && waiter.ticket.until <= now) {  // the timer is late
    pass.again |= !waiter.collected.empty();
    refuse(now, waiter, Code::kTimedOut, actions);
    return;
  }
  const bool batch = waiter.count > 1;
  if (batch && pass.batch_waits) {  // rule 9: only the oldest batch accumulates
    pass.earlier.push_back(waiter.owner);
    return;
  }
  const uint32_t coming = collect_idle(now, waiter, pass, actions);
  if (waiter.missing() == 0) {
    grant(now, waiter, actions);
    return;
  }
  if (batch) pass.batch_waits = true;
  if (!waiter.collected.empty()) set_collecting(&waiter);
  if (waiter.ticket.patient) find_capacity(now, waiter, waiter.missing() - coming, pass, actions);
}

uint32_t Pool::collect_idle(TimePoint now, Waiter& waiter, Pass& pass, Actions& actions) {
  const bool patient = waiter.ticket.patient;
  // Too few for one who does not wait: they stay where they are.
  if (!patient && idle_.available(waiter.owner, pass.earlier) < waiter.missing()) return 0;
  close_aged(now, waiter, actions);
  uint32_t coming = 0;
  while (waiter.missing() > coming) {
    Connection* best = best_idle(now, waiter.owner, pass.earlier, actions);
    if (best != nullptr && !needs_check(now, *best)) {
      collect(now, *best, waiter);
      continue;
    }
    if (patient) coming += pass.claim(waiter.owner, waiter.missing() - coming);
    if (best == nullptr || waiter.missing() == coming) break;
    perform(now, *best, Task::check, actions);
    ++coming;
    pass.again = true;  // an earlier one may claim it, and leave him what he had counted on
  }
  return coming;
}

void Pool::close_aged(TimePoint now, Waiter& waiter, Actions& actions) {
  for (Connection* c = waiter.collected.front(); c != nullptr;) {
    Connection* const next = decltype(waiter.collected)::next(*c);
    if (now >= c->expires_at) {
      uncollect(*c, waiter);
      close(now, *c, CloseReason::age, actions);
    }
    c = next;
  }
}

// Counts dials and closes under way for this waiter, then starts what is lacking (D, E, F).
void Pool::find_capacity(TimePoint now, const Waiter& waiter, uint32_t lacking, Pass& pass,
                         Actions& actions) {
  for (; lacking > 0; --lacking) {
    if (pass.dials_left > 0) {
      --pass.dials_left;
      continue;
    }
    if (!pass.may_dial || !can_dial(now)) {
      pass.may_dial = false;
      return;
    }
    if (at_max()) {
      // A probe needs one place; what is warm is not given up for dials that must wait for it.
      pass.may_dial = make_place(now, waiter, pass, actions) && !probing();
      if (!pass.may_dial) return;
      continue;
    }
    if (shared_.slots.overtaken_by(waiter.ticket.arrival) || !shared_.budget.reserve(1)) {
      want_slot(waiter.ticket.arrival);
      pass.may_dial = false;
      return;
    }
    start_dial(now, *next_endpoint(now), actions);
  }
}

// E: a place under max_connections, from an idle connection that may not go to the waiter, or from
// one that a later batch has collected.
bool Pool::make_place(TimePoint now, const Waiter& waiter, Pass& pass, Actions& actions) {
  if (pass.closes_left > 0) {
    --pass.closes_left;
    return true;
  }
  if (!pass.earlier.empty()) return false;
  Connection* oldest = list(State::idle).front();
  const bool later = collecting_ != nullptr && collecting_->ticket.arrival > waiter.ticket.arrival;
  if (oldest == nullptr && later) {
    oldest = collecting_->collected.front();
    uncollect(*oldest, *collecting_);
  }
  if (oldest == nullptr) return false;
  close(now, *oldest, CloseReason::evicted, actions);
  return true;
}

void Pool::start_dial(TimePoint now, uint32_t endpoint, Actions& actions) {
  endpoints_.chose(endpoint);
  Connection& connection = add(now, State::connecting, endpoint);
  note_connection(now, EventKind::dial, connection);
  actions.add(Dial{connection.id, id_, endpoint});
}

Connection& Pool::add(TimePoint now, State state, uint32_t endpoint) {
  const ConnectionId id = shared_.connections.allocate();
  Connection& connection = shared_.connections[id];
  connection.id = id;
  connection.pool = id_;
  connection.state = state;
  connection.endpoint = endpoint;
  connection.deadline.kind = Deadline::Kind::connection;
  connection.deadline.subject = id.value();
  connection.epoch = epoch_;
  connection.since = now;
  ++total_;
  enter_state(connection);
  return connection;
}

// max_idle (rule 4): the one idle longest goes, but none that is kept.
void Pool::limit_idle(TimePoint now, Actions& actions) {
  if (policy_.max_idle == kUnlimited) return;
  const size_t most = policy_.max_idle == kNone ? 0 : static_cast<size_t>(policy_.max_idle);
  for (Connection* oldest = list(State::idle).front();
       oldest != nullptr && count(State::idle) > most;) {
    Connection* const next = StateList::next(*oldest);
    if (!oldest->kept) close(now, *oldest, CloseReason::overflow, actions);
    oldest = next;
  }
}

// min_idle (rule 7), after everybody who waits; never at the cost of another pool.
void Pool::refill(TimePoint now, size_t spare_dials, Actions& actions) {
  if (!shared_.hungry.empty()) shared_.hungry.erase(id_);
  if (ending_ || intake_ == Intake::disabled) return;
  const auto wanted = static_cast<size_t>(policy_.min_idle);
  for (size_t ready = idle_.kept() + spare_dials; ready < wanted; ++ready) {
    const bool dials_enough =
        count(State::connecting) >= static_cast<size_t>(policy_.dial_concurrency);
    if (dials_enough || at_max() || !can_dial(now)) return;
    if (!shared_.slots.empty() || !shared_.budget.reserve(1)) {
      shared_.hungry.insert(id_);
      return;
    }
    start_dial(now, *next_endpoint(now), actions);
  }
}

// failover: an endpoint that failed is tried again though others serve, by one dial; and so is one
// that was never reached. It costs an idle connection where max_connections leaves no place.
void Pool::seek_better(TimePoint now, Actions& actions) {
  if (ending_ || intake_ == Intake::disabled) return;
  const std::optional<uint32_t> better = endpoints_.better(now);
  if (!better) return;
  if (at_max()) {
    const StateList& idle = list(State::idle);
    Connection* oldest = idle.front();
    for (Connection& c : idle) {
      if (!oldest->kept) break;
      oldest = &c;
    }
    if (oldest == nullptr || count(State::closing) > 0) return;
    close(now, oldest->kept ? *idle.front() : *oldest, CloseReason::evicted, actions);
  } else if (!shared_.slots.empty() || !shared_.budget.reserve(1)) {
    shared_.hungry.insert(id_);
  } else {
    start_dial(now, *better, actions);
  }
}

// failover: what is connected to a later endpoint gives way.
void Pool::return_to(TimePoint now, uint32_t endpoint, Actions& actions) {
  const auto gives_way = [&](const Connection& c) {
    return endpoints_.gives_way(c.endpoint, endpoint);
  };
  if (collecting_ != nullptr) put_back(now, *collecting_);
  for (Connection* c = list(State::idle).front(); c != nullptr;) {
    Connection* const next = StateList::next(*c);
    if (gives_way(*c)) close(now, *c, CloseReason::renewed, actions);
    c = next;
  }
  for (const State state : {State::leased, State::resetting}) {
    for (Connection& c : list(state)) {
      if (gives_way(c)) c.epoch = kNoEpoch;
    }
  }
}

// While every endpoint is in backoff nothing else would wake the pool.
void Pool::plan_retry(TimePoint now) {
  const bool waits = !waiters_.empty() && intake_ == Intake::open;
  const bool refills = intake_ != Intake::disabled && !ending_ &&
                       idle_.kept() < static_cast<size_t>(policy_.min_idle);
  TimePoint retry = kNever;
  if ((waits || refills) && !can_dial(now)) retry = endpoints_.first_ready(now);
  if (policy_.balance == Balance::failover && intake_ != Intake::disabled && !ending_) {
    retry = std::min(retry, endpoints_.better_ready(now));
  }
  shared_.deadlines.set(deadline_, retry);
}

bool Pool::at_max() const {
  return policy_.max_connections != kUnlimited &&
         total_ >= static_cast<size_t>(policy_.max_connections);
}

bool Pool::beyond_max() const {
  return policy_.max_connections != kUnlimited &&
         total_ - count(State::closing) > static_cast<size_t>(policy_.max_connections);
}

void Pool::want_slot(uint64_t arrival, uint32_t need) {
  if (slot_arrival_ == arrival) return;
  if (slot_arrival_ != 0) shared_.slots.erase(slot_arrival_);
  slot_arrival_ = arrival;
  if (arrival != 0) shared_.slots.insert(arrival, id_, need);
}

// fail_fast (rule 10): no connection at all, and no endpoint that may be dialled.
bool Pool::refuses_at_once(TimePoint now) const {
  return intake_ == Intake::open && policy_.fail_fast && total_ == count(State::closing) &&
         endpoints_.all_wait(now);
}

}  // namespace berth::pool
