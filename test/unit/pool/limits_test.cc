// Who may have how much, and what is warm: rules 5, 7 and 21, and `share`.
#include "pool/idle_age.h"
#include "pool_fixture.h"

namespace berth::pool {
namespace {

class LimitsTest : public PoolTest {
 protected:
  SessionId member(uint32_t uid, uint32_t gid) {
    return depot->open_session({uid, 1, 0, false, gid});
  }
};

// --- rule 21 ---

TEST_F(LimitsTest, OneUserHoldsSoManyLeasesInAllSessions) {
  start({.user_limits = {.leases = 3}});
  const PoolId pool = add(policy());
  const Granted first = take(session(), pool);
  const SessionId second = session();
  EXPECT_TRUE(granted(ask(second, pool, 5s, 2)));
  const uint64_t more = ask(session(), pool);
  EXPECT_EQ(code(more), Code::kQueueFull);
  EXPECT_NE(refusals.at(more).text.find("max_leases_per_user is 3"), std::string::npos);
  EXPECT_TRUE(granted(ask(session(kBob), pool)));
  end(second);
  EXPECT_TRUE(granted(ask(session(), pool)));
  EXPECT_NE(first.lease, LeaseId());
}

TEST_F(LimitsTest, WhatAUserWaitsForCountsAsHeld) {
  start({.user_limits = {.leases = 2}});
  PoolPolicy one = policy();
  one.max_connections = 1;
  const PoolId pool = add(one);
  const SessionId alice = session();
  const Granted held = take(alice, pool);
  const uint64_t waiting = ask(alice, pool);
  EXPECT_TRUE(waits(waiting));
  EXPECT_EQ(code(ask(alice, pool)), Code::kQueueFull);
  cancel(alice, waiting);
  EXPECT_TRUE(waits(ask(alice, pool)));
  release(alice, held.lease);
}

TEST_F(LimitsTest, SoManyRequestsOfOneUserMayWait) {
  start({.user_limits = {.waiters = 1}});
  PoolPolicy one = policy();
  one.max_connections = 1;
  const PoolId pool = add(one);
  take(session(), pool);
  EXPECT_TRUE(waits(ask(session(), pool)));
  EXPECT_EQ(code(ask(session(), pool)), Code::kQueueFull);
  EXPECT_TRUE(waits(ask(session(kBob), pool)));
}

TEST_F(LimitsTest, AUserIsForgottenWithTheLastSession) {
  const SessionId one = session();
  const SessionId two = session();
  end(one);
  EXPECT_NE(depot->user(kAlice), nullptr);
  end(two);
  EXPECT_EQ(depot->user(kAlice), nullptr);
}

// --- share ---

TEST_F(LimitsTest, SharedByGroupItGoesToWhoRunsWithThatGroup) {
  PoolPolicy shared = policy();
  shared.share = Share::group;
  shared.trust_holders = true;
  const PoolId pool = add(shared);
  const ConnectionId id = leave_idle(member(kAlice, 50), pool);
  EXPECT_NE(take(member(kBob, 51), pool).connection, id);
  EXPECT_EQ(take(member(kBob, 50), pool).connection, id);
}

TEST_F(LimitsTest, SharedByAnyItGoesToEverybody) {
  PoolPolicy shared = policy();
  shared.share = Share::any;
  shared.trust_holders = true;
  const PoolId pool = add(shared);
  const ConnectionId id = leave_idle(member(kAlice, 50), pool);
  EXPECT_EQ(take(member(kBob, 51), pool).connection, id);
}

// --- rule 7 ---

TEST_F(LimitsTest, OfASingleUsePoolNothingIsGrantedTwice) {
  PoolPolicy once = policy();
  once.warm = Warm::single_use;
  once.min_idle = 1;
  const PoolId pool = add(once);
  const SessionId alice = session();
  const ConnectionId first = leave_idle(alice, pool);
  EXPECT_TRUE(closed(first, CloseReason::uses));
  EXPECT_NE(take(alice, pool).connection, first);
}

TEST_F(LimitsTest, WhatIsWarmForTooLongIsDialledAnew) {
  PoolPolicy once = policy();
  once.warm = Warm::single_use;
  once.min_idle = 1;
  once.max_warm_age = 8s;
  const PoolId pool = add(once);
  ASSERT_EQ(dialed.size(), 1u);
  pass(7999ms);
  EXPECT_EQ(dialed.size(), 1u);
  pass(1ms);
  EXPECT_TRUE(closed(dialed[0], CloseReason::age));
  EXPECT_EQ(count(pool, State::idle), 1u);
}

TEST_F(LimitsTest, WhatIsLeasedMayBecomeOlderThanMaxWarmAge) {
  PoolPolicy once = policy();
  once.warm = Warm::single_use;
  once.max_warm_age = 8s;
  const PoolId pool = add(once);
  const Granted held = take(session(), pool);
  pass(1min);
  EXPECT_EQ(state(held.connection), State::leased);
}

TEST_F(LimitsTest, MinIdleIsDialledSoManyAtATime) {
  PoolPolicy warm = policy();
  warm.min_idle = 5;
  warm.dial_concurrency = 2;
  dials = Answer::never;
  const PoolId pool = add(warm);
  EXPECT_EQ(dialing.size(), 2u);
  dial_succeeds(std::exchange(dialing, {})[0]);
  EXPECT_EQ(dialing.size(), 1u);
  EXPECT_EQ(count(pool, State::connecting), 2u);
}

TEST_F(LimitsTest, ThoseWhoWaitDialAllAtOnce) {
  PoolPolicy warm = policy();
  warm.dial_concurrency = 1;
  dials = Answer::never;
  const PoolId pool = add(warm);
  ask(session(), pool, 5s, 4);
  EXPECT_EQ(dialing.size(), 4u);
}

// --- rule 5 ---

TEST_F(LimitsTest, AfterThreeClosesAtTheSameIdleAgeItIsClosedSooner) {
  const PoolId pool = add(policy());
  const SessionId alice = session();
  for (int i = 0; i < 3; ++i) {
    const ConnectionId id = leave_idle(alice, pool);
    pass(60s);
    ASSERT_EQ(state(id), State::idle);
    lose(id);
  }
  const ConnectionId id = leave_idle(alice, pool);
  pass(47'999ms);
  EXPECT_EQ(state(id), State::idle);
  pass(1ms);
  EXPECT_TRUE(closed(id, CloseReason::idle));
}

TEST_F(LimitsTest, WhatIsIdleWhenTheAgeIsLearntIsClosedSoonerToo) {
  const PoolId pool = add(policy());
  const SessionId alice = session();
  for (int i = 0; i < 3; ++i) {
    const ConnectionId id = leave_idle(alice, pool);
    pass(60s);
    const ConnectionId other = i == 2 ? leave_idle(session(kBob), pool) : ConnectionId();
    lose(id);
    if (i < 2) continue;
    pass(48s);
    EXPECT_TRUE(closed(other, CloseReason::idle));
  }
}

TEST_F(LimitsTest, MinIdleIsDialledAnewBeforeTheServerClosesIt) {
  PoolPolicy warm = policy();
  warm.min_idle = 1;
  add(warm);
  for (size_t i = 0; i < 3; ++i) {
    pass(60s);
    lose(dialed.back());
  }
  ASSERT_EQ(dialed.size(), 4u);
  pass(48s);
  EXPECT_TRUE(closed(dialed[3], CloseReason::idle));
  EXPECT_EQ(dialed.size(), 5u);
}

TEST_F(LimitsTest, ARenewForgetsWhatWasLearnt) {
  const PoolId pool = add(policy());
  const SessionId alice = session();
  for (int i = 0; i < 3; ++i) {
    const ConnectionId id = leave_idle(alice, pool);
    pass(60s);
    lose(id);
  }
  depot->renew(now, pool, actions);
  carry_out();
  const ConnectionId id = leave_idle(alice, pool);
  pass(60s);
  EXPECT_EQ(state(id), State::idle);
}

TEST(IdleAge, OfDifferentAgesNothingIsLearnt) {
  IdleAge age;
  const TimePoint start{};
  EXPECT_FALSE(age.closed(start + 100s, 60s));
  EXPECT_FALSE(age.closed(start + 200s, 90s));
  EXPECT_FALSE(age.closed(start + 300s, 60s));
  EXPECT_FALSE(age.closed(start + 400s, 30s));
  EXPECT_EQ(age.limit(), 0s);
}

TEST(IdleAge, AServerThatRestartsTeachesNothing) {
  IdleAge age;
  const TimePoint start{};
  for (int i = 0; i < 10; ++i) EXPECT_FALSE(age.closed(start + i * 10ms, 60s));
  EXPECT_EQ(age.limit(), 0s);
}

TEST(IdleAge, WhatDiesYoungTeachesNothing) {
  IdleAge age;
  const TimePoint start{};
  for (int i = 0; i < 10; ++i) EXPECT_FALSE(age.closed(start + i * 10s, 900ms));
}

TEST(IdleAge, AShorterLimitIsLearntAnew) {
  IdleAge age;
  TimePoint now{};
  for (int i = 0; i < 3; ++i) age.closed(now += 100s, 60s);
  EXPECT_EQ(age.limit(), 48s);
  for (int i = 0; i < 3; ++i) age.closed(now += 100s, 10s + i * 100ms);
  EXPECT_EQ(age.limit(), 8s);
}

}  // namespace
}  // namespace berth::pool
