// The driver's part that judges single actions. What needs the depot's state as it was when it
// decided is judged only if no other event has come since.
#include <algorithm>

#include "sim/driver.h"

namespace berth::sim {

using pool::Close;
using pool::Dial;
using pool::Grant;
using pool::Granted;
using pool::State;

// --- dials ---

void Driver::judge_dial(uint64_t decided, const PoolModel& pool, const Dial& dial) const {
  const size_t index = model_.pool_index(dial.pool);
  expect(!pool.removed, "a removed pool dials nothing", index);
  expect(pool.intake != pool::Intake::disabled || decided < pool.intake_event,
         "a disabled pool dials nothing", index);
  expect(pool.policy.max_connections == pool::kUnlimited ||
             pool.connections <= static_cast<size_t>(pool.policy.max_connections),
         "max_connections is never exceeded", index);
  const auto at = pool.endpoints.find(dial.endpoint);
  if (at != pool.endpoints.end() && at->second.failures > 0 && decided > at->second.failed_event) {
    for (const auto& [id, c] : model_.connections) {
      expect(c.pool != index || c.endpoint != dial.endpoint || c.stage != Stage::dialing,
             "one dial at a time probes a server that fails", index);
    }
    expect(at->second.lifted || model_.now >= at->second.failed_at + 80ms,
           "no dial before the backoff is over", index);
  }
  if (decided != model_.event) return;
  judge_endpoint(index, dial.endpoint);
  if (!is_sought(dial)) judge_dial_needed(index);
  judge_slot(depot_.pool(dial.pool));
}

// Rule 20, among those that certainly could be dialled: no other has fewer, or stands before it.
void Driver::judge_endpoint(size_t index, uint32_t endpoint) const {
  const PoolModel& model = model_.pools[index];
  const pool::Endpoints& endpoints = depot_.pool(model.id).endpoints();
  std::map<uint32_t, size_t> connections;
  for (const auto& [id, c] : model_.connections) {
    if (c.pool != index || c.stage == Stage::closing) continue;
    ++connections[c.endpoint];
  }
  for (uint32_t other = 0; other < endpoints.all().size(); ++other) {
    const auto known = model.endpoints.find(other);
    const bool healthy = known == model.endpoints.end() || known->second.failures == 0;
    if (other == endpoint || !endpoints[other].rank || !healthy) continue;
    switch (model.policy.balance) {
      case pool::Balance::round_robin:
        expect(connections[endpoint] <= connections[other], "connections are spread evenly", index);
        break;
      case pool::Balance::least_leased:   // what is leased changes within the event
      case pool::Balance::least_streams:  // of channel pools only
        break;
      case pool::Balance::failover:
        expect(*endpoints[endpoint].rank < *endpoints[other].rank,
               "the first that answers is dialled", index);
        break;
    }
  }
}

// failover: to an endpoint that stands before all that are in use, though nobody needs it; by one
// dial at a time.
bool Driver::is_sought(const Dial& dial) const {
  const size_t index = model_.pool_index(dial.pool);
  const pool::Pool& pool = depot_.pool(dial.pool);
  if (pool.policy().balance != pool::Balance::failover) return false;
  const auto rank = pool.endpoints()[dial.endpoint].rank;
  bool before_a_used_one = false;
  for (const auto& [id, c] : model_.connections) {
    const auto other = pool.endpoints()[c.pool == index ? c.endpoint : dial.endpoint].rank;
    if (c.pool != index || !other || c.stage == Stage::closing) continue;
    if (*other <= *rank) return false;
    before_a_used_one |= c.stage != Stage::dialing;
  }
  return before_a_used_one;
}

void Driver::judge_dial_needed(size_t index) const {
  const pool::Pool& pool = depot_.pool(model_.pools[index].id);
  const auto min_idle = static_cast<size_t>(pool.policy().min_idle);
  bool anybody = min_idle > 0;
  size_t late = 0;  // to be refused in this very event, after the dial
  for (const auto& [key, ask] : model_.asks) {
    if (ask.pool != index || !ask.patient || ask.in_hand) continue;
    anybody = true;
    if (ask.until <= model_.now) late += ask.count;
  }
  expect(anybody, "nothing is dialled for who has no time", index);
  expect(pool.count(State::connecting) + pool.kept() <=
             pool.missing() + late + std::max(min_idle, pool.kept()),
         "nothing is dialled that nobody needs", index);
}

// By arrival across pools: whoever dials has a waiter who came before the first that lacks a slot.
void Driver::judge_slot(const pool::Pool& pool) const {
  const pool::SlotQueue& slots = depot_.shared().slots;
  if (slots.empty() || slots.front_arrival() != model_.first_for_slot) return;
  const pool::Waiter* first = pool.waiters().front();
  expect(first != nullptr && first->ticket.arrival <= slots.front_arrival(), "slots go by arrival",
         slots.front_arrival());
}

// --- closes ---

void Driver::judge_close(uint64_t decided, const ConnectionModel& c, const Close& close) {
  const PoolModel& pool = model_.pools[c.pool];
  const pool::PoolPolicy& policy = pool.policy;
  const CloseReason why = close.reason;
  const uint64_t id = c.id.value();
  expect(c.stage != Stage::closing, "a connection is closed once", id);
  expect(c.stage != Stage::leased, "no connection is closed under its holder", id);
  expect(c.detached == (why == CloseReason::detached),
         "what a program has for good is let go of, and nothing else is", id);
  if (c.stage == Stage::dialing) {
    const bool late = why == CloseReason::dead && model_.now >= c.since + policy.dial_timeout;
    expect(late || model_.stopping || pool.removed || decided == pool.reload_event,
           "a dial is left alone until dial_timeout", id);
  }
  const bool just_returned = decided == c.returned_event;
  if (c.stage == Stage::unsent && !just_returned) {
    const bool late = why == CloseReason::dirty && model_.now >= c.since + policy.reset_timeout;
    expect(late || model_.stopping, "unsent bytes are waited for until reset_timeout", id);
    return;
  }
  if (c.stage == Stage::resetting && why == CloseReason::reset_failed) {
    expect(model_.now >= c.since + policy.reset_timeout, "a reset has reset_timeout", id);
    return;
  }
  if (c.stage == Stage::checking && why == CloseReason::check_failed) {
    expect(model_.now >= c.since + policy.check_timeout, "a check has check_timeout", id);
    return;
  }
  if (c.stage == Stage::dialing || c.stage == Stage::returned) return;
  const bool asked = decided == pool.evict_event;
  if (decided == model_.event && c.was_idle && !asked) judge_idlest(c, why);
  switch (why) {
    case CloseReason::evicted:
      // But a batch may have collected it, and must now yield it.
      expect(asked || !c.was_kept || pool.waiting > 0 || policy.balance == pool::Balance::failover,
             "min_idle is never evicted", id);
      break;
    case CloseReason::overflow: expect(!c.was_kept, "min_idle does not overflow", id); break;
    case CloseReason::idle:
      if (const Duration learnt = model_.learnt(c);
          learnt != 0s && model_.now >= c.quiet_since + learnt) {
        break;
      }
      expect(!c.was_kept, "min_idle does not idle out", id);
      expect(policy.idle_timeout != 0s && model_.now >= c.idle_since + policy.idle_timeout,
             "nothing idles out before its time", id);
      break;
    case CloseReason::age:
      expect((c.lifetime != 0s && model_.now >= c.up_at + c.lifetime * 3 / 4) ||
                 (c.warm_age != 0s && model_.now >= c.up_at + c.warm_age),
             "nothing ages out before its time", id);
      break;
    case CloseReason::renewed:
      expect(c.epoch != pool.epoch, "only what was renewed is closed for it", id);
      break;
    case CloseReason::address_gone:
      expect(c.epoch == pool::kGoneEpoch, "only what lost its address is closed for it", id);
      break;
    case CloseReason::expired:
      expect(!c.was_kept && c.idle_since <= model_.tick_before,
             "only what was idle through two ticks expires", id);
      break;
    case CloseReason::uses:
      expect(c.slot || (Model::most_uses(policy) != 0 && c.uses >= Model::most_uses(policy)),
             "nothing is closed before it is used up", id);
      break;
    case CloseReason::removed:
      expect(pool.removed, "only a pool that has left closes for it", id);
      break;
    case CloseReason::shutdown: expect(model_.stopping, "only a stop closes for it", id); break;
    default: expect(false, "an idle connection is closed for a reason of idle ones", id);
  }
}

// Of those that may go, the one idle longest goes.
void Driver::judge_idlest(const ConnectionModel& c, CloseReason reason) const {
  if (reason != CloseReason::evicted && reason != CloseReason::overflow) return;
  const PoolModel& pool = model_.pools[c.pool];
  const bool by_own_pool =
      reason == CloseReason::evicted
          ? pool.connections >= static_cast<size_t>(std::max(0, pool.policy.max_connections)) &&
                pool.policy.max_connections != pool::kUnlimited
          : pool.policy.max_idle != pool::kUnlimited || model_.event == pool.reload_event;
  const bool for_slots = model_.first_for_slot != 0 || !depot_.shared().slots.empty() ||
                         model_.event == model_.make_room_event;
  for (const auto& [id, other] : model_.connections) {
    const bool gone_too = other.pool == c.pool && other.stage == Stage::closing;
    expect(!pool.failing() || for_slots || reason != CloseReason::evicted || !gone_too,
           "one place is enough for a probe", id.value());
    if (other.idle_since >= c.idle_since || !still_idle(other)) continue;
    if (by_own_pool && other.pool != c.pool) continue;
    expect(depot_.connection(id)->kept, "the one idle longest goes", id.value());
  }
}

// --- leases that their holders did not end ---

void Driver::judge_revoke(const pool::Revoke& revoke, const ConnectionModel& c) const {
  const uint64_t lease = revoke.lease.value();
  const Duration limit = model_.pools[c.pool].policy.lease_timeout;
  expect(revoke.session == c.last_holder, "the holder is told of a revocation", lease);
  switch (revoke.cause) {
    case pool::Revoke::Cause::shutdown:
      expect(model_.stopping && model_.now >= model_.drained_by,
             "a shutdown waits for leases before it revokes", lease);
      break;
    case pool::Revoke::Cause::administrator:
      expect(model_.revoking == revoke.lease, "only what was asked for is revoked", lease);
      break;
    case pool::Revoke::Cause::lease_timeout:
      expect(limit != 0s && model_.now >= c.leased_at + limit,
             "no lease is revoked before lease_timeout", lease);
      break;
    case pool::Revoke::Cause::cancelled:
      expect(false, "only calls over gRPC are cancelled after the grant", lease);
      break;
  }
}

void Driver::judge_warning(const pool::Event& warning) {
  ConnectionModel& c = connection(warning.connection);
  const uint64_t lease = warning.lease.value();
  const Duration limit = model_.pools[c.pool].policy.lease_warn;
  expect(c.lease == warning.lease, "only a lease that is held is warned of", lease);
  expect(limit != 0s && model_.now >= c.leased_at + limit, "no lease is warned of too early",
         lease);
  expect(!c.warned, "a lease is warned of once", lease);
  c.warned = true;
}

// --- grants ---

// Since before the event.
bool Driver::still_idle(const ConnectionModel& c) const {
  const pool::Connection* own = depot_.connection(c.id);
  return c.was_idle && c.stage == Stage::open && own != nullptr && own->state == State::idle;
}

bool Driver::some_own_needs_check(const Ask& ask) const {
  return std::any_of(model_.connections.begin(), model_.connections.end(), [&](const auto& each) {
    const ConnectionModel& c = each.second;
    return c.pool == ask.pool && c.owner == ask.owner && still_idle(c) && model_.needs_check(c);
  });
}

// C: his own before nobody's, in the order of idle_order.
void Driver::judge_choice(const ConnectionModel& c, const Ask& ask) const {
  if (!c.was_idle) return;
  const bool lifo = model_.pools[ask.pool].policy.idle_order == pool::IdleOrder::lifo;
  for (const auto& [id, other] : model_.connections) {
    if (other.pool != ask.pool || !still_idle(other)) continue;
    expect(!c.owner.nobody() || other.owner != ask.owner || some_own_needs_check(ask),
           "his own come before nobody's, if they need no check", id.value());
    if (other.owner != c.owner || model_.needs_check(other)) continue;
    expect(lifo ? other.idle_since <= c.idle_since : other.idle_since >= c.idle_since,
           "idle_order holds", id.value());
  }
}

void Driver::judge_grant(uint64_t decided, const Grant& grant, const Ask& ask) {
  const PoolModel& pool = model_.pools[ask.pool];
  expect(ask.permitted, "allow_users holds", ask.pool);
  expect(!ask.too_much, "nobody has more than one user may", ask.key.request);
  expect(!pool.removed, "a removed pool grants nothing", ask.pool);
  expect(grant.pool == pool.id, "a grant comes from the pool that was asked");
  expect(grant.leases.size() == ask.count, "all of a batch or none", grant.leases.size());
  expect(grant.ticket.detach == ask.detach, "what is asked for good is granted so",
         ask.key.request);
  const bool only_carried =
      std::any_of(grant.leases.begin(), grant.leases.end(),
                  [this](const Granted& g) { return connection(g.connection).carried; });
  expect(grant.carried == (only_carried || model_.carried(ask)),
         "what may not be handed over is carried", ask.key.request);
  expect(!ask.detach || !grant.carried, "what is carried is not detached", ask.key.request);
  expect(ask.patient ? model_.now < ask.until : decided == ask.entered,
         "no grant after the deadline", ask.key.request);
  for (const Granted& g : grant.leases) {
    const ConnectionModel& c = connection(g.connection);
    const uint64_t id = c.id.value();
    expect(c.pool == ask.pool, "a pool grants its own connections", id);
    expect(!ask.detach || !c.slot, "a bare slot is never detached", id);
    expect(c.stage == Stage::open, "what is granted was ready", id);
    expect(Model::may_have(ask.owner, c), "share forbids this connection", id);
    expect(g.fresh == (c.uses == 0), "fresh says whether somebody has held it", id);
    const bool from_another = c.uses > 0 && (c.last_holder != ask.key.session || c.taken_back);
    expect(g.new_session || !from_another || c.last_holder == ask.key.session,
           "new_session says that the last holder was another", id);
    expect(!g.new_session || from_another, "new_session only if the last holder was another", id);
    // After the decision a better endpoint may have been reached, or its address be gone; it is
    // then closed on release.
    const bool marked = c.epoch == pool::kNoEpoch || c.epoch == pool::kGoneEpoch;
    const bool marked_since = decided != model_.event && marked;
    expect(c.epoch == pool.epoch || marked_since, "what was renewed is not granted", id);
    const uint64_t most = Model::most_uses(pool.policy);
    expect(most == 0 || c.uses < most, "what is used up is not granted", id);
    expect(c.warm_age == 0s || model_.now < c.up_at + c.warm_age,
           "what has been warm for too long is not granted", id);
    const pool::Connection* own = depot_.connection(c.id);
    expect(own != nullptr && model_.now < own->expires_at, "what is too old is not granted", id);
    expect(c.lifetime == 0s || model_.now < c.up_at + c.lifetime, "what is too old is not granted",
           id);
    expect(g.lease.value() < uint64_t{1} << 61, "a lease id leaves three bits free");
    expect(model_.leases_ever.insert(g.lease.value()).second, "a lease id is never given twice",
           g.lease.value());
    judge_proof(c, ask);
    judge_overtaking(decided, c, ask);
    if (decided == model_.event) judge_choice(c, ask);
  }
}

// A batch has each checked when it collects it.
void Driver::judge_proof(const ConnectionModel& c, const Ask& ask) const {
  if (model_.pools[ask.pool].policy.check.empty()) return;
  const bool collected = ask.count > 1 && c.quiet_since + c.check_after > ask.asked_at;
  const bool passed = ask.count > 1 && c.answered && c.quiet_since >= ask.asked_at;
  expect(!model_.needs_check(c) || collected || passed,
         "nothing is granted without the check that it needs", c.id.value());
}

void Driver::judge_overtaking(uint64_t decided, const ConnectionModel& c, const Ask& ask) {
  for (const auto& [key, other] : model_.asks) {
    if (other.pool != ask.pool || other.in_hand || other.order >= ask.order) continue;
    if (other.entered >= decided) continue;
    expect(!Model::may_have(other.owner, c), "no later request takes what an earlier may have",
           other.key.request);
  }
}

}  // namespace berth::sim
