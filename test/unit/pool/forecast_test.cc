// What a request would come to now is what it comes to.
#include "unit/pool/pool_fixture.h"

namespace berth::pool {
namespace {

class ForecastTest : public PoolTest {
 protected:
  Forecast forecast(PoolId pool, uint32_t uid = kAlice) const {
    return depot->forecast(now, {uid, 1, 0, false}, pool);
  }
  Step step(PoolId pool, uint32_t uid = kAlice) const { return forecast(pool, uid).step; }
  // Of one that may wait: what refuses it, or what it would wait for.
  Code refusal(PoolId pool, uint32_t uid = kAlice) const {
    const Forecast told = forecast(pool, uid);
    return told.refusal ? told.refusal->code : Code::kOk;
  }
  // The later one comes back.
  ConnectionId leave_two_idle(SessionId session, PoolId pool) {
    const Granted first = take(session, pool);
    const Granted second = take(session, pool);
    release(session, first.lease);
    release(session, second.lease);
    return second.connection;
  }
  Cause cause(PoolId pool) const {
    EXPECT_EQ(step(pool), Step::wait);
    return forecast(pool).cause;
  }
};

TEST_F(ForecastTest, WhoMayNotIsRefused) {
  const PoolId pool = add(policy());
  EXPECT_EQ(refusal(pool, kEve), Code::kNotPermitted);
  EXPECT_EQ(code(ask(session(kEve), pool)), Code::kNotPermitted);
  PoolPolicy direct = policy("direct");
  direct.handoff = Handoff::direct;
  const Forecast foreign = depot->forecast(now, {kAlice, 1, 0, true}, add(direct));
  EXPECT_EQ(foreign.refusal->code, Code::kNotPermitted);
}

TEST_F(ForecastTest, ADisabledPoolRefusesAndAPausedOneLetsWait) {
  const PoolId pool = add(policy());
  leave_idle(session(), pool);
  depot->set_intake(now, pool, Intake::disabled, actions);
  EXPECT_EQ(refusal(pool), Code::kDisabled);
  depot->set_intake(now, pool, Intake::paused, actions);
  EXPECT_EQ(cause(pool), Cause::kPaused);
}

TEST_F(ForecastTest, AStoppingDaemonRefuses) {
  const PoolId pool = add(policy());
  const Granted held = take(session(), pool);
  depot->shut_down(now, 1s, actions);
  EXPECT_EQ(refusal(pool), Code::kShuttingDown);
  EXPECT_TRUE(depot->lease(held.lease) != nullptr);
}

TEST_F(ForecastTest, AnIdleConnectionIsGrantedAndNamed) {
  const PoolId pool = add(policy());
  const SessionId alice = session();
  const ConnectionId idle = leave_idle(alice, pool);
  EXPECT_EQ(step(pool), Step::grant);
  EXPECT_EQ(forecast(pool).connection, idle);
  EXPECT_EQ(take(alice, pool).connection, idle);
}

TEST_F(ForecastTest, WhatAnotherUserHasHeldIsNotHisSoHeDials) {
  const PoolId pool = add(policy());
  leave_idle(session(), pool);
  EXPECT_EQ(step(pool, kBob), Step::dial);
  take(session(kBob), pool);
  EXPECT_EQ(dialed.size(), 2u);
}

TEST_F(ForecastTest, UnderMaxConnectionsWhatMayNotGoToHimIsReplaced) {
  PoolPolicy p = policy();
  p.max_connections = 1;
  const PoolId pool = add(p);
  const ConnectionId alices = leave_idle(session(), pool);
  EXPECT_EQ(step(pool, kBob), Step::replace);
  EXPECT_EQ(forecast(pool, kBob).connection, alices);
  take(session(kBob), pool);
  EXPECT_TRUE(closed(alices, CloseReason::evicted));
  EXPECT_EQ(cause(pool), Cause::kExhausted);
}

TEST_F(ForecastTest, WithoutASlotTheConnectionIdleLongestIsEvicted) {
  start({.fd_limit = 2});
  const PoolId other = add(policy("other"));
  const PoolId pool = add(policy());
  const SessionId alice = session();
  const ConnectionId oldest = leave_idle(alice, other);
  take(alice, pool);
  EXPECT_EQ(step(pool), Step::evict);
  EXPECT_EQ(forecast(pool).connection, oldest);
  take(alice, pool);
  EXPECT_TRUE(closed(oldest, CloseReason::evicted));
  EXPECT_EQ(cause(pool), Cause::kNoSlots);
}

TEST_F(ForecastTest, OneThatIsClosingMakesRoomSoNoneIsReplaced) {
  PoolPolicy p = policy();
  p.max_connections = 2;
  const PoolId pool = add(p);
  leave_two_idle(session(), pool);
  closings = Answer::never;
  const SessionId bob = session(kBob);
  cancel(bob, ask(bob, pool));
  EXPECT_EQ(step(pool, kBob), Step::wait);
  ask(bob, pool);
  EXPECT_EQ(closing.size(), 1u);
}

TEST_F(ForecastTest, ButEachThatLacksAPlaceReplacesOne) {
  PoolPolicy p = policy();
  p.max_connections = 2;
  const PoolId pool = add(p);
  const ConnectionId later = leave_two_idle(session(), pool);
  closings = Answer::never;
  const SessionId bob = session(kBob);
  ask(bob, pool);
  EXPECT_EQ(step(pool, kBob), Step::replace);
  EXPECT_EQ(forecast(pool, kBob).connection, later);
  ask(bob, pool);
  EXPECT_TRUE(closed(later, CloseReason::evicted));
}

TEST_F(ForecastTest, AfterAFailureOnePlaceIsEnough) {
  PoolPolicy p = policy();
  p.max_connections = 2;
  const PoolId pool = add(p);
  leave_idle(session(), pool);
  dials = closings = Answer::never;
  const SessionId bob = session(kBob);
  ask(bob, pool, 1min);
  pass(p.dial_timeout + 1s);
  EXPECT_EQ(closing, std::vector{dialed[1]});
  EXPECT_EQ(step(pool, kBob), Step::wait);
  ask(bob, pool);
  EXPECT_EQ(closing.size(), 1u);
}

TEST_F(ForecastTest, OneThatIsClosingLeavesASlotSoNoneIsEvicted) {
  start({.fd_limit = 2});
  const PoolId other = add(policy("other"));
  const PoolId pool = add(policy());
  const SessionId alice = session();
  leave_two_idle(alice, other);
  closings = Answer::never;
  cancel(alice, ask(alice, pool));
  EXPECT_EQ(cause(pool), Cause::kNoSlots);
  ask(alice, pool);
  EXPECT_EQ(closing.size(), 1u);
}

TEST_F(ForecastTest, ButForEachPoolThatLacksASlotOneIsEvicted) {
  start({.fd_limit = 2});
  const PoolId other = add(policy("other"));
  const PoolId earlier = add(policy("earlier"));
  const PoolId pool = add(policy());
  const SessionId alice = session();
  const ConnectionId later = leave_two_idle(alice, other);
  closings = Answer::never;
  ask(alice, earlier);
  EXPECT_EQ(step(pool), Step::evict);
  EXPECT_EQ(forecast(pool).connection, later);
  ask(alice, pool);
  EXPECT_TRUE(closed(later, CloseReason::evicted));
}

TEST_F(ForecastTest, BehindOneThatLacksASlotHeWaitsForSlotsToo) {
  start({.fd_limit = 1});
  const PoolId pool = add(policy());
  const SessionId alice = session();
  take(alice, pool);
  ask(alice, pool);
  EXPECT_EQ(cause(pool), Cause::kNoSlots);
}

TEST_F(ForecastTest, WhoComesAfterBatchesThatMayNotCollectDials) {
  dials = Answer::never;
  const PoolId pool = add(policy());
  const SessionId alice = session();
  ask(alice, pool, 5s, 2);
  ask(alice, pool, 5s, 2);
  EXPECT_EQ(dialed.size(), 2u);
  EXPECT_EQ(step(pool), Step::dial);
  ask(alice, pool);
  EXPECT_EQ(dialed.size(), 3u);
}

TEST_F(ForecastTest, ADialThatNobodyNeedsIsJoined) {
  dials = Answer::never;
  const PoolId pool = add(policy());
  const SessionId alice = session();
  const uint64_t first = ask(alice, pool);
  EXPECT_EQ(step(pool), Step::dial);
  cancel(alice, first);
  EXPECT_EQ(step(pool), Step::join);
  ask(alice, pool);
  EXPECT_EQ(dialed.size(), 1u);
}

TEST_F(ForecastTest, AServerThatIsDownRefusesOrIsWaitedFor) {
  dials = Answer::no;
  PoolPolicy p = policy();
  const PoolId quick = add(p);
  ask(session(), quick);
  EXPECT_EQ(refusal(quick), Code::kUpstreamDown);
  p.key = "patient";
  p.fail_fast = false;
  const PoolId patient = add(p);
  ask(session(), patient);
  EXPECT_EQ(cause(patient), Cause::kUpstreamDown);
}

TEST_F(ForecastTest, AFullQueueRefuses) {
  PoolPolicy p = policy();
  p.max_connections = 1;
  p.max_waiters = 1;
  const PoolId pool = add(p);
  const SessionId alice = session();
  take(alice, pool);
  EXPECT_EQ(cause(pool), Cause::kExhausted);
  ask(alice, pool);
  EXPECT_EQ(refusal(pool), Code::kQueueFull);
}

TEST_F(ForecastTest, ChangesNothing) {
  PoolPolicy p = policy();
  p.max_connections = 1;
  const PoolId pool = add(p);
  leave_idle(session(), pool);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(step(pool, kBob), Step::replace);
  EXPECT_EQ(count(pool, State::idle), 1u);
  EXPECT_TRUE(actions.empty());
}

}  // namespace
}  // namespace berth::pool
