// Rule 23: what a reload does to a pool that is in use.
#include "unit/pool/pool_fixture.h"

namespace berth::pool {
namespace {

class Reload : public PoolTest {
 protected:
  bool reload(PoolId pool, PoolPolicy p) {
    const bool renewed = depot->reconfigure_pool(now, pool, std::move(p), actions);
    carry_out();
    return renewed;
  }
  void remove(PoolId pool) {
    depot->remove_pool(now, pool, actions);
    carry_out();
  }
  // A grant whose program cannot take it yet.
  Grant grant_in_hand(SessionId session, PoolId pool, uint32_t count) {
    std::vector<LeaseId> held;
    for (uint32_t i = 0; i < count; ++i) held.push_back(take(session, pool).lease);
    for (const LeaseId lease : held) release(session, lease);
    depot->request(now, session, pool, {kInHand, count, 30s}, actions);
    return std::get<Grant>(actions.take());
  }
  void take_back(const Grant& grant) {
    depot->take_back(now, grant, grant.leases[0].connection, CloseReason::dead, actions);
    carry_out();
  }

  static constexpr uint64_t kInHand = 77;
};

TEST_F(Reload, OtherEndpointsRenewThePool) {
  const PoolId pool = add(policy());
  const SessionId alice = session();
  const Granted held = take(alice, pool);
  const ConnectionId idle = leave_idle(alice, pool);
  dials = Answer::never;
  const uint64_t waiting = ask(alice, pool, 30s, 2);
  const ConnectionId dialing_now = dialing.at(0);
  PoolPolicy p = policy();
  p.endpoints[0].port = 6380;
  EXPECT_TRUE(reload(pool, p));
  EXPECT_TRUE(closed(idle, CloseReason::renewed));
  EXPECT_TRUE(closed(dialing_now, CloseReason::renewed));
  EXPECT_EQ(state(held.connection), State::leased);
  release(alice, held.lease);
  EXPECT_TRUE(closed(held.connection, CloseReason::renewed));
  ASSERT_EQ(dialing.size(), 2u) << "those who wait are dialled for anew";
  for (const ConnectionId id : std::exchange(dialing, {})) dial_succeeds(id);
  EXPECT_TRUE(granted(waiting));
}

TEST_F(Reload, AnotherProgramThatDialsOrLogsInRenewsThePool) {
  PoolPolicy p = policy();
  const PoolId pool = add(p);
  const SessionId alice = session();
  for (Command PoolPolicy::*command : {&PoolPolicy::dial_command, &PoolPolicy::login_command}) {
    const ConnectionId idle = leave_idle(alice, pool);
    EXPECT_FALSE(reload(pool, p)) << "it is the same";
    p.*command = {"/bin/program"};
    EXPECT_TRUE(reload(pool, p));
    EXPECT_TRUE(closed(idle, CloseReason::renewed));
  }
}

TEST_F(Reload, AnotherShareRenewsThePoolAndItsWaiters) {
  PoolPolicy p = policy();
  p.max_connections = 1;
  const PoolId pool = add(p);
  const SessionId alice = session(kAlice, 7);
  const Granted held = take(alice, pool);
  const uint64_t waiting = ask(session(kBob, 7), pool);
  p.share = Share::socket;
  EXPECT_TRUE(reload(pool, p));
  release(alice, held.lease);
  EXPECT_NE(lease_of(waiting).connection, held.connection);
  release(alice, lease_of(waiting).lease);
  EXPECT_EQ(depot->connection(lease_of(waiting).connection)->owner, Owner(7, 0));
}

TEST_F(Reload, AnotherProxyOrPasswordForItRenewsThePool) {
  const PoolId pool = add(policy());
  const SessionId alice = session();
  PoolPolicy p = policy();
  const ConnectionId straight = leave_idle(alice, pool);
  p.via = std::get<Proxy>(parse_proxy("http://bob@proxy:3128"));
  EXPECT_TRUE(reload(pool, p));
  EXPECT_TRUE(closed(straight, CloseReason::renewed));
  const ConnectionId through = leave_idle(alice, pool);
  EXPECT_FALSE(reload(pool, p));
  p.via_password = {"/password", Secret::of("hunter2")};
  EXPECT_TRUE(reload(pool, p));
  EXPECT_TRUE(closed(through, CloseReason::renewed));
}

TEST_F(Reload, ALowerMaxConnectionsClosesIdleOnesNowAndLeasedOnesAtRelease) {
  const PoolId pool = add(policy());
  const SessionId alice = session();
  const Granted one = take(alice, pool);
  const Granted two = take(alice, pool);
  const ConnectionId idle = leave_idle(alice, pool);
  PoolPolicy p = policy();
  p.max_connections = 1;
  EXPECT_FALSE(reload(pool, p));
  EXPECT_TRUE(closed(idle, CloseReason::overflow));
  const uint64_t waiting = ask(alice, pool);
  release(alice, one.lease);
  EXPECT_TRUE(closed(one.connection, CloseReason::overflow));
  EXPECT_TRUE(waits(waiting));
  release(alice, two.lease);
  EXPECT_EQ(lease_of(waiting).connection, two.connection);
}

TEST_F(Reload, ALowerMaxUsesClosesWhatIsUsedUp) {
  const PoolId pool = add(policy());
  const SessionId alice = session();
  ConnectionId twice;
  for (int i = 0; i < 2; ++i) twice = leave_idle(alice, pool);
  PoolPolicy p = policy();
  p.max_uses = 3;
  reload(pool, p);
  EXPECT_EQ(state(twice), State::idle);
  p.max_uses = 2;
  reload(pool, p);
  EXPECT_TRUE(closed(twice, CloseReason::uses));
}

TEST_F(Reload, ABatchThatCanNeverBeHadAnyMoreIsRefused) {
  PoolPolicy p = policy();
  p.max_connections = 5;
  const PoolId pool = add(p);
  const SessionId alice = session();
  take(alice, pool);
  const uint64_t batch = ask(alice, pool, 30s, 5);
  p.max_connections = 4;
  reload(pool, p);
  EXPECT_EQ(code(batch), Code::kInvalid);
  EXPECT_EQ(count(pool, State::leased), 1u);
  EXPECT_LE(depot->pool(pool).total(), 4u);
}

TEST_F(Reload, WhoMayNotLeaseAnyMoreWaitsNoLonger) {
  PoolPolicy p = policy();
  p.max_connections = 1;
  const PoolId pool = add(p);
  const Granted held = take(session(), pool);
  const uint64_t bobs = ask(session(kBob), pool);
  p.allow_uids = {kAlice};
  reload(pool, p);
  EXPECT_EQ(code(bobs), Code::kNotPermitted);
  EXPECT_EQ(state(held.connection), State::leased);
}

TEST_F(Reload, ABatchTakenBackThatCanNeverBeHadAnyMoreIsRefused) {
  PoolPolicy p = policy();
  p.max_connections = 3;
  const PoolId pool = add(p);
  const Grant grant = grant_in_hand(session(), pool, 3);
  p.max_connections = 2;
  reload(pool, p);
  take_back(grant);
  EXPECT_EQ(code(kInHand), Code::kInvalid);
  EXPECT_EQ(count(pool, State::leased), 0u);
}

TEST_F(Reload, AGrantTakenBackFromWhoMayNotLeaseAnyMoreIsRefused) {
  PoolPolicy p = policy();
  const PoolId pool = add(p);
  const Grant grant = grant_in_hand(session(kBob), pool, 1);
  p.allow_uids = {kAlice};
  reload(pool, p);
  take_back(grant);
  EXPECT_EQ(code(kInHand), Code::kNotPermitted);
}

TEST_F(Reload, TimesAreCountedAnewForWhatIsThere) {
  PoolPolicy p = policy();
  const PoolId pool = add(p);
  const SessionId alice = session();
  const Granted held = take(alice, pool);
  const ConnectionId idle = leave_idle(alice, pool);
  p.idle_timeout = 2s;
  p.lease_timeout = 3s;
  reload(pool, p);
  pass(2s);
  EXPECT_TRUE(closed(idle, CloseReason::idle));
  pass(1s);
  EXPECT_EQ(revoked, std::vector{held.lease});
}

TEST_F(Reload, WhatIsIdleThroughAReloadExpires) {
  PoolPolicy p = policy();
  const PoolId pool = add(p);
  const ConnectionId idle = leave_idle(session(), pool);
  depot->expire(now, actions);
  p.idle_timeout = 1h;
  reload(pool, p);
  depot->expire(now, actions);
  carry_out();
  EXPECT_TRUE(closed(idle, CloseReason::expired));
}

TEST_F(Reload, TheReserveFollowsMinIdle) {
  PoolPolicy p = policy();
  p.min_idle = 3;
  const PoolId pool = add(p);
  p.min_idle = 1;
  reload(pool, p);
  EXPECT_EQ(depot->pool(pool).kept(), 1u);
  EXPECT_EQ(count(pool, State::idle), 3u) << "they are there, and idle out like others";
  pass(p.idle_timeout);
  EXPECT_EQ(count(pool, State::idle), 1u);
  p.min_idle = 2;
  reload(pool, p);
  EXPECT_EQ(depot->pool(pool).kept(), 2u);
}

// It would be woken for ever.
TEST_F(Reload, APoolWithoutAReserveDoesNotHungerForSlots) {
  start({.fd_limit = 1, .total_max_idle = kUnlimited});
  const SessionId alice = session();
  const Granted held = take(alice, add(policy("other")));
  PoolPolicy p = policy();
  p.min_idle = 1;
  const PoolId pool = add(p);
  p.min_idle = 0;
  reload(pool, p);
  release(alice, held.lease, Condition::discarded);
  EXPECT_EQ(depot->budget().free(), 1u);
}

TEST_F(Reload, ANewMaxLifetimeIsForNewConnections) {
  const PoolId pool = add(policy());
  const ConnectionId old = leave_idle(session(), pool);
  const TimePoint expires = depot->connection(old)->expires_at;
  PoolPolicy p = policy();
  p.max_lifetime = 1s;
  reload(pool, p);
  EXPECT_EQ(depot->connection(old)->expires_at, expires);
}

TEST_F(Reload, ARemovedPoolRefusesAndGoesWithItsLastLease) {
  const PoolId pool = add(policy());
  const SessionId alice = session();
  const Granted held = take(alice, pool);
  const ConnectionId idle = leave_idle(alice, pool);
  dials = Answer::never;
  const uint64_t waiting = ask(alice, pool, 30s, 2);
  remove(pool);
  EXPECT_EQ(code(waiting), Code::kNoSuchKey);
  EXPECT_TRUE(closed(idle, CloseReason::removed));
  EXPECT_FALSE(depot->find_pool("redis"));
  EXPECT_TRUE(depot->keys(alice).empty());
  EXPECT_EQ(state(held.connection), State::leased);
  dials = Answer::yes;
  const PoolId again = add(policy());
  EXPECT_TRUE(granted(ask(alice, again))) << "the key is free at once";
  release(alice, held.lease);
  EXPECT_TRUE(closed(held.connection, CloseReason::removed));
  size_t pools = 0;
  depot->for_each_pool([&](const Pool&) { ++pools; });
  EXPECT_EQ(pools, 1u);
  EXPECT_EQ(depot->budget().used(), 1u);
}

TEST_F(Reload, AGrantTakenBackFromAPoolThatHasGoneIsRefused) {
  const PoolId pool = add(policy());
  const SessionId alice = session();
  leave_idle(alice, pool);
  depot->request(now, alice, pool, {77, 1, 5s}, actions);
  const Grant grant = std::get<Grant>(actions.take());
  depot->remove_pool(now, pool, actions);
  depot->revoke(now, grant.leases[0].lease, actions);
  carry_out();
  depot->take_back(now, grant, ConnectionId(), CloseReason::revoked, actions);
  carry_out();
  EXPECT_EQ(code(77), Code::kRevoked);
}

TEST_F(Reload, ALowerTotalMaxIdleClosesTheLongestIdle) {
  const PoolId pool = add(policy());
  const SessionId alice = session();
  const Granted one = take(alice, pool);
  const Granted two = take(alice, pool);
  release(alice, one.lease);
  pass(1s);
  release(alice, two.lease);
  depot->set_total_max_idle(now, 1, actions);
  carry_out();
  EXPECT_TRUE(closed(one.connection, CloseReason::overflow));
  EXPECT_EQ(count(pool, State::idle), 1u);
}

}  // namespace
}  // namespace berth::pool
