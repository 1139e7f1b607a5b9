// The driver's part that hands connections over, and judges who gets them.
#include <algorithm>
#include <utility>

#include "sim/driver.h"

namespace berth::sim {

using pool::Grant;
using pool::Granted;

void Driver::on(uint64_t decided, const Grant& grant) {
  model_.trace.add(model_.now, "  -> grant request %llu of %llu: %llu leases, the first %llu",
                   grant.ticket.request_id, grant.ticket.session.value(), grant.leases.size(),
                   grant.leases.empty() ? 0 : grant.leases[0].connection.value());
  if (grant.leases[0].slot) lend(decided, grant);
  const auto at = model_.asks.find({grant.ticket.session, grant.ticket.request_id});
  if (model_.session(grant.ticket.session) == nullptr) {
    for (const Granted& g : grant.leases) connection(g.connection).stage = Stage::returned;
    return;
  }
  expect(at != model_.asks.end() && !at->second.in_hand, "a request has one answer",
         grant.ticket.request_id);
  Ask& ask = at->second;
  const PoolModel& pool = model_.pools[ask.pool];
  expect(pool.intake == pool::Intake::open || decided < pool.intake_event,
         "nothing is granted from a pool that is paused or disabled", ask.pool);
  judge_grant(decided, grant, ask);
  InHand hand{grant, {}};
  for (const Granted& g : grant.leases) {
    ConnectionModel& c = connection(g.connection);
    hand.before.push_back(c);
    c.stage = Stage::leased;
    c.was_idle = c.was_kept = false;
    c.owner = ask.owner;
    c.last_holder = ask.key.session;
    c.lease = g.lease;
    c.leased_at = model_.now;
    c.warned = false;
    c.taken_back = false;
    ++c.uses;
  }
  ask.in_hand = true;
  model_.leases_in_hand += ask.count;
  --model_.pools[ask.pool].waiting;
  if (model_.chance(3)) {
    in_hand_.push_back(std::move(hand));
  } else {
    hand_over(hand);
  }
}

// Slots begin with their grant.
void Driver::lend(uint64_t decided, const Grant& grant) {
  const size_t index = model_.pool_index(grant.pool);
  PoolModel& pool = model_.pools[index];
  expect(pool.policy.lends_slots() || decided < pool.reload_event, "only a pool of slots lends any",
         index);
  for (const Granted& g : grant.leases) {
    ConnectionModel c;
    c.id = g.connection;
    c.pool = index;
    c.slot = true;
    c.stage = Stage::open;
    c.dialed_at = c.up_at = c.since = model_.now;
    c.epoch = pool.epoch;
    ++pool.connections;
    const bool added = model_.connections.emplace(c.id, c).second;
    expect(added, "a slot is lent once", c.id.value());
  }
  const pool::PoolPolicy& policy = pool.policy;
  expect(policy.max_connections == pool::kUnlimited || decided < pool.reload_event ||
             pool.connections <= static_cast<size_t>(policy.max_connections),
         "max_connections is never exceeded", index);
  expect(model_.connections.size() + model_.others_fds <= depot_.budget().limit(),
         "slots never exceed the budget", model_.connections.size());
  // Who has come to lack one in this very event may have come before.
  const pool::SlotQueue& slots = depot_.shared().slots;
  const bool known = !slots.empty() && slots.front_arrival() == model_.first_for_slot;
  expect(decided != model_.event || !known || slots.front_arrival() >= grant.ticket.arrival,
         "slots go by arrival", grant.ticket.arrival);
}

// Looks whether each is alive, as before every grant; all go over or none.
void Driver::hand_over(const InHand& hand) {
  if (!is_live(hand)) return take_back(hand, ConnectionId(), CloseReason::revoked);
  for (const Granted& g : hand.grant.leases) {
    if (g.slot || (!connection(g.connection).dead && !model_.chance(2))) continue;
    return take_back(hand, g.connection, CloseReason::dead);
  }
  const AskKey key{hand.grant.ticket.session, hand.grant.ticket.request_id};
  model_.leases_in_hand -= hand.grant.leases.size();
  if (hand.grant.ticket.detach) return detach(hand.grant);
  for (const Granted& g : hand.grant.leases) {
    model_.leases.push_back({g.lease, key.session, g.connection});
  }
  ++model_.grants;
  model_.asks.erase(key);
}

void Driver::detach(const Grant& grant) {
  for (const Granted& g : grant.leases) {
    ConnectionModel& c = connection(g.connection);
    c.stage = Stage::returned;
    c.detached = true;
    c.lease = {};
    note_over({g.lease, grant.ticket.session, g.connection});
  }
  ++model_.grants;
  model_.asks.erase({grant.ticket.session, grant.ticket.request_id});
  model_.trace.add(model_.now, "request %llu of %llu has what it got for good",
                   grant.ticket.request_id, grant.ticket.session.value());
  event([&](pool::Actions& actions) { depot_.detached(model_.now, grant, actions); });
}

// None of its leases was revoked meanwhile.
bool Driver::is_live(const InHand& hand) const {
  return std::all_of(hand.grant.leases.begin(), hand.grant.leases.end(),
                     [&](const Granted& g) { return depot_.lease(g.lease) != nullptr; });
}

void Driver::take_back(const InHand& hand, ConnectionId failed, CloseReason reason) {
  Ask& ask = model_.asks.find({hand.grant.ticket.session, hand.grant.ticket.request_id})->second;
  ask.in_hand = false;
  ask.entered = model_.event + 1;
  ++model_.pools[ask.pool].waiting;
  for (size_t i = 0; i < hand.before.size(); ++i) {
    if (depot_.lease(hand.grant.leases[i].lease) == nullptr) continue;  // revoked
    const ConnectionModel& before = hand.before[i];
    ConnectionModel& c = connection(before.id);
    --model_.leases_in_hand;
    ++model_.pools[c.pool].counted_of(pool::EventKind::take_back);
    c.stage = c.id == failed ? Stage::returned : Stage::open;
    c.owner = before.owner;
    c.last_holder = before.last_holder;
    c.uses = before.uses;
    c.taken_back = true;
    c.lease = {};
  }
  model_.trace.add(model_.now, "take back request %llu of %llu: %llu is dead (0: one was revoked)",
                   ask.key.request, ask.key.session.value(), failed.value());
  event([&](pool::Actions& actions) {
    depot_.take_back(model_.now, hand.grant, failed, reason, actions);
  });
}

void Driver::drop_hands(SessionId session) {
  for (const InHand& hand : in_hand_) {
    if (hand.grant.ticket.session != session) continue;
    for (const ConnectionModel& before : hand.before) {
      const auto at = model_.connections.find(before.id);
      if (at == model_.connections.end() || at->second.stage != Stage::leased) continue;
      at->second.stage = Stage::returned;
      at->second.lease = {};
      --model_.leases_in_hand;
    }
  }
  std::erase_if(in_hand_, [&](const InHand& hand) { return hand.grant.ticket.session == session; });
}

void Driver::hand_over_again() {
  for (const InHand& hand : std::exchange(in_hand_, {})) {
    hand_over(hand);
    carry_out();
  }
}

}  // namespace berth::sim
