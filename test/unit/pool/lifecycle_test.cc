// Connections from dial to close: idle order, limits, ages, renew, sessions, shutdown (rules 1, 4
// to 7, 13 to 15, 19).
#include "unit/pool/pool_fixture.h"

namespace berth::pool {
namespace {

class Lifecycle : public PoolTest {
 protected:
  // `count` idle connections of this session, the first one the longest idle.
  std::vector<ConnectionId> idle_ones(SessionId session, PoolId pool, int count) {
    std::vector<Granted> held;
    std::vector<ConnectionId> ids;
    for (int i = 0; i < count; ++i) held.push_back(take(session, pool));
    for (const Granted& granted : held) {
      release(session, granted.lease);
      ids.push_back(granted.connection);
      pass(1ms);
    }
    return ids;
  }
};

TEST_F(Lifecycle, LifoGrantsTheOneThatCameBackLast) {
  const PoolId pool = add(policy());
  const SessionId alice = session();
  const std::vector<ConnectionId> ids = idle_ones(alice, pool, 3);
  EXPECT_EQ(take(alice, pool).connection, ids.back());
}

TEST_F(Lifecycle, FifoGrantsTheOneIdleLongest) {
  PoolPolicy p = policy();
  p.idle_order = IdleOrder::fifo;
  const PoolId pool = add(p);
  const SessionId alice = session();
  const std::vector<ConnectionId> ids = idle_ones(alice, pool, 3);
  EXPECT_EQ(take(alice, pool).connection, ids.front());
}

TEST_F(Lifecycle, ShareUserGrantsToTheSameUserByWhicheverSocketForAllHeComes) {
  const PoolId pool = add(policy());
  const ConnectionId idle = leave_idle(session(kAlice, 1), pool);
  EXPECT_NE(take(session(kBob, 1), pool).connection, idle);
  EXPECT_EQ(take(session(kAlice, 2), pool).connection, idle);
}

TEST_F(Lifecycle, ShareSocketGrantsToAnyUserOfTheSameSocket) {
  PoolPolicy p = policy();
  p.share = Share::socket;
  const PoolId pool = add(p);
  const ConnectionId idle = leave_idle(session(kAlice, 1), pool);
  EXPECT_NE(take(session(kAlice, 2), pool).connection, idle);
  EXPECT_EQ(take(session(kBob, 1), pool).connection, idle);
}

TEST_F(Lifecycle, AGrantSaysWhetherTheConnectionIsFreshOrAnotherSessions) {
  const PoolId pool = add(policy());
  const SessionId one = session();
  const Granted first = take(one, pool);
  EXPECT_TRUE(first.fresh);
  EXPECT_FALSE(first.new_session);
  release(one, first.lease);
  const Granted again = take(one, pool);
  EXPECT_FALSE(again.fresh);
  EXPECT_FALSE(again.new_session);
  release(one, again.lease);
  EXPECT_TRUE(take(session(), pool).new_session);
}

TEST_F(Lifecycle, AConnectionWithUnsentBytesGoesIdleOnceTheyHaveLeft) {
  const PoolId pool = add(policy());
  const SessionId alice = session();
  const Granted held = take(alice, pool);
  release(alice, held.lease, Condition::unsent);
  EXPECT_EQ(state(held.connection), State::resetting);
  depot->inspected(now, held.connection, true, actions);
  EXPECT_EQ(state(held.connection), State::idle);
}

TEST_F(Lifecycle, ADirtyConnectionIsClosedAndSoIsOneThatCannotBeJudgedInTime) {
  const PoolId pool = add(policy());
  const SessionId alice = session();
  const Granted dirty = take(alice, pool);
  release(alice, dirty.lease, Condition::dirty);
  EXPECT_TRUE(closed(dirty.connection, CloseReason::dirty));
  const Granted unsent = take(alice, pool);
  release(alice, unsent.lease, Condition::unsent);
  pass(999ms);
  EXPECT_EQ(state(unsent.connection), State::resetting);
  pass(1ms);
  EXPECT_TRUE(closed(unsent.connection, CloseReason::dirty));
}

TEST_F(Lifecycle, DiscardClosesWithoutAnInspection) {
  const PoolId pool = add(policy());
  const SessionId alice = session();
  const Granted held = take(alice, pool);
  release(alice, held.lease, Condition::discarded);
  EXPECT_TRUE(closed(held.connection, CloseReason::discarded));
}

// --- limits on what rests ---

TEST_F(Lifecycle, MaxIdleClosesTheOneIdleLongest) {
  PoolPolicy p = policy();
  p.max_idle = 2;
  const PoolId pool = add(p);
  const std::vector<ConnectionId> ids = idle_ones(session(), pool, 3);
  EXPECT_TRUE(closed(ids[0], CloseReason::overflow));
  EXPECT_EQ(count(pool, State::idle), 2u);
}

TEST_F(Lifecycle, MaxIdleNoneKeepsNothingButServesWhoWaits) {
  PoolPolicy p = policy();
  p.max_idle = kNone;
  p.max_connections = 1;
  const PoolId pool = add(p);
  const SessionId alice = session();
  const Granted held = take(alice, pool);
  const uint64_t next = ask(alice, pool);
  release(alice, held.lease);
  EXPECT_EQ(lease_of(next).connection, held.connection);
  release(alice, lease_of(next).lease);
  EXPECT_TRUE(closed(held.connection, CloseReason::overflow));
}

TEST_F(Lifecycle, TotalMaxIdleClosesTheLeastRecentlyReturnedOfAnyPool) {
  start({.fd_limit = 100, .total_max_idle = 2});
  const PoolId one = add(policy("one"));
  const PoolId two = add(policy("two"));
  const SessionId alice = session();
  const ConnectionId first = leave_idle(alice, one);
  pass(1s);
  leave_idle(alice, two);
  pass(1s);
  idle_ones(alice, two, 2);
  EXPECT_TRUE(closed(first, CloseReason::overflow));
  EXPECT_EQ(depot->shared().idle, 2u);
}

TEST_F(Lifecycle, TotalMaxIdleNoneKeepsOnlyMinIdle) {
  start({.fd_limit = 100, .total_max_idle = kNone});
  PoolPolicy p = policy();
  p.min_idle = 1;
  const PoolId pool = add(p);
  const SessionId alice = session();
  const ConnectionId held = leave_idle(alice, pool);
  EXPECT_TRUE(closed(held, CloseReason::overflow));
  EXPECT_EQ(count(pool, State::idle), 1u);
}

TEST_F(Lifecycle, IdleTimeoutCountsFromTheReturn) {
  PoolPolicy p = policy();
  p.idle_timeout = 10s;
  const PoolId pool = add(p);
  const SessionId alice = session();
  const Granted held = take(alice, pool);
  pass(1min);
  release(alice, held.lease);
  pass(10s - 1ms);
  EXPECT_EQ(state(held.connection), State::idle);
  pass(1ms);
  EXPECT_TRUE(closed(held.connection, CloseReason::idle));
}

TEST_F(Lifecycle, IdleTimeoutZeroIsNever) {
  PoolPolicy p = policy();
  p.idle_timeout = 0s;
  p.max_lifetime = 0s;
  const PoolId pool = add(p);
  leave_idle(session(), pool);
  EXPECT_EQ(depot->next_deadline(), kNever);
}

TEST_F(Lifecycle, TakingAConnectionTakesItsIdleTimeoutAway) {
  PoolPolicy p = policy();
  p.idle_timeout = 10s;
  const PoolId pool = add(p);
  const SessionId alice = session();
  leave_idle(alice, pool);
  pass(9s);
  const Granted held = take(alice, pool);
  pass(9s);
  EXPECT_EQ(state(held.connection), State::leased);
}

TEST_F(Lifecycle, MaxLifetimeEndsAnIdleOneWithinItsLastQuarter) {
  PoolPolicy p = policy();
  p.max_lifetime = 100s;
  p.idle_timeout = 0s;
  const PoolId pool = add(p);
  const SessionId alice = session();
  const std::vector<ConnectionId> ids = idle_ones(alice, pool, 8);
  pass(74s);
  EXPECT_EQ(count(pool, State::idle), 8u);
  pass(26s);
  EXPECT_EQ(count(pool, State::idle), 0u);
  for (const ConnectionId id : ids) EXPECT_TRUE(closed(id, CloseReason::age));
}

TEST_F(Lifecycle, ConnectionsDialledTogetherDoNotEndTogether) {
  PoolPolicy p = policy();
  p.max_lifetime = 100s;
  const PoolId pool = add(p);
  idle_ones(session(), pool, 8);
  pass(88s);
  EXPECT_GT(count(pool, State::idle), 0u);
  EXPECT_LT(count(pool, State::idle), 8u);
}

TEST_F(Lifecycle, MaxLifetimeNeverEndsALease) {
  PoolPolicy p = policy();
  p.max_lifetime = 10s;
  const PoolId pool = add(p);
  const SessionId alice = session();
  const Granted held = take(alice, pool);
  pass(1h);
  EXPECT_EQ(state(held.connection), State::leased);
  release(alice, held.lease);
  EXPECT_TRUE(closed(held.connection, CloseReason::age));
}

TEST_F(Lifecycle, WhatIsTooOldIsNotGrantedThoughTheTimerIsLate) {
  PoolPolicy p = policy();
  p.max_lifetime = 10s;
  const PoolId pool = add(p);
  const SessionId alice = session();
  const ConnectionId old = leave_idle(alice, pool);
  pass_unnoticed(11s);
  EXPECT_NE(take(alice, pool).connection, old);
  EXPECT_TRUE(closed(old, CloseReason::age));
}

TEST_F(Lifecycle, MaxUsesEndsItAtTheRelease) {
  PoolPolicy p = policy();
  p.max_uses = 2;
  const PoolId pool = add(p);
  const SessionId alice = session();
  const ConnectionId id = leave_idle(alice, pool);
  EXPECT_EQ(state(id), State::idle);
  EXPECT_EQ(leave_idle(alice, pool), id);
  EXPECT_TRUE(closed(id, CloseReason::uses));
}

// --- min_idle ---

TEST_F(Lifecycle, MinIdleIsReadyBeforeAnybodyAsksAndRefilledWhenOneIsTaken) {
  PoolPolicy p = policy();
  p.min_idle = 2;
  const PoolId pool = add(p);
  EXPECT_EQ(dialed.size(), 2u);
  take(session(), pool);
  EXPECT_EQ(count(pool, State::idle), 2u);
  EXPECT_EQ(dialed.size(), 3u);
}

TEST_F(Lifecycle, MinIdleDoesNotIdleOutButAges) {
  PoolPolicy p = policy();
  p.min_idle = 1;
  p.idle_timeout = 10s;
  p.max_lifetime = 100s;
  const PoolId pool = add(p);
  pass(70s);
  EXPECT_EQ(dialed.size(), 1u);
  pass(30s);
  EXPECT_TRUE(closed(dialed[0], CloseReason::age));
  EXPECT_EQ(count(pool, State::idle), 1u);
}

TEST_F(Lifecycle, MinIdleIsRefilledWithBackoffOneDialAtATime) {
  PoolPolicy p = policy();
  p.min_idle = 3;
  dials = Answer::no;
  const PoolId pool = add(p);
  const size_t at_first = dialed.size();
  EXPECT_LE(at_first, 3u);
  pass(79ms);
  EXPECT_EQ(dialed.size(), at_first);
  pass(60s);
  EXPECT_LT(dialed.size(), 25u);
  dials = Answer::yes;
  pass(12s);
  EXPECT_EQ(count(pool, State::idle), 3u);
}

TEST_F(Lifecycle, AnotherOneIsKeptWhenAKeptOneIsTaken) {
  PoolPolicy p = policy();
  p.min_idle = 1;
  p.idle_timeout = 10s;
  p.idle_order = IdleOrder::fifo;
  dials = Answer::never;
  const PoolId pool = add(p);
  const SessionId alice = session();
  const uint64_t impatient = ask(alice, pool, 1ms);
  const uint64_t other = ask(alice, pool, 1ms);
  pass(1ms);
  EXPECT_TRUE(refused(impatient) && refused(other));
  for (const ConnectionId id : std::vector(dialing)) dial_succeeds(id);
  ASSERT_GE(count(pool, State::idle), 2u);
  take(alice, pool);
  EXPECT_EQ(depot->pool(pool).kept(), 1u);
  const size_t so_far = dialed.size();
  pass(1min);
  EXPECT_EQ(count(pool, State::idle), 1u);
  EXPECT_EQ(dialed.size(), so_far) << "the kept one has stayed";
}

}  // namespace
}  // namespace berth::pool
