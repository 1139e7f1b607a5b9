#include "sim/checks.h"

#include <algorithm>
#include <map>
#include <vector>

namespace berth::sim {

using pool::Connection;
using pool::Pool;
using pool::State;
using pool::Waiter;

namespace {

constexpr State kAllStates[] = {State::connecting, State::idle,      State::leased,
                                State::parked,     State::resetting, State::closing};

State state_of(Stage stage) {
  switch (stage) {
    case Stage::dialing: return State::connecting;
    case Stage::open: return State::idle;
    case Stage::leased: return State::leased;
    case Stage::unsent:
    case Stage::resetting:
    case Stage::checking: return State::resetting;
    case Stage::closing: return State::closing;
    case Stage::returned: break;
  }
  throw Broken{"what is dirty or discarded is closed in the same event", 0};
}

bool collected(const Connection& c) {
  return c.state == State::leased && !c.lease.valid();
}

// What a waiter lacks, and nothing is being reset or checked for.
struct Lack {
  const Waiter* waiter;
  size_t uncovered;
  pool::Entitled earlier;  // owners of batches before him that may not collect yet
};

// Of those whose turn it is: later batches wait for the oldest, and leave it what is theirs.
std::vector<Lack> lacks(const Model& model, const Pool& pool) {
  const PoolModel& pool_model = model.pools[model.pool_index(pool.id())];
  const auto most = static_cast<size_t>(pool.policy().max_connections);
  const bool beyond = most != 0 && pool.total() - pool.count(State::closing) > most;
  std::vector<pool::Owner> coming;
  for (const Connection& c : pool.list(State::resetting)) {
    const uint64_t uses = Model::most_uses(pool.policy());
    const bool used_up = uses != 0 && c.uses >= uses;
    const bool fit = !beyond && !used_up && c.epoch == pool_model.epoch;
    if (c.task != pool::Task::inspect && fit) coming.push_back(c.owner);
  }
  std::vector<Lack> found;
  pool::Entitled earlier;
  bool batch_waits = false;
  for (const Waiter& waiter : pool.waiters()) {
    if (waiter.count > 1 && batch_waits) {
      earlier.push_back(waiter.owner);
      continue;
    }
    batch_waits |= waiter.count > 1;
    size_t lacking = waiter.missing();
    for (const bool own : {true, false}) {
      std::erase_if(coming, [&](pool::Owner whose) {
        const bool his = lacking > 0 && (whose == waiter.owner) == own &&
                         pool::IdleSet::may_have(waiter.owner, whose, earlier);
        lacking -= his;
        return his;
      });
    }
    found.push_back({&waiter, lacking, earlier});
  }
  return found;
}

const Waiter* oldest_batch(const Pool& pool) {
  for (const Waiter& waiter : pool.waiters()) {
    if (waiter.count > 1) return &waiter;
  }
  return nullptr;
}

}  // namespace

void Checks::after_event() {
  ++round_;
  Sum sum;
  forget_removed();
  for (size_t i = 0; i < model_.pools.size(); ++i) {
    const PoolModel& model = model_.pools[i];
    if (model.gone) continue;
    const Pool& pool = depot_.pool(model.id);
    journal(model, pool);
    containers(model, pool, sum);
    queue(i, pool);
    limits(model, pool);
    if (model.intake == pool::Intake::open) nobody_waits_beside_his_own(model, pool);
    expect(model.intake != pool::Intake::open || !model.policy.fail_fast || pool.waiting() == 0 ||
               !model.failing() || model_.now >= model.hardly_ready_at() || pool.total() > 0,
           "fail_fast: nobody waits while there is no connection and no dial", i);
    if (!model.failing()) somebody_looks_for_capacity(model, pool);
    min_idle_refilled(model, pool);
  }
  users();
  eviction_order(sum);
  budget(sum);
  slots();
  const pool::SlotQueue& queue = depot_.shared().slots;
  model_.first_for_slot = queue.empty() ? 0 : queue.front_arrival();
}

// A removed pool goes with its last connection.
void Checks::forget_removed() {
  size_t left = 0;
  for (PoolModel& pool : model_.pools) {
    pool.gone = pool.gone || (pool.removed && pool.connections == 0);
    left += pool.gone ? 0 : 1;
  }
  size_t there = 0;
  depot_.for_each_pool([&](const Pool&) { ++there; });
  expect(left == there, "a removed pool goes with its last connection", there);
}

// --- records and counters ---

void Checks::containers(const PoolModel& model, const Pool& pool, Sum& sum) {
  size_t total = 0;
  size_t nobodys = 0;
  size_t kept = 0;
  size_t kept_aside = 0;  // while they are checked
  size_t at_rest = 0;
  size_t in_batches = 0;
  for (const State state : kAllStates) {
    for (const Connection& c : pool.list(state)) {
      expect(c.state == state, "a connection stands in the list of its state", c.id.value());
      expect(!c.kept || (c.at_rest() && c.owner.nobody()),
             "only nobody's connections are kept, and only at rest", c.id.value());
      at_rest += c.at_rest();
      kept += c.kept;
      kept_aside += c.kept && state != State::idle;
      place_of(c, pool);
      deadline_of(c, pool);
      ++total;
      in_batches += collected(c);
      if (state != State::idle) continue;
      nobodys += c.owner.nobody();
      const Connection* next = Pool::StateList::next(c);
      expect(next == nullptr || c.idle_since <= next->idle_since, "idle ones stand by age",
             c.id.value());
    }
  }
  size_t collected_here = 0;
  for (const Waiter& waiter : pool.waiters()) collected_here += waiter.collected.size();
  expect(in_batches == collected_here, "a leased connection has a lease or a batch");
  expect(total == pool.total() && total == model.connections, "a pool counts its connections");
  expect(kept == pool.kept(), "a pool counts those it keeps");
  const auto min_idle = static_cast<size_t>(pool.policy().min_idle);
  expect(kept == std::max(kept_aside, std::min(nobodys + kept_aside, min_idle)),
         "min_idle of nobody's are kept");
  sum.at_rest += at_rest;
  sum.closing += pool.count(State::closing);
  sum.kept += kept;
  sum.connections += total;
}

void Checks::place_of(const Connection& c, const Pool& pool) {
  const auto at = model_.connections.find(c.id);
  const uint64_t id = c.id.value();
  expect(at != model_.connections.end(), "the depot has only connections that exist", id);
  ConnectionModel& m = at->second;
  expect(m.seen != round_, "a connection stands in one list", id);
  m.seen = round_;
  expect(c.pool == pool.id() && model_.pools[m.pool].id == c.pool, "it stands in its pool", id);
  expect(c.state == state_of(m.stage) || (m.stage == Stage::open && collected(c)),
         "the state is what the world knows", id);
  const bool known = c.state == State::idle || collected(c);
  expect(!known || c.owner == m.owner, "the owner is who has held it", id);
  expect(!known || c.idle_since == m.idle_since, "idle since it was handed in", id);
  expect(!known || c.uses == m.uses, "uses are counted", id);
  m.was_idle = c.state == State::idle;
  m.was_kept = c.kept && c.state == State::idle;
}

// A timer that is missing would never be missed otherwise.
void Checks::deadline_of(const Connection& c, const Pool& pool) const {
  const pool::PoolPolicy& policy = pool.policy();
  const ConnectionModel& m = model_.connections.find(c.id)->second;
  TimePoint due = kNever;
  if (c.state == State::connecting) due = m.since + policy.dial_timeout;
  if (c.state == State::resetting) {
    const bool checks = m.stage == Stage::checking;
    due = m.since + (checks ? policy.check_timeout : policy.reset_timeout);
  }
  if (c.state == State::idle) {
    const bool stays = c.kept || policy.idle_timeout == 0s;
    due = std::min(c.expires_at, stays ? kNever : m.idle_since + policy.idle_timeout);
    due = std::min(due, c.check_at);
    const Duration learnt = model_.learnt(m);
    if (learnt != 0s) due = std::min(due, m.quiet_since + learnt);
    const Duration interval = policy.check.empty() ? 0s : policy.check_interval;
    expect(interval == 0s ? c.check_at == kNever
                          : c.check_at >= m.quiet_since + interval * 8 / 10 - 1us &&
                                c.check_at <= m.quiet_since + interval * 12 / 10 + 1us,
           "what is idle is checked every check_interval", c.id.value());
  }
  expect(c.deadline.when == due, "each state has its deadline", c.id.value());
  if (c.lease.valid()) lease_of(c, m);
}

void Checks::lease_of(const Connection& c, const ConnectionModel& m) const {
  const pool::PoolPolicy& policy = model_.pools[m.pool].policy;
  const pool::Lease* lease = depot_.lease(c.lease);
  expect(lease != nullptr && m.lease == c.lease, "a lease is its holder's", c.lease.value());
  const auto after = [&](Duration limit) { return limit == 0s ? kNever : m.leased_at + limit; };
  const TimePoint warning = m.warned ? kNever : after(policy.lease_warn);
  expect(lease->deadline.when == std::min(warning, after(policy.lease_timeout)),
         "a lease has its deadline", c.lease.value());
}

// Told as often as done; what is frequent is told only to those who listen.
void Checks::journal(const PoolModel& model, const Pool& pool) const {
  using enum pool::EventKind;
  const pool::Counters& counters = pool.counters();
  const auto index = static_cast<size_t>(&model - model_.pools.data());
  for (const pool::EventKind kind :
       {dial, dialed, dial_failed, grant, take_back, release, close, refuse, revoke}) {
    expect(counters.of(kind) == model.counted.of(kind), "the journal counts what is done", index);
  }
  expect(counters.closes == model.counted.closes, "closes are counted by reason", index);
  expect(counters.refusals == model.counted.refusals, "refusals are counted by code", index);
  for (size_t i = 0; i < pool::kEventKinds; ++i) {
    const auto kind = static_cast<pool::EventKind>(i);
    const bool frequent = kind == grant || kind == take_back || kind == release || kind == refuse;
    const bool told = model_.listening || !frequent;
    expect(model.told[i] == (told ? counters.events[i] : 0), "the journal tells what it counts",
           index);
  }
}

void Checks::queue(size_t index, const Pool& pool) const {
  size_t waiting = 0;
  size_t missing = 0;
  uint64_t last = 0;
  const pool::PoolPolicy& policy = model_.pools[index].policy;
  const Waiter* const batch = oldest_batch(pool);
  for (const Waiter& waiter : pool.waiters()) {
    const uint64_t id = waiter.ticket.request_id;
    const auto ask = model_.asks.find({waiter.ticket.session, id});
    expect(ask != model_.asks.end() && !ask->second.in_hand, "only the unanswered wait", id);
    expect(ask->second.pool == index && ask->second.owner == waiter.owner,
           "a request waits in the pool that was asked", id);
    expect(waiter.ticket.patient, "who has no time does not wait", id);
    expect(!ask->second.cancelled, "who withdraws does not wait", id);
    expect(ask->second.permitted, "who may not lease does not wait", id);
    expect(policy.max_connections == pool::kUnlimited ||
               waiter.count <= static_cast<uint32_t>(policy.max_connections),
           "nobody waits for what can never be had", id);
    expect(waiter.deadline.when == ask->second.until, "a waiter has his deadline", id);
    expect(waiter.ticket.arrival > last, "waiters stand by arrival", id);
    expect(waiter.missing() > 0, "who has all does not wait", id);
    expect(waiter.collected.empty() || &waiter == batch,
           "only the oldest batch accumulates connections", id);
    last = waiter.ticket.arrival;
    missing += waiter.missing();
    ++waiting;
  }
  expect(waiting == pool.waiting() && waiting == model_.pools[index].waiting,
         "each request is answered or waits", index);
  expect(missing == pool.missing(), "a pool counts what its waiters lack", index);
}

void Checks::users() const {
  std::map<uint32_t, pool::User> counted;
  for (const SessionModel& session : model_.sessions) {
    pool::User& user = counted[session.info.uid];
    const pool::Session& own = *depot_.session(session.id);
    ++user.sessions;
    user.leases += static_cast<uint32_t>(own.leases.size());
    user.waiters += static_cast<uint32_t>(own.waiters.size());
    for (const Waiter& waiter : own.waiters) user.wanted += waiter.count;
  }
  for (const auto& [uid, expected] : counted) {
    const pool::User* user = depot_.user(uid);
    expect(user != nullptr && user->sessions == expected.sessions &&
               user->leases == expected.leases && user->waiters == expected.waiters &&
               user->wanted == expected.wanted,
           "what a user has is counted", uid);
  }
}

void Checks::eviction_order(const Sum& sum) const {
  size_t in_order = 0;
  size_t evictable = 0;
  const Connection* last = nullptr;
  for (const Connection& c : depot_.shared().evictable.order()) {
    expect(c.at_rest() && !c.kept, "what is at rest and not kept may be evicted", c.id.value());
    expect(last == nullptr || last->idle_since <= c.idle_since, "eviction goes by age",
           c.id.value());
    last = &c;
    ++in_order;
    evictable += c.state == State::idle;
  }
  expect(evictable == depot_.shared().evictable.size(), "what is being checked is not evicted");
  expect(in_order == sum.at_rest - sum.kept, "all that is at rest and not kept may be evicted");
}

void Checks::budget(const Sum& sum) const {
  const pool::Shared& shared = depot_.shared();
  expect(sum.connections == model_.connections.size(), "no connection is forgotten");
  expect(shared.connections.size() == sum.connections, "no connection's record is left over");
  expect(shared.idle == sum.at_rest, "the depot counts connections at rest");
  expect(shared.closing == sum.closing, "the depot counts closing connections");
  if (model_.total_max_idle != pool::kUnlimited) {
    const auto most = static_cast<size_t>(std::max(0, model_.total_max_idle));
    const bool only_checked = depot_.shared().evictable.empty();
    expect(sum.at_rest <= std::max(most, sum.kept) || only_checked, "total_max_idle holds");
  }
  expect(shared.budget.used() == sum.connections + model_.others_fds,
         "the budget counts every descriptor", shared.budget.used());
  expect(shared.budget.used() <= shared.budget.limit(), "descriptors never exceed the budget");
  expect(shared.leases.size() == model_.leases.size() + model_.leases_in_hand,
         "a lease ends exactly when its holder loses it", shared.leases.size());
}

void Checks::limits(const PoolModel& model, const Pool& pool) const {
  const pool::PoolPolicy& policy = model.policy;
  if (policy.max_idle != pool::kUnlimited) {
    const auto most = static_cast<size_t>(std::max(0, policy.max_idle));
    expect(pool.count(State::idle) <= std::max(most, pool.kept()), "max_idle holds");
  }
  const size_t open = pool.total() - pool.count(State::closing);
  if (policy.max_connections != pool::kUnlimited &&
      open > static_cast<size_t>(policy.max_connections)) {  // a reload has lowered it
    expect(pool.count(State::idle) == 0 && pool.count(State::connecting) == 0,
           "only leases may exceed max_connections");
  }
  if (model.intake == pool::Intake::disabled) {
    expect(pool.waiting() == 0, "nobody waits for a disabled pool");
  }
  if (model_.stopping || model.removed) {
    expect(pool.count(State::idle) == 0 && pool.waiting() == 0,
           "what ends is empty but for leases");
  }
}

// --- who gets what ---

// But for a check or a reset that will do.
void Checks::nobody_waits_beside_his_own(const PoolModel&, const Pool& pool) const {
  if (pool.waiting() == 0) return;
  for (const Lack& lack : lacks(model_, pool)) {
    for (const Connection& c : pool.list(State::idle)) {
      const bool his = pool::IdleSet::may_have(lack.waiter->owner, c.owner, lack.earlier);
      const bool ready = !model_.needs_check(model_.connections.at(c.id));
      expect(!his || (lack.uncovered == 0 && !ready), "nobody waits beside what he may have",
             lack.waiter->ticket.request_id);
    }
  }
}

// Those who wait up to the oldest batch lack more than is being dialled: then there is a reason.
// After failures one dial at a time is enough.
void Checks::somebody_looks_for_capacity(const PoolModel& model, const Pool& pool) const {
  if (pool.waiting() == 0 || model.intake != pool::Intake::open) return;
  if (model.policy.lends_slots()) return slots_are_lent(model, pool);
  size_t lacking = 0;
  size_t before_batch = 0;
  for (const Lack& lack : lacks(model_, pool)) {
    lacking += lack.uncovered;
    if (lack.waiter->count > 1) break;
    before_batch += lack.uncovered;
  }
  const size_t dials = pool.count(State::connecting);
  if (lacking <= dials || (dials > 0 && model.failing())) return;
  lacking -= dials;
  before_batch -= std::min(before_batch, dials);
  if (model.failing()) {
    lacking = 1;
    before_batch = std::min<size_t>(before_batch, 1);
  }
  const int most = model.policy.max_connections;
  if (most != pool::kUnlimited && pool.total() >= static_cast<size_t>(most)) {
    place_under_max(model, pool, lacking, before_batch);
  } else {
    expect(pool.wants_slot(), "a waiter who may dial dials or wants a slot");
  }
}

void Checks::slots_are_lent(const PoolModel& model, const Pool& pool) const {
  const int most = model.policy.max_connections;
  const size_t wanted = pool.waiters().front()->count;
  if (most != pool::kUnlimited && pool.total() + wanted > static_cast<size_t>(most)) return;
  expect(pool.wants_slot(), "who waits for slots has one, or waits for the budget");
}

void Checks::place_under_max(const PoolModel&, const Pool& pool, size_t lacking,
                             size_t lacking_before_batch) const {
  const size_t closing = pool.count(State::closing);
  expect(lacking <= closing || pool.count(State::idle) == 0,
         "an idle connection of others makes place under max_connections");
  const Waiter* const batch = oldest_batch(pool);
  expect(lacking_before_batch <= closing || batch == nullptr || batch->collected.empty(),
         "a later batch makes place under max_connections");
}

// Across pools: slots go by arrival, and something is on its way to whoever lacks one.
void Checks::slots() const {
  const pool::Shared& shared = depot_.shared();
  if (shared.slots.empty()) return;
  expect(shared.budget.free() < shared.slots.front_need(), "nobody lacks a slot while one is free");
  expect(shared.slots.needed() <= shared.closing + shared.budget.free() || shared.evictable.empty(),
         "an idle connection makes place in the budget");
  if (shared.closing > 0) return;
  for (const PoolModel& model : model_.pools) {
    if (model.gone) continue;
    for (const Waiter& waiter : depot_.pool(model.id).waiters()) {
      expect(waiter.collected.empty() || waiter.ticket.arrival <= shared.slots.front_arrival(),
             "a later batch makes place in the budget", waiter.ticket.request_id);
    }
  }
}

size_t Checks::spare_dials(const Model& model, const Pool& pool) {
  size_t lacking = 0;
  for (const Lack& lack : lacks(model, pool)) lacking += lack.uncovered;
  const size_t dials = pool.count(State::connecting);
  if (pool.intake() != pool::Intake::open) return dials;
  return dials - std::min(dials, lacking);
}

void Checks::min_idle_refilled(const PoolModel& model, const Pool& pool) const {
  const pool::Shared& shared = depot_.shared();
  const auto most = static_cast<size_t>(model.policy.max_connections);
  if (model_.stopping || model.removed || model.failing() || !shared.slots.empty()) return;
  if (model.intake == pool::Intake::disabled) return;
  if (shared.budget.free() == 0 || (most != 0 && pool.total() >= most)) return;
  const auto at_once = static_cast<size_t>(model.policy.dial_concurrency);
  if (pool.count(State::connecting) >= at_once) return;
  expect(pool.kept() + spare_dials(model_, pool) >= static_cast<size_t>(model.policy.min_idle),
         "min_idle is refilled while a slot is free");
}

// A server that failed is tried again for min_idle once the longest backoff is over; from its
// first success on, min_idle_refilled() holds.
void Checks::min_idle_tried(const PoolModel& model, const Pool& pool) const {
  const pool::Shared& shared = depot_.shared();
  const auto most = static_cast<size_t>(model.policy.max_connections);
  if (!model.failing() || model_.stopping || model.removed) return;
  if (model.intake == pool::Intake::disabled || !shared.slots.empty()) return;
  if (shared.budget.free() == 0 || (most != 0 && pool.total() >= most)) return;
  expect(pool.count(State::connecting) > 0 ||
             pool.kept() >= static_cast<size_t>(model.policy.min_idle),
         "min_idle is tried again after the backoff");
}

// --- after some time ---

void Checks::after_advance() const {
  expect(depot_.next_deadline() > model_.now, "nothing due is left over");
  for (const auto& [id, m] : model_.connections) {
    if (m.stage == Stage::leased) lease_limits(m);
    if (m.stage != Stage::open || !m.was_idle) continue;
    const pool::PoolPolicy& policy = model_.pools[m.pool].policy;
    expect(
        m.was_kept || policy.idle_timeout == 0s || model_.now < m.idle_since + policy.idle_timeout,
        "nothing outlives idle_timeout", id.value());
    expect(m.lifetime == 0s || model_.now < m.up_at + m.lifetime,
           "nothing idle outlives max_lifetime", id.value());
    expect(m.warm_age == 0s || model_.now < m.up_at + m.warm_age,
           "nothing idle outlives max_warm_age", id.value());
    const Duration learnt = model_.learnt(m);
    expect(learnt == 0s || model_.now < m.quiet_since + learnt,
           "nothing idle outlives what the server was learnt to allow", id.value());
  }
  for (const PoolModel& model : model_.pools) {
    if (model.gone || (model.failing() && model_.now < model.surely_ready_at())) continue;
    somebody_looks_for_capacity(model, depot_.pool(model.id));
    min_idle_tried(model, depot_.pool(model.id));
  }
  for (const auto& [key, ask] : model_.asks) {
    expect(ask.in_hand || model_.now < ask.until, "nobody waits beyond his deadline",
           ask.key.request);
  }
}

void Checks::lease_limits(const ConnectionModel& m) const {
  const pool::PoolPolicy& policy = model_.pools[m.pool].policy;
  expect(policy.lease_timeout == 0s || model_.now < m.leased_at + policy.lease_timeout,
         "no lease outlives lease_timeout", m.lease.value());
  expect(policy.lease_warn == 0s || m.warned || model_.now < m.leased_at + policy.lease_warn,
         "a lease held too long is warned of", m.lease.value());
}

void Checks::after_quiet() const {
  for (const auto& [key, ask] : model_.asks) {
    expect(false, "nobody waits for ever when capacity can be had", ask.key.request);
  }
  for (size_t i = 0; i < model_.pools.size(); ++i) {
    const PoolModel& model = model_.pools[i];
    if (model.gone) continue;
    expect(!model.removed, "a removed pool goes once its leases are back", i);
    const Pool& pool = depot_.pool(model.id);
    const auto most = static_cast<size_t>(model.policy.max_connections);
    if (depot_.budget().free() == 0 || (most != 0 && pool.total() >= most)) continue;
    if (pool.count(State::connecting) >= static_cast<size_t>(model.policy.dial_concurrency))
      continue;
    expect(pool.kept() + spare_dials(model_, pool) >= static_cast<size_t>(model.policy.min_idle),
           "min_idle is restored", i);
    if (model.policy.balance == pool::Balance::failover) returned_to_first(model, pool);
  }
}

// A slot was free to try it. What a reload or a late dial left elsewhere may grow old there.
void Checks::returned_to_first(const PoolModel& model, const Pool& pool) const {
  size_t connected = 0;
  size_t first = 0;
  for (const auto& [id, c] : model_.connections) {
    if (model_.pools[c.pool].id != model.id || c.stage == Stage::closing) continue;
    ++connected;
    first += pool.endpoints()[c.endpoint].rank == 0u;
  }
  expect(connected == 0 || first > 0, "failover returns to the first", pool.id().value());
}

void Checks::after_drain() const {
  for (const auto& [id, m] : model_.connections) {
    expect(m.stage == Stage::closing, "a shutdown ends all that is left", id.value());
  }
}

void Checks::after_shutdown() const {
  expect(depot_.drained(), "after a shutdown nothing is left");
  expect(model_.connections.empty() && model_.leases.empty() && model_.asks.empty(),
         "after a shutdown nothing is left");
  expect(depot_.budget().used() == model_.others_fds, "after a shutdown every slot is given back");
}

}  // namespace berth::sim
