// What pools compete for: the fd budget (rules 8, F, 22).
#include "unit/pool/pool_fixture.h"

namespace berth::pool {
namespace {

class Slots : public PoolTest {};

TEST_F(Slots, GoByArrivalAcrossPools) {
  start({.fd_limit = 1, .total_max_idle = kUnlimited});
  const PoolId one = add(policy("one"));
  const PoolId two = add(policy("two"));
  const SessionId alice = session();
  const Granted held = take(alice, one);
  const uint64_t second = ask(alice, two);
  const uint64_t third = ask(alice, one);
  release(alice, held.lease, Condition::discarded);
  EXPECT_TRUE(granted(second));
  EXPECT_TRUE(waits(third));
}

TEST_F(Slots, APoolStandsWhereTheFirstOfItsWaitersStands) {
  start({.fd_limit = 1});
  const PoolId one = add(policy("one"));
  const PoolId two = add(policy("two"));
  const PoolId full = add(policy("full"));
  const SessionId alice = session();
  const Granted held = take(alice, full);
  const uint64_t first = ask(alice, one);
  ask(alice, two);
  ask(alice, one);
  release(alice, held.lease, Condition::discarded);
  EXPECT_TRUE(granted(first));
}

TEST_F(Slots, ALaterRequestDoesNotOvertakeEvenInThePoolThatFreesTheSlot) {
  start({.fd_limit = 2, .total_max_idle = kUnlimited});
  dials = Answer::never;
  PoolPolicy p = policy("failing");
  p.fail_fast = false;
  const PoolId failing = add(p);
  const PoolId other = add(policy("other"));
  const SessionId alice = session();
  ask(alice, failing, 30s);
  ask(alice, failing, 30s);
  const uint64_t elsewhere = ask(alice, other, 30s);
  ask(alice, failing, 30s);
  dial_fails(dialed[0]);
  ASSERT_EQ(dialed.size(), 3u);
  dial_succeeds(dialed[2]);
  EXPECT_TRUE(granted(elsewhere));
}

TEST_F(Slots, TwoBatchesThatHoldWhatTheOtherLacksDoNotWaitForEver) {
  start({.fd_limit = 4, .total_max_idle = kUnlimited});
  const PoolId one = add(policy("one"));
  const PoolId two = add(policy("two"));
  const SessionId alice = session();
  const Granted a = take(alice, one);
  const Granted b = take(alice, one);
  const Granted c = take(alice, two);
  const Granted d = take(alice, two);
  const uint64_t first = ask(alice, one, 60s, 3);
  const uint64_t second = ask(alice, two, 60s, 3);
  for (const Granted& granted : {c, d, a, b}) release(alice, granted.lease);
  ASSERT_TRUE(granted(first)) << "the later batch gives way";
  EXPECT_TRUE(waits(second));
  for (const Granted& granted :
       std::vector(grants[first].leases.begin(), grants[first].leases.end()))
    release(alice, granted.lease);
  EXPECT_TRUE(granted(second));
  EXPECT_LE(depot->budget().used(), 4u);
}

TEST_F(Slots, ABatchDoesNotGiveWayToALaterRequest) {
  start({.fd_limit = 2, .total_max_idle = kUnlimited});
  const PoolId one = add(policy("one"));
  const PoolId two = add(policy("two"));
  const SessionId alice = session();
  const Granted a = take(alice, one);
  const Granted b = take(alice, one);
  const uint64_t batch = ask(alice, one, 60s, 2);
  release(alice, a.lease);
  const uint64_t later = ask(alice, two, 60s);
  EXPECT_TRUE(closes.empty());
  release(alice, b.lease);
  EXPECT_TRUE(granted(batch));
  EXPECT_TRUE(waits(later));
}

TEST_F(Slots, OneThatIsBeingClosedIsWaitedForBeforeAnotherIsEvicted) {
  start({.fd_limit = 2, .total_max_idle = kUnlimited});
  closings = Answer::never;
  const PoolId one = add(policy("one"));
  const PoolId two = add(policy("two"));
  const SessionId alice = session();
  const Granted a = take(alice, one);
  leave_idle(alice, one);
  release(alice, a.lease);
  const uint64_t request = ask(alice, two);
  EXPECT_EQ(closes.size(), 1u);
  ask(alice, two, 0s);
  EXPECT_EQ(closes.size(), 1u);
  finish_closes();
  EXPECT_TRUE(granted(request));
}

TEST_F(Slots, MinIdleTakesOnlyWhatIsFreeAndIsFilledWhenItComesFree) {
  start({.fd_limit = 1, .total_max_idle = kUnlimited});
  const PoolId other = add(policy("other"));
  const SessionId alice = session();
  const ConnectionId idle = leave_idle(alice, other);
  PoolPolicy p = policy("ready");
  p.min_idle = 1;
  const PoolId ready = add(p);
  EXPECT_EQ(state(idle), State::idle) << "never at the cost of another pool";
  lose(idle);
  EXPECT_EQ(count(ready, State::idle), 1u);
}

TEST_F(Slots, OthersReserveWhatIsFreeButNotBeforeThoseWhoWait) {
  start({.fd_limit = 2, .total_max_idle = kUnlimited});
  const PoolId pool = add(policy());
  const SessionId alice = session();
  EXPECT_TRUE(depot->reserve_slots(1));
  EXPECT_FALSE(depot->reserve_slots(2));
  take(alice, pool);
  const uint64_t request = ask(alice, pool);
  EXPECT_TRUE(waits(request));
  EXPECT_FALSE(depot->reserve_slots(1));
  depot->release_slots(now, 1, actions);
  carry_out();
  EXPECT_TRUE(granted(request));
}

TEST_F(Slots, RoomIsMadeFromIdleConnectionsThatAreNotKept) {
  start({.fd_limit = 2, .total_max_idle = kUnlimited});
  PoolPolicy p = policy();
  p.min_idle = 1;
  const PoolId pool = add(p);
  const ConnectionId idle = leave_idle(session(), pool);
  EXPECT_FALSE(depot->make_room(now, 2, actions));
  carry_out();
  EXPECT_TRUE(closed(idle, CloseReason::evicted));
  EXPECT_EQ(depot->budget().free(), 1u);
  EXPECT_TRUE(depot->make_room(now, 1, actions));
  EXPECT_TRUE(depot->reserve_slots(1));
}

// A batch that yields may turn out to be late; what else it had collected makes room at once.
TEST_F(Slots, WhatALateBatchGivesBackMakesRoomForOthers) {
  start({.fd_limit = 4, .total_max_idle = kUnlimited});
  const PoolId pool = add(policy());
  const SessionId alice = session();
  const SessionId bob = session(kBob);
  std::vector<Granted> held;
  for (int i = 0; i < 3; ++i) held.push_back(take(alice, pool));
  const Granted other = take(bob, add(policy("other")));
  const uint64_t first = ask(bob, add(policy("first")), 1h);
  const uint64_t second = ask(bob, add(policy("second")), 1h);
  const uint64_t third = ask(bob, add(policy("third")), 1h);
  const uint64_t batch = ask(alice, pool, 1s, 4);
  closings = Answer::never;
  release(bob, other.lease, Condition::discarded);  // a slot that comes back soon: nobody yields
  for (const Granted& each : held) release(alice, each.lease);
  pass_unnoticed(2s);
  dials = Answer::never;
  finish_closes();
  EXPECT_EQ(code(batch), Code::kTimedOut);
  EXPECT_EQ(closing.size(), 2u) << "one yielded, one evicted";
  finish_closes();
  for (const ConnectionId id : std::exchange(dialing, {})) dial_succeeds(id);
  EXPECT_TRUE(granted(first) && granted(second) && granted(third));
}

TEST_F(Slots, AThousandWaitersAndTheirReleaseStayWithinTheBudget) {
  start({.fd_limit = 10, .total_max_idle = kUnlimited});
  PoolPolicy p = policy();
  p.max_connections = kUnlimited;
  p.max_waiters = 2000;
  const PoolId pool = add(p);
  std::vector<SessionId> sessions;
  for (int i = 0; i < 10; ++i) sessions.push_back(session());
  std::vector<std::pair<SessionId, uint64_t>> requests;
  for (int i = 0; i < 1000; ++i) {
    const SessionId by = sessions[static_cast<size_t>(i) % sessions.size()];
    requests.emplace_back(by, ask(by, pool, 60s));
  }
  for (const auto& [by, request] : requests) {
    ASSERT_TRUE(granted(request));
    release(by, lease_of(request).lease);
  }
  EXPECT_EQ(dialed.size(), 10u);
}

}  // namespace
}  // namespace berth::pool
