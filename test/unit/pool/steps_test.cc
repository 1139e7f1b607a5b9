// Resets after leases, checks before them and now and then (rules 2 and 3).
#include "pool_fixture.h"

namespace berth::pool {
namespace {

class StepsTest : public PoolTest {
 protected:
  static PoolPolicy checked() {
    PoolPolicy checked = policy();
    checked.check = {{.text = "PING"}};
    checked.idle_timeout = 0s;
    checked.max_lifetime = 0s;
    checked.check_interval = 0s;
    return checked;
  }
  static PoolPolicy reset() {
    PoolPolicy reset = policy();
    reset.reset = {{.text = "RESET"}};
    return reset;
  }
  std::pair<ConnectionId, Task> check_of(ConnectionId id) const { return {id, Task::check}; }
};

// --- reset ---

TEST_F(StepsTest, WhatIsGivenBackIsResetBeforeItIsIdle) {
  const PoolId pool = add(reset());
  steps = Answer::never;
  const ConnectionId id = leave_idle(session(), pool);
  EXPECT_EQ(state(id), State::resetting);
  EXPECT_EQ(performing, (std::vector{std::pair(id, Task::reset)}));
  steps_succeed(id);
  EXPECT_EQ(state(id), State::idle);
}

TEST_F(StepsTest, WhatWasUnsentIsResetOnceItHasLeft) {
  const PoolId pool = add(reset());
  const SessionId alice = session();
  const Granted granted = take(alice, pool);
  release(alice, granted.lease, Condition::unsent);
  EXPECT_TRUE(performed.empty());
  depot->inspected(now, granted.connection, true, actions);
  carry_out();
  EXPECT_EQ(performed, (std::vector{std::pair(granted.connection, Task::reset)}));
  EXPECT_EQ(state(granted.connection), State::idle);
}

TEST_F(StepsTest, NothingIsResetThatIsClosedAnyway) {
  PoolPolicy once = reset();
  once.max_uses = 1;
  const PoolId pool = add(once);
  const SessionId alice = session();
  release(alice, take(alice, pool).lease);
  release(alice, take(alice, pool).lease, Condition::dirty);
  EXPECT_TRUE(performed.empty());
}

TEST_F(StepsTest, AFailedResetCloses) {
  const PoolId pool = add(reset());
  steps = Answer::never;
  const ConnectionId id = leave_idle(session(), pool);
  steps_fail(id, CloseReason::reset_failed);
  EXPECT_TRUE(closed(id, CloseReason::reset_failed));
}

TEST_F(StepsTest, AResetHasResetTimeout) {
  const PoolId pool = add(reset());
  steps = Answer::never;
  const ConnectionId id = leave_idle(session(), pool);
  pass(999ms);
  EXPECT_EQ(state(id), State::resetting);
  pass(1ms);
  EXPECT_TRUE(closed(id, CloseReason::reset_failed));
}

TEST_F(StepsTest, WhoMayHaveWhatIsBeingResetWaitsForItAndDialsNothing) {
  const PoolId pool = add(reset());
  steps = Answer::never;
  const SessionId alice = session();
  const ConnectionId id = leave_idle(alice, pool);
  const uint64_t hers = ask(alice, pool);
  EXPECT_TRUE(waits(hers));
  EXPECT_EQ(dialed.size(), 1u);
  steps_succeed(id);
  EXPECT_EQ(lease_of(hers).connection, id);
}

TEST_F(StepsTest, AnotherUserDoesNotWaitForAReset) {
  const PoolId pool = add(reset());
  steps = Answer::never;
  leave_idle(session(), pool);
  EXPECT_TRUE(granted(ask(session(kBob), pool)));
  EXPECT_EQ(dialed.size(), 2u);
}

TEST_F(StepsTest, ASecondWaiterDialsBesideAReset) {
  const PoolId pool = add(reset());
  const SessionId alice = session();
  steps = Answer::never;
  leave_idle(alice, pool);
  dials = Answer::never;
  ask(alice, pool);
  ask(alice, pool);
  EXPECT_EQ(dialing.size(), 1u);
}

TEST_F(StepsTest, AfterAFailedResetTheWaiterDials) {
  const PoolId pool = add(reset());
  const SessionId alice = session();
  steps = Answer::never;
  const ConnectionId id = leave_idle(alice, pool);
  const uint64_t hers = ask(alice, pool);
  steps_fail(id, CloseReason::login_failed);
  EXPECT_TRUE(granted(hers));
  EXPECT_EQ(dialed.size(), 2u);
}

TEST_F(StepsTest, RenewedWhileItIsResetItIsClosedAfterwards) {
  const PoolId pool = add(reset());
  steps = Answer::never;
  const ConnectionId id = leave_idle(session(), pool);
  depot->renew(now, pool, actions);
  carry_out();
  steps_succeed(id);
  EXPECT_TRUE(closed(id, CloseReason::renewed));
}

// --- checks before a grant ---

TEST_F(StepsTest, WhatWasUsedLatelyIsGrantedUnchecked) {
  const PoolId pool = add(checked());
  const SessionId alice = session();
  leave_idle(alice, pool);
  pass(29s);
  take(alice, pool);
  EXPECT_TRUE(performed.empty());
}

TEST_F(StepsTest, WhatWasUnusedForLongIsCheckedBeforeItIsGranted) {
  const PoolId pool = add(checked());
  const SessionId alice = session();
  const ConnectionId id = leave_idle(alice, pool);
  pass(30s);
  steps = Answer::never;
  const uint64_t hers = ask(alice, pool);
  EXPECT_TRUE(waits(hers));
  EXPECT_EQ(performing, (std::vector{check_of(id)}));
  EXPECT_EQ(dialed.size(), 1u);
  steps_succeed(id);
  EXPECT_EQ(lease_of(hers).connection, id);
}

TEST_F(StepsTest, ACheckOfZeroIsMadeBeforeEachGrant) {
  PoolPolicy always = checked();
  always.check_after = 0s;
  const PoolId pool = add(always);
  const SessionId alice = session();
  const ConnectionId id = leave_idle(alice, pool);
  EXPECT_TRUE(performed.empty());  // it had just been dialled
  for (int i = 0; i < 3; ++i) leave_idle(alice, pool);
  EXPECT_EQ(performed, (std::vector(3, check_of(id))));
}

TEST_F(StepsTest, AfterAFailedCheckTheNextIsTriedAndThenDialled) {
  const PoolId pool = add(checked());
  const SessionId alice = session();
  const uint64_t two = ask(alice, pool, 5s, 2);
  const ConnectionId older = lease_of(two, 0).connection;
  const ConnectionId newer = lease_of(two, 1).connection;
  release(alice, lease_of(two, 0).lease);
  pass(1s);
  release(alice, lease_of(two, 1).lease);
  pass(1min);
  steps = Answer::never;
  const uint64_t hers = ask(alice, pool);
  EXPECT_EQ(performing, (std::vector{check_of(newer)}));
  steps_fail(newer, CloseReason::check_failed);
  EXPECT_TRUE(closed(newer, CloseReason::check_failed));
  EXPECT_EQ(performing, (std::vector{check_of(older)}));
  steps_fail(older, CloseReason::check_failed);
  EXPECT_EQ(lease_of(hers).connection, dialed.back());
  EXPECT_EQ(dialed.size(), 3u);
}

TEST_F(StepsTest, AFailedCheckHasAllOthersChecked) {
  const PoolId pool = add(checked());
  const SessionId alice = session();
  const uint64_t three = ask(alice, pool, 5s, 3);
  for (size_t i = 0; i < 3; ++i) release(alice, lease_of(three, i).lease);
  pass(1min);
  steps = Answer::never;
  ask(alice, pool);
  ASSERT_EQ(performing.size(), 1u);
  steps_fail(performing[0].first, CloseReason::check_failed);
  EXPECT_EQ(performing.size(), 2u);
}

TEST_F(StepsTest, ACheckHasCheckTimeout) {
  const PoolId pool = add(checked());
  const SessionId alice = session();
  const ConnectionId id = leave_idle(alice, pool);
  pass(1min);
  steps = Answer::never;
  const uint64_t hers = ask(alice, pool);
  pass(1s);
  EXPECT_TRUE(closed(id, CloseReason::check_failed));
  EXPECT_TRUE(granted(hers));
}

TEST_F(StepsTest, WhoHasNoTimeIsRefusedButTheCheckIsMade) {
  const PoolId pool = add(checked());
  const SessionId alice = session();
  const ConnectionId id = leave_idle(alice, pool);
  pass(1min);
  steps = Answer::never;
  EXPECT_EQ(code(ask(alice, pool, 0s)), Code::kTimedOut);
  EXPECT_EQ(performing, (std::vector{check_of(id)}));
  steps_succeed(id);
  EXPECT_TRUE(granted(ask(alice, pool, 0s)));
}

TEST_F(StepsTest, WhatHasPassedGoesToHimWhoWaitsWhateverCameBackMeanwhile) {
  PoolPolicy always = checked();
  always.check_after = 0s;
  const PoolId pool = add(always);
  const SessionId alice = session();
  const uint64_t two = ask(alice, pool, 5s, 2);
  release(alice, lease_of(two, 0).lease);
  pass(1ms);
  steps = Answer::never;
  const uint64_t hers = ask(alice, pool);
  pass(1ms);
  release(alice, lease_of(two, 1).lease);
  pass(1ms);
  steps_succeed(lease_of(two, 0).connection);
  EXPECT_EQ(lease_of(hers).connection, lease_of(two, 0).connection);
}

TEST_F(StepsTest, WhoWaitsForHisOwnLeavesNobodysToOthers) {
  PoolPolicy p = checked();
  p.min_idle = 3;
  const PoolId pool = add(p);
  const SessionId alice = session();
  const SessionId bob = session(kBob);
  leave_idle(bob, pool);
  pass(1min);
  steps = Answer::never;
  for (const SessionId each : {alice, bob, alice}) ask(each, pool);
  EXPECT_EQ(performing.size(), 3u);
  for (const Intake intake : {Intake::paused, Intake::open}) {
    depot->set_intake(now, pool, intake, actions);
    carry_out();
  }
  EXPECT_EQ(performing.size(), 3u);
}

TEST_F(StepsTest, ABatchIsCheckedBeforeItIsGranted) {
  const PoolId pool = add(checked());
  const SessionId alice = session();
  const uint64_t two = ask(alice, pool, 5s, 2);
  for (size_t i = 0; i < 2; ++i) release(alice, lease_of(two, i).lease);
  pass(1min);
  steps = Answer::never;
  const uint64_t again = ask(alice, pool, 5s, 2);
  EXPECT_EQ(performing.size(), 2u);
  steps_succeed(performing.front().first);
  EXPECT_TRUE(waits(again));
  steps_succeed(performing.front().first);
  EXPECT_TRUE(granted(again));
  EXPECT_EQ(dialed.size(), 2u);
}

TEST_F(StepsTest, ACheckServesAnotherIfItsWaiterHasGone) {
  const PoolId pool = add(checked());
  const SessionId alice = session();
  const ConnectionId id = leave_idle(alice, pool);
  pass(1min);
  steps = Answer::never;
  cancel(alice, ask(alice, pool));
  EXPECT_EQ(state(id), State::resetting);
  const uint64_t next = ask(alice, pool);
  EXPECT_EQ(performing.size(), 1u);
  steps_succeed(id);
  EXPECT_EQ(lease_of(next).connection, id);
}

TEST_F(StepsTest, AForecastTellsOfChecksAndResets) {
  PoolPolicy both = checked();
  both.reset = {{.text = "RESET"}};
  const PoolId pool = add(both);
  const SessionId alice = session();
  const ConnectionId id = leave_idle(alice, pool);
  const auto forecast = [&] { return depot->forecast(now, {kAlice, 1, 0, false}, pool); };
  EXPECT_EQ(forecast().step, Step::grant);
  pass(1min);
  EXPECT_EQ(forecast().step, Step::check);
  EXPECT_EQ(forecast().connection, id);
  steps = Answer::never;
  const uint64_t hers = ask(alice, pool);
  EXPECT_EQ(forecast().step, Step::dial);  // the check is hers
  cancel(alice, hers);
  EXPECT_EQ(forecast().step, Step::join);
}

// --- checks of what is idle ---

TEST_F(StepsTest, WhatIsIdleIsCheckedNowAndThen) {
  PoolPolicy often = checked();
  often.check_interval = 10s;
  const PoolId pool = add(often);
  const ConnectionId id = leave_idle(session(), pool);
  pass(7999ms);
  EXPECT_TRUE(performed.empty());
  pass(4001ms);
  EXPECT_EQ(performed, (std::vector{check_of(id)}));
  pass(120s);
  EXPECT_GE(performed.size(), 10u);
  EXPECT_LE(performed.size(), 16u);
}

TEST_F(StepsTest, ConnectionsUsedTogetherAreNotCheckedTogether) {
  PoolPolicy often = checked();
  often.check_interval = 10s;
  const PoolId pool = add(often);
  const SessionId alice = session();
  const uint64_t batch = ask(alice, pool, 5s, 8);
  for (size_t i = 0; i < 8; ++i) release(alice, lease_of(batch, i).lease);
  pass(10s);
  EXPECT_GT(performed.size(), 0u);
  EXPECT_LT(performed.size(), 8u);
}

TEST_F(StepsTest, ACheckDoesNotMakeItYounger) {
  PoolPolicy often = checked();
  often.check_interval = 2s;
  often.idle_timeout = 10s;
  const PoolId pool = add(often);
  const ConnectionId id = leave_idle(session(), pool);
  pass(9999ms);
  EXPECT_EQ(state(id), State::idle);
  pass(1ms);
  EXPECT_TRUE(closed(id, CloseReason::idle));
}

TEST_F(StepsTest, WhatIdlesOutDuringItsCheckIsClosedAfterwards) {
  PoolPolicy often = checked();
  often.check_interval = 2s;
  often.idle_timeout = 2500ms;
  const PoolId pool = add(often);
  steps = Answer::never;
  const ConnectionId id = leave_idle(session(), pool);
  pass(2400ms);
  ASSERT_EQ(state(id), State::resetting);
  pass_unnoticed(200ms);
  steps_succeed(id);
  EXPECT_TRUE(closed(id, CloseReason::idle));
}

TEST_F(StepsTest, ACheckIsNoUse) {
  PoolPolicy often = checked();
  often.check_interval = 2s;
  const PoolId pool = add(often);
  const ConnectionId id = leave_idle(session(), pool);
  depot->expire(now, actions);
  pass(5s);
  EXPECT_FALSE(performed.empty());
  depot->expire(now, actions);
  carry_out();
  EXPECT_TRUE(closed(id, CloseReason::expired));
}

TEST_F(StepsTest, WhatIsBeingCheckedStillCountsForMinIdle) {
  PoolPolicy warm = checked();
  warm.min_idle = 2;
  warm.check_interval = 2s;
  add(warm);
  steps = Answer::never;
  pass(2500ms);
  EXPECT_EQ(performing.size(), 2u);
  EXPECT_EQ(dialed.size(), 2u);
  steps_succeed(performing.front().first);
  steps_fail(performing.front().first, CloseReason::check_failed);
  EXPECT_EQ(dialed.size(), 3u);
}

TEST_F(StepsTest, WhatIsBeingCheckedIsEvictedOnlyAfterwards) {
  start({.fd_limit = 1});
  PoolPolicy often = checked();
  often.check_interval = 2s;
  const PoolId pool = add(often);
  const PoolId other = add(policy("other"));
  const ConnectionId id = leave_idle(session(), pool);
  steps = Answer::never;
  pass(2500ms);
  ASSERT_EQ(state(id), State::resetting);
  const uint64_t hers = ask(session(), other);
  EXPECT_TRUE(waits(hers));
  steps_succeed(id);
  EXPECT_TRUE(closed(id, CloseReason::evicted));
  EXPECT_TRUE(granted(hers));
}

TEST_F(StepsTest, AStopEndsChecksAndResets) {
  PoolPolicy both = checked();
  both.reset = {{.text = "RESET"}};
  const PoolId pool = add(both);
  steps = Answer::never;
  const ConnectionId id = leave_idle(session(), pool);
  depot->shut_down(now, 30s, actions);
  carry_out();
  EXPECT_TRUE(closed(id, CloseReason::shutdown));
  EXPECT_TRUE(depot->drained());
}

// --- reload ---

TEST_F(StepsTest, AReloadThatLowersMinIdleDuringACheckLetsItGoAfterwards) {
  PoolPolicy warm = checked();
  warm.min_idle = 1;
  warm.check_interval = 2s;
  const PoolId pool = add(warm);
  steps = Answer::never;
  pass(2500ms);
  ASSERT_EQ(performing.size(), 1u);
  warm.min_idle = 0;
  depot->reconfigure_pool(now, pool, warm, actions);
  carry_out();
  steps_succeed(performing.front().first);
  EXPECT_EQ(depot->pool(pool).kept(), 0u);
  EXPECT_EQ(depot->shared().evictable.size(), 1u);
}

TEST_F(StepsTest, AnotherLoginRenews) {
  const PoolId pool = add(checked());
  const ConnectionId id = leave_idle(session(), pool);
  PoolPolicy other = checked();
  other.login = {{.text = "AUTH"}};
  EXPECT_TRUE(depot->reconfigure_pool(now, pool, other, actions));
  carry_out();
  EXPECT_TRUE(closed(id, CloseReason::renewed));
}

// The first counts on a check of nobody's; the batch on another. A check of one of the first's own,
// begun for a third, is the first's now, and what he had counted on the batch's: so a fourth is
// begun for the third.
TEST_F(StepsTest, ACheckThatAnEarlierOneClaimsIsMadeGood) {
  PoolPolicy p = checked();
  p.check_after = 0s;
  p.min_idle = 2;
  const PoolId pool = add(p);
  const SessionId alice = session();
  const Granted one = take(alice, pool);
  const Granted two = take(alice, pool);
  pass(1ms);
  performed.clear();
  steps = dials = Answer::never;
  ask(alice, pool, 60s);
  release(alice, one.lease);
  release(alice, two.lease);
  ask(session(kBob), pool, 60s, 2);
  EXPECT_EQ(performed.size(), 2u);
  ask(alice, pool, 60s);
  EXPECT_EQ(performed.size(), 4u);
}

}  // namespace
}  // namespace berth::pool
