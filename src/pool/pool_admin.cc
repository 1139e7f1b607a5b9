// What an administrator does to a pool, and the limits on how long a lease is held.
#include <algorithm>
#include <utility>

#include "pool/pool.h"

namespace berth::pool {

// --- rule 17 ---

void Pool::set_intake(TimePoint now, Intake intake, Actions& actions) {
  if (intake_ == intake) return;
  intake_ = intake;
  switch (intake) {
    case Intake::open: note(now, EventKind::open); break;
    case Intake::paused: note(now, EventKind::pause); break;
    case Intake::disabled: note(now, EventKind::disable); break;
  }
  if (intake != Intake::open && collecting_ != nullptr) put_back(now, *collecting_);
  if (intake == Intake::disabled) refuse_all(now, Code::kDisabled, actions);
  settle(now, actions);
}

// --- rules 15 and 16, and evictions on demand ---

size_t Pool::renew(TimePoint now, Actions& actions) {
  ++epoch_;
  if (collecting_ != nullptr) put_back(now, *collecting_);
  const size_t closed = count(State::idle);
  note(now, EventKind::renew, closed);
  close_all(now, State::idle, CloseReason::renewed, actions);
  endpoints_.forget_idle_ages();
  settle(now, actions);
  return closed;
}

bool Pool::close_on_release(Lease& lease) {
  const bool renewed = lease.connection->epoch != epoch_;
  if (!renewed) lease.connection->epoch = kNoEpoch;
  return !renewed;
}

size_t Pool::evict_idle(TimePoint now, size_t most, Actions& actions) {
  const size_t closed = std::min(most, count(State::idle));
  note(now, EventKind::evict, closed);
  for (size_t i = 0; i < closed; ++i) {
    close(now, *list(State::idle).front(), CloseReason::evicted, actions);
  }
  settle(now, actions);
  return closed;
}

size_t Pool::expire(TimePoint now, Actions& actions) {
  size_t closed = 0;
  for (Connection* c = list(State::idle).front(); c != nullptr;) {
    Connection* const next = StateList::next(*c);
    if (!c->kept && std::exchange(c->marked, true)) {
      close(now, *c, CloseReason::expired, actions);
      ++closed;
    }
    c = next;
  }
  if (closed > 0) note(now, EventKind::expire, closed);
  settle(now, actions);
  return closed;
}

// --- the end of a lease that its holder did not end ---

void Pool::revoke(TimePoint now, Lease& lease, Revoke::Cause cause, Actions& actions) {
  note_lease(now, EventKind::revoke, lease, static_cast<uint64_t>(cause));
  actions.add(Revoke{lease.session->id, lease.id, cause});
  end_lease(now, lease, CloseReason::revoked, actions);
}

void Pool::revoke_all(TimePoint now, Revoke::Cause cause, Actions& actions) {
  if (collecting_ != nullptr) put_back(now, *collecting_);
  while (Connection* connection = list(State::leased).front()) {
    revoke(now, shared_.leases[connection->lease], cause, actions);
  }
  close_all(now, State::resetting, CloseReason::revoked, actions);
}

// Rule 12: a warning, then the end; each may be off.
void Pool::watch_lease(Lease& lease) {
  const auto when = [&](Duration limit) {
    return limit == Duration::zero() ? kNever : after(lease.granted_at, limit);
  };
  const TimePoint warning = lease.warned ? kNever : when(policy_.lease_warn);
  lease.deadline.kind = Deadline::Kind::lease;
  lease.deadline.subject = lease.id.value();
  shared_.deadlines.set(lease.deadline, std::min(warning, when(policy_.lease_timeout)));
}

void Pool::lease_due(TimePoint now, Lease& lease, Actions& actions) {
  const Duration limit = policy_.lease_timeout;
  if (limit != Duration::zero() && now >= after(lease.granted_at, limit)) {
    revoke(now, lease, Revoke::Cause::lease_timeout, actions);
    settle(now, actions);
    return;
  }
  lease.warned = true;
  note_lease(now, EventKind::lease_warning, lease);
  watch_lease(lease);
}

// --- the journal ---

void Pool::note(TimePoint now, EventKind kind, uint64_t detail, std::string_view text) {
  keep({kind, now, id_, {}, {}, {}, detail, std::string(text), ""});
}

void Pool::note_connection(TimePoint now, EventKind kind, const Connection& connection,
                           uint64_t detail, std::string_view text) {
  keep({kind, now, id_, connection.id, {}, {}, detail, std::string(text), ""});
}

void Pool::note_lease(TimePoint now, EventKind kind, const Lease& lease, uint64_t detail) {
  if (!shared_.journal.keeps(kind)) return count_event(kind, detail);
  keep({kind, now, id_, lease.connection->id, lease.id, lease.session->id, detail, "", ""});
}

void Pool::note_refusal(TimePoint now, SessionId session, Code code) {
  const auto detail = static_cast<uint64_t>(code);
  if (!shared_.journal.keeps(EventKind::refuse)) return count_event(EventKind::refuse, detail);
  keep({EventKind::refuse, now, id_, {}, {}, session, detail, "", ""});
}

void Pool::keep(Event event) {
  event.key = policy_.key;
  count_event(event.kind, event.detail);
  shared_.journal.add(std::move(event));
}

void Pool::count_event(EventKind kind, uint64_t detail) {
  ++counters_.events[static_cast<size_t>(kind)];
  if (kind == EventKind::close) ++counters_.closes[detail];
  if (kind == EventKind::refuse) ++counters_.refusals[detail];
}

}  // namespace berth::pool
