// Bare slots (rule 18): leases that carry no connection. A slot is leased from its birth to its
// end: nothing is idle, dialled or checked. All are alike, so whoever waits is served in his turn.
// A lease of a channel pool is one, too: its slot is that of our end of the client's socket.
#include "pool/pool.h"

namespace berth::pool {

void Pool::lend_slots(TimePoint now, Actions& actions) {
  want_slot(0);
  if (intake_ != Intake::open) return;
  while (Waiter* waiter = waiters_.front()) {
    if (waiter->ticket.patient && waiter->ticket.until <= now) {  // the timer is late
      refuse(now, *waiter, Code::kTimedOut, actions);
    } else if (!lend(now, *waiter, actions)) {
      return;
    }
  }
}

// All that he asked for, or none: what is free stays free for him alone until there is enough.
bool Pool::lend(TimePoint now, Waiter& waiter, Actions& actions) {
  if (!has_places(waiter.count)) return false;
  const uint64_t arrival = waiter.ticket.arrival;
  if (shared_.slots.overtaken_by(arrival) || !shared_.budget.reserve(waiter.count)) {
    want_slot(arrival, waiter.count);
    return false;
  }
  while (waiter.missing() > 0) {
    Connection& slot = add(now, State::leased, 0);
    slot.slot = true;
    waiter.collected.push_back(slot);
    --missing_;
  }
  grant(now, waiter, actions);
  return true;
}

bool Pool::has_places(size_t count) const {
  return policy_.max_connections == kUnlimited ||
         total_ + count <= static_cast<size_t>(policy_.max_connections);
}

Forecast Pool::forecast_slot() const {
  if (!waiters_.empty() || !has_places(1)) {
    return {Step::wait, {}, wants_slot() ? Cause::kNoSlots : Cause::kExhausted, {}};
  }
  return forecast_budget(Step::grant, true);
}

}  // namespace berth::pool
