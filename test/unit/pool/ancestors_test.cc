// What the ancestors did and what went wrong with it (DESIGN section 12): each of their faults that
// concerns the policy must be impossible here.
#include <random>

#include "unit/pool/pool_fixture.h"

namespace berth::pool {
namespace {

class Ancestors : public PoolTest {};

// --- drpcpool ---

// Capacity 3, key capacity 2: put k1, j1, k2, k3 evicts k1; put j2 evicts j1.
TEST_F(Ancestors, KeyCapacityThenTotalCapacityEvictTheOldestPut) {
  start({.fd_limit = 100, .total_max_idle = 3});
  PoolPolicy k = policy("k");
  PoolPolicy j = policy("j");
  k.max_idle = j.max_idle = 2;
  const PoolId pool_k = add(k);
  const PoolId pool_j = add(j);
  const SessionId alice = session();
  const Granted k1 = take(alice, pool_k);
  const Granted k2 = take(alice, pool_k);
  const Granted k3 = take(alice, pool_k);
  const Granted j1 = take(alice, pool_j);
  const Granted j2 = take(alice, pool_j);
  for (const Granted& put : {k1, j1, k2, k3}) {
    release(alice, put.lease);
    pass(1ms);
  }
  EXPECT_EQ(closes.size(), 1u);
  EXPECT_TRUE(closed(k1.connection, CloseReason::overflow));
  release(alice, j2.lease);
  EXPECT_EQ(closes.size(), 2u);
  EXPECT_TRUE(closed(j1.connection, CloseReason::overflow));
}

// Capacity 1: put k,a; put k,b; take k must find b; put x,c must not crash.
TEST_F(Ancestors, EvictingAKeysOnlyEntryWhilePuttingThatKeyLeavesTheNewOneReachable) {
  start({.fd_limit = 100, .total_max_idle = 1});
  const PoolId k = add(policy("k"));
  const PoolId x = add(policy("x"));
  const SessionId alice = session();
  const Granted a = take(alice, k);
  const Granted b = take(alice, k);
  const Granted c = take(alice, x);
  release(alice, a.lease);
  pass(1ms);
  release(alice, b.lease);
  EXPECT_TRUE(closed(a.connection, CloseReason::overflow));
  const Granted again = take(alice, k);
  EXPECT_EQ(again.connection, b.connection);
  release(alice, again.lease);
  pass(1ms);
  release(alice, c.lease);
  EXPECT_TRUE(closed(b.connection, CloseReason::overflow));
  EXPECT_EQ(state(c.connection), State::idle);
}

TEST_F(Ancestors, UseIsNotLimitedByWhatMayRest) {
  PoolPolicy p = policy();
  p.max_connections = kUnlimited;
  p.max_idle = 1;
  const PoolId pool = add(p);
  const SessionId alice = session();
  for (int i = 0; i < 50; ++i) take(alice, pool);
  EXPECT_EQ(count(pool, State::leased), 50u);
}

TEST_F(Ancestors, AnExpiryThatRacesATakeRemovesOnce) {
  PoolPolicy p = policy();
  p.idle_timeout = 10s;
  const PoolId pool = add(p);
  const SessionId alice = session();
  const ConnectionId idle = leave_idle(alice, pool);
  pass_unnoticed(10s);  // due, but the request comes first
  const Granted held = take(alice, pool);
  advance();
  EXPECT_EQ(held.connection, idle);
  EXPECT_EQ(state(idle), State::leased);
  EXPECT_EQ(depot->shared().idle, 0u);
  release(alice, held.lease);
  EXPECT_EQ(depot->shared().idle, 1u);
}

TEST_F(Ancestors, AnIdleSetForgetsOwnersThatHaveNothingIdle) {
  EvictionOrder evictable;
  IdleSet idle(evictable);
  std::vector<std::unique_ptr<Connection>> connections;
  for (uint32_t uid = 0; uid < 1000; ++uid) {
    connections.push_back(std::make_unique<Connection>());
    connections.back()->owner = Owner(uid);
    idle.insert(*connections.back(), 0);
  }
  EXPECT_EQ(idle.owners(), 1000u);
  for (const auto& connection : connections) idle.remove(*connection);
  EXPECT_EQ(idle.owners(), 0u);
}

// --- connpool and resourcepool ---

TEST_F(Ancestors, OneResourceElevenCycles) {
  start({.fd_limit = 1, .total_max_idle = kUnlimited});
  const PoolId pool = add(policy());
  const SessionId alice = session();
  for (int i = 0; i < 11; ++i) leave_idle(alice, pool);
  EXPECT_EQ(dialed.size(), 1u);
}

// 9, 10, 11 and 113 resources against a limit of 10: a thousand and one cycles of random gets and
// puts.
TEST_F(Ancestors, ManyResourcesNeverExceedTheLimitAndEndWithNoneInUse) {
  for (const size_t resources : {9u, 10u, 11u, 113u}) {
    start({.fd_limit = 10, .total_max_idle = kUnlimited});
    std::vector<PoolId> pools;
    for (size_t i = 0; i < resources; ++i) pools.push_back(add(policy("r" + std::to_string(i))));
    const SessionId alice = session();
    std::minstd_rand random(static_cast<unsigned>(resources));
    std::vector<LeaseId> held;
    for (int cycle = 0; cycle < 1001; ++cycle) {
      if (held.size() == 10 || (!held.empty() && random() % 2 == 0)) {
        const size_t i = random() % held.size();
        std::swap(held[i], held.back());
        ASSERT_TRUE(release(alice, held.back(),
                            random() % 3 == 0 ? Condition::discarded : Condition::clean));
        held.pop_back();
      }
      held.push_back(take(alice, pools[random() % resources]).lease);
      ASSERT_LE(depot->budget().used(), 10u);
    }
    for (const LeaseId lease : held) release(alice, lease);
    EXPECT_EQ(depot->shared().leases.size(), 0u);
    EXPECT_LE(depot->shared().idle, 10u);
  }
}

TEST_F(Ancestors, ADoubleReleaseDoesNothing) {
  const PoolId pool = add(policy());
  const SessionId alice = session();
  const Granted held = take(alice, pool);
  EXPECT_TRUE(release(alice, held.lease));
  EXPECT_FALSE(release(alice, held.lease));
  EXPECT_FALSE(release(alice, held.lease, Condition::discarded));
  EXPECT_EQ(state(held.connection), State::idle);
  EXPECT_EQ(depot->shared().idle, 1u);
}

TEST_F(Ancestors, AStaleReleaseDoesNotTouchTheNewHolder) {
  const PoolId pool = add(policy());
  const SessionId first = session();
  const SessionId second = session();
  const Granted old = take(first, pool);
  release(first, old.lease);
  const Granted held = take(second, pool);
  ASSERT_EQ(held.connection, old.connection);
  EXPECT_NE(held.lease, old.lease);
  EXPECT_FALSE(release(first, old.lease));
  EXPECT_FALSE(release(first, held.lease)) << "another's";
  EXPECT_FALSE(release(second, LeaseId::from_value(12345))) << "unknown";
  EXPECT_FALSE(release(second, LeaseId()));
  EXPECT_EQ(state(held.connection), State::leased);
}

TEST_F(Ancestors, ARequestDuringAReleaseAtFullLoadWaitsForTheClose) {
  start({.fd_limit = 1, .total_max_idle = kUnlimited});
  closings = Answer::never;
  const PoolId pool = add(policy());
  const SessionId alice = session();
  const Granted held = take(alice, pool);
  release(alice, held.lease, Condition::discarded);
  const uint64_t request = ask(alice, pool);
  EXPECT_TRUE(waits(request));
  finish_closes();
  EXPECT_TRUE(granted(request));
}

TEST_F(Ancestors, AnFdLimitOfZeroGrantsNothingAndDoesNotWrapRound) {
  start({.fd_limit = 0, .total_max_idle = kUnlimited});
  const PoolId pool = add(policy());
  const uint64_t request = ask(session(), pool, 1s);
  pass(1s);
  EXPECT_EQ(code(request), Code::kTimedOut);
  EXPECT_EQ(refusals[request].why->cause, Cause::kNoSlots);
}

TEST_F(Ancestors, MaxConnectionsZeroIsUnlimited) {
  PoolPolicy p = policy();
  p.max_connections = kUnlimited;
  const PoolId pool = add(p);
  const SessionId alice = session();
  for (int i = 0; i < 100; ++i) take(alice, pool);
  EXPECT_TRUE(granted(ask(alice, pool, 1s, 64)));
}

// --- CachingConnector ---

TEST_F(Ancestors, TheFirstCallersCancelDoesNotFailThoseWhoFollow) {
  PoolPolicy p = policy();
  p.max_connections = 1;
  dials = Answer::never;
  const PoolId pool = add(p);
  const SessionId first = session();
  const SessionId second = session();
  const uint64_t asked = ask(first, pool);
  const uint64_t follows = ask(second, pool);
  ASSERT_EQ(dialed.size(), 1u);
  cancel(first, asked);
  dial_succeeds(dialed[0]);
  EXPECT_TRUE(granted(follows));
}

TEST_F(Ancestors, TheFirstCallersEndDoesNotEither) {
  dials = Answer::never;
  PoolPolicy p = policy();
  p.max_connections = 1;
  const PoolId pool = add(p);
  const SessionId first = session();
  ask(first, pool);
  const uint64_t follows = ask(session(), pool);
  end(first);
  dial_succeeds(dialed[0]);
  EXPECT_TRUE(granted(follows));
}

TEST_F(Ancestors, AFollowersOwnDeadlineHolds) {
  dials = Answer::never;
  PoolPolicy p = policy();
  p.max_connections = 1;
  const PoolId pool = add(p);
  ask(session(), pool, 4s);
  const uint64_t hasty = ask(session(), pool, 10ms);
  pass(10ms);
  EXPECT_EQ(code(hasty), Code::kTimedOut);
  EXPECT_EQ(refusals[hasty].waited, 10ms);
}

TEST_F(Ancestors, AFailedDialIsNotRememberedAsAConnection) {
  PoolPolicy p = policy();
  p.max_connections = 1;
  dials = Answer::no;
  const PoolId pool = add(p);
  ask(session(), pool);
  EXPECT_EQ(depot->pool(pool).total(), 0u);
  dials = Answer::yes;
  pass(1s);
  EXPECT_TRUE(granted(ask(session(), pool)));
}

TEST_F(Ancestors, CountsFallOnCloseToo) {
  const PoolId pool = add(policy());
  const SessionId alice = session();
  const ConnectionId idle = leave_idle(alice, pool);
  EXPECT_EQ(depot->pool(pool).total(), 1u);
  lose(idle);
  EXPECT_EQ(depot->pool(pool).total(), 0u);
  EXPECT_EQ(depot->budget().used(), 0u);
  EXPECT_EQ(depot->shared().idle, 0u);
}

// --- go-grpcpool, glink ---

TEST_F(Ancestors, ADialThatHangsStallsNobodyElse) {
  const PoolId slow = add(policy("slow"));
  const PoolId quick = add(policy("quick"));
  dials = Answer::never;
  ask(session(), slow, 60s);
  dials = Answer::yes;
  EXPECT_TRUE(granted(ask(session(), quick, 10ms)));
}

TEST_F(Ancestors, ShuttingDownTwiceOrAskingAfterwardsIsHarmless) {
  const PoolId pool = add(policy());
  for (int i = 0; i < 3; ++i) depot->shut_down(now, 1s, actions);
  carry_out();
  EXPECT_EQ(code(ask(session(), pool)), Code::kShuttingDown);
}

}  // namespace
}  // namespace berth::pool
