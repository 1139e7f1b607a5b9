// What a request would come to: the order of pool_grant.cc and pool_serve.cc, without effects.
#include "pool/pool.h"

namespace berth::pool {

Forecast Pool::forecast(TimePoint now, const SessionInfo& info) const {
  const Owner owner = owner_for(info);
  const bool open = !ending_ && intake_ == Intake::open;
  if (open && waiters_.empty()) {
    if (const Connection* best = idle_for(now, owner)) return {Step::grant, best->id, {}, {}};
  }
  if (auto refusal = refusal_at_once(now, 1)) return {Step::refuse, {}, {}, std::move(refusal)};
  if (!open) return {Step::wait, {}, Cause::kPaused, {}};
  if (const Connection* best = idle_for(now, owner)) return {Step::grant, best->id, {}, {}};
  return forecast_capacity(now);
}

// None that somebody who waits already may have.
const Connection* Pool::idle_for(TimePoint now, Owner owner) const {
  Entitled earlier;
  for (const Waiter& waiter : waiters_) earlier.push_back(waiter.owner);
  const Connection* best = idle_.best(owner, policy_.idle_order, earlier);
  return best != nullptr && now < best->expires_at ? best : nullptr;
}

Forecast Pool::forecast_capacity(TimePoint now) const {
  if (count(State::connecting) > missing_) return {Step::join, {}, {}, {}};
  if (!can_dial(now)) return {Step::wait, {}, Cause::kUpstreamDown, {}};
  if (at_max()) {
    const Connection* oldest = list(State::idle).front();
    if (oldest == nullptr || !waiters_.empty()) return {Step::wait, {}, Cause::kExhausted, {}};
    return {Step::replace, oldest->id, {}, {}};
  }
  if (count(State::connecting) < missing_) return {Step::wait, {}, {}, {}};
  if (!shared_.slots.empty()) return {Step::wait, {}, Cause::kNoSlots, {}};
  if (shared_.budget.free() > 0) return {Step::dial, {}, {}, {}};
  const Connection* evictable = shared_.evictable.front();
  if (evictable == nullptr) return {Step::wait, {}, Cause::kNoSlots, {}};
  return {Step::evict, evictable->id, {}, {}};
}

}  // namespace berth::pool
