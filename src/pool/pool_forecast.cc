// What a request would come to: the order of pool_grant.cc and pool_serve.cc, without effects.
#include "pool/pool.h"

namespace berth::pool {

Forecast Pool::forecast(TimePoint now, const SessionInfo& info) const {
  const Owner owner = owner_for(info);
  const bool open = !ending_ && intake_ == Intake::open;
  if (open && waiters_.empty()) {
    const Connection* best = idle_for(now, owner, {});
    if (best != nullptr && !needs_check(now, *best)) return {Step::grant, best->id, {}, {}};
  }
  if (auto refusal = refusal_at_once(now, 1)) return {Step::refuse, {}, {}, std::move(refusal)};
  if (!open) return {Step::wait, {}, Cause::kPaused, {}};
  if (!policy_.has_connections()) return forecast_slot();
  Pass pass = pass_over_waiters(now);
  const Connection* best = idle_for(now, owner, pass.earlier);
  if (best != nullptr && !needs_check(now, *best)) return {Step::grant, best->id, {}, {}};
  if (pass.claim(owner, 1) > 0) return {Step::join, {}, {}, {}};
  if (best != nullptr) return {Step::check, best->id, {}, {}};
  return forecast_capacity(now, pass);
}

const Connection* Pool::idle_for(TimePoint now, Owner owner, const Entitled& earlier) const {
  const Connection* best = pick_idle(now, owner, earlier);
  return best != nullptr && now < best->expires_at ? best : nullptr;
}

// A pass over those who wait, as serve_all() makes it. It starts nothing: what could be started for
// them has been.
Pool::Pass Pool::pass_over_waiters(TimePoint now) const {
  Pass pass;
  pass.dials_left = count(State::connecting);
  pass.closes_left = count(State::closing);
  note_coming(pass);
  for (const Waiter& waiter : waiters_) {
    const bool batch = waiter.count > 1;
    if (batch && pass.batch_waits) {
      pass.earlier.push_back(waiter.owner);
      continue;
    }
    if (batch) pass.batch_waits = true;
    uint32_t lacking = waiter.missing();
    lacking -= pass.claim(waiter.owner, lacking);
    for (; lacking > 0 && pass.may_dial; --lacking) {
      if (pass.dials_left > 0) {
        --pass.dials_left;
      } else if (at_max() && pass.closes_left > 0 && can_dial(now)) {
        --pass.closes_left;
        pass.may_dial = !probing();
      } else {
        pass.may_dial = false;
      }
    }
  }
  return pass;
}

Forecast Pool::forecast_capacity(TimePoint now, const Pass& pass) const {
  if (pass.dials_left > 0) return {Step::join, {}, {}, {}};
  if (!can_dial(now)) return {Step::wait, {}, Cause::kUpstreamDown, {}};
  if (at_max()) {
    const Connection* oldest = list(State::idle).front();
    const bool may_replace = pass.may_dial && pass.closes_left == 0 && pass.earlier.empty();
    if (oldest == nullptr || !may_replace) return {Step::wait, {}, Cause::kExhausted, {}};
    return {Step::replace, oldest->id, {}, {}};
  }
  return forecast_budget(Step::dial, pass.may_dial);
}

// `step` is what a free slot would allow.
Forecast Pool::forecast_budget(Step step, bool may_take) const {
  const SlotQueue& slots = shared_.slots;
  const uint32_t free = shared_.budget.free();
  if (may_take && slots.empty() && free > 0) return {step, {}, {}, {}};
  // For each slot that is needed one is free, closing, or evicted.
  const Connection* evictable = shared_.evictable.front();
  const bool may_evict = may_take && slots.needed() >= shared_.closing + free;
  if (evictable == nullptr || !may_evict) return {Step::wait, {}, Cause::kNoSlots, {}};
  return {Step::evict, evictable->id, {}, {}};
}

}  // namespace berth::pool
