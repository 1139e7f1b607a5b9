// What the ancestors did and what went wrong with it (DESIGN section 12): each of their behaviours
// that stream pools have, and each of their faults that stream pools could have, which must be
// impossible here. What concerns channels, TLS and gRPC stands with those.
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

TEST_F(Ancestors, ATakeEndsTheExpiryAndAPutBeginsItAnew) {
  PoolPolicy p = policy();
  p.idle_timeout = 10s;
  const PoolId pool = add(p);
  const SessionId alice = session();
  leave_idle(alice, pool);
  pass(9s);
  const Granted held = take(alice, pool);
  pass(9s);
  release(alice, held.lease);
  pass(9s);
  EXPECT_EQ(state(held.connection), State::idle);
  pass(1s);
  EXPECT_TRUE(closed(held.connection, CloseReason::idle));
}

TEST_F(Ancestors, WithoutAnExpiryNothingExpires) {
  PoolPolicy p = policy();
  p.idle_timeout = 0s;
  p.max_lifetime = 0s;
  const PoolId pool = add(p);
  const ConnectionId idle = leave_idle(session(), pool);
  pass(std::chrono::hours(24 * 365));
  EXPECT_EQ(state(idle), State::idle);
}

TEST_F(Ancestors, TheOldestPutIsTakenFirstIfThatIsTheOrderAndWhatIsDeadIsDropped) {
  PoolPolicy p = policy();
  p.idle_order = IdleOrder::fifo;
  const PoolId pool = add(p);
  const SessionId alice = session();
  std::vector<Granted> puts;
  for (int i = 0; i < 3; ++i) puts.push_back(take(alice, pool));
  for (const Granted& put : puts) {
    release(alice, put.lease);
    pass(1ms);
  }
  dead.insert(puts[0].connection);
  EXPECT_EQ(take(alice, pool).connection, puts[1].connection);
  EXPECT_TRUE(closed(puts[0].connection, CloseReason::dead));
  EXPECT_EQ(take(alice, pool).connection, puts[2].connection);
}

TEST_F(Ancestors, ANegativeCapacityKeepsNothing) {
  PoolPolicy p = policy();
  p.max_idle = kNone;
  const PoolId pool = add(p);
  const SessionId alice = session();
  EXPECT_TRUE(closed(leave_idle(alice, pool), CloseReason::overflow));
}

TEST_F(Ancestors, WhatIsNotCleanYetIsNotTakenUntilItIs) {
  PoolPolicy p = policy();
  p.max_connections = 1;
  const PoolId pool = add(p);
  const SessionId alice = session();
  const Granted held = take(alice, pool);
  release(alice, held.lease, Condition::unsent);
  const uint64_t next = ask(alice, pool);
  EXPECT_TRUE(waits(next));
  depot->inspected(now, held.connection, /*clean=*/true, actions);
  carry_out();
  EXPECT_EQ(lease_of(next).connection, held.connection);
}

// Their users ask how often a connection was there.
TEST_F(Ancestors, HitsAndDialsAreCounted) {
  const PoolId pool = add(policy());
  const SessionId alice = session();
  for (int i = 0; i < 9; ++i) leave_idle(alice, pool);
  EXPECT_EQ(depot->pool(pool).counters().of(EventKind::grant), 9u);
  EXPECT_EQ(depot->pool(pool).counters().of(EventKind::dial), 1u);
}

// The pool's end closes what rests, in the order of the puts; what is used goes on.
TEST_F(Ancestors, TheEndClosesTheOldestPutFirst) {
  const PoolId pool = add(policy());
  const SessionId alice = session();
  const Granted one = take(alice, pool);
  const Granted two = take(alice, pool);
  const Granted held = take(alice, pool);
  release(alice, two.lease);
  pass(1ms);
  release(alice, one.lease);
  depot->shut_down(now, 10s, actions);
  carry_out();
  ASSERT_EQ(closes.size(), 2u);
  EXPECT_EQ(closes[0].first, two.connection);
  EXPECT_EQ(closes[1].first, one.connection);
  EXPECT_EQ(state(held.connection), State::leased);
}

TEST_F(Ancestors, AnIdleSetForgetsOwnersThatHaveNothingIdle) {
  EvictionOrder evictable;
  IdleSet idle(evictable);
  std::vector<std::unique_ptr<Connection>> connections;
  for (uint32_t uid = 0; uid < 1000; ++uid) {
    connections.push_back(std::make_unique<Connection>());
    connections.back()->owner = Owner(0, uid);
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

TEST_F(Ancestors, AtFullLoadAnIdleOneGoesAndItIsTheOneIdleLongest) {
  start({.fd_limit = 2, .total_max_idle = kUnlimited});
  const PoolId one = add(policy("one"));
  const PoolId two = add(policy("two"));
  const PoolId three = add(policy("three"));
  const SessionId alice = session();
  const ConnectionId oldest = leave_idle(alice, two);
  pass(1ms);
  leave_idle(alice, one);
  take(alice, three);
  EXPECT_TRUE(closed(oldest, CloseReason::evicted));
  EXPECT_EQ(closes.size(), 1u);
}

// An already cancelled Get succeeds if there is something; so does one with a negative timeout.
TEST_F(Ancestors, WhoHasNoTimeStillGetsWhatIsThere) {
  const PoolId pool = add(policy());
  const SessionId alice = session();
  leave_idle(alice, pool);
  const uint64_t no_time = ask(alice, pool, 0s);
  ASSERT_TRUE(granted(no_time));
  release(alice, lease_of(no_time).lease);
  EXPECT_TRUE(granted(ask(alice, pool, -1s)));
  EXPECT_EQ(code(ask(alice, pool, -1s)), Code::kTimedOut) << "nothing more is there";
}

TEST_F(Ancestors, ADiscardedConnectionIsClosedNotOnlyForgotten) {
  const PoolId pool = add(policy());
  const SessionId alice = session();
  const Granted held = take(alice, pool);
  release(alice, held.lease, Condition::discarded);
  EXPECT_TRUE(closed(held.connection, CloseReason::discarded));
  EXPECT_EQ(depot->budget().used(), 0u);
}

// ScheduleClose: idle ones at once, one in use at its next put, and then never again.
TEST_F(Ancestors, AScheduledCloseIsDoneOnce) {
  const PoolId pool = add(policy());
  const SessionId alice = session();
  const Granted held = take(alice, pool);
  const ConnectionId idle = leave_idle(alice, pool);
  depot->renew(now, pool, actions);
  carry_out();
  EXPECT_TRUE(closed(idle, CloseReason::renewed));
  EXPECT_EQ(state(held.connection), State::leased);
  release(alice, held.lease);
  EXPECT_TRUE(closed(held.connection, CloseReason::renewed));
  const ConnectionId next = leave_idle(alice, pool);
  EXPECT_EQ(take(alice, pool).connection, next) << "the mark went with those it was for";
}

// One resource pool, shared with those who use descriptors for something else.
TEST_F(Ancestors, OtherUsersOfDescriptorsShareTheBound) {
  start({.fd_limit = 2});
  const PoolId pool = add(policy());
  PoolPolicy files = policy("files");
  files.endpoints = {{.kind = Endpoint::Kind::slot, .host = {}, .path = {}}};
  const PoolId slots = add(files);
  const SessionId alice = session();
  const ConnectionId idle = leave_idle(alice, pool);
  const Granted one = take(alice, slots);
  take(alice, slots);
  EXPECT_TRUE(closed(idle, CloseReason::evicted));
  const uint64_t connection = ask(alice, pool);
  EXPECT_TRUE(waits(connection));
  release(alice, one.lease);
  EXPECT_TRUE(granted(connection));
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

// Expire closes what is inactive through two ticks. Theirs also closed what was held across two.
TEST_F(Ancestors, ExpireSparesWhatWasHeldAcrossTicks) {
  const PoolId pool = add(policy());
  const SessionId alice = session();
  const Granted held = take(alice, pool);
  const auto tick = [&] {
    const std::vector<Depot::Expired> expired = depot->expire(now, actions);
    carry_out();
    return expired;
  };
  tick();
  tick();
  release(alice, held.lease);
  EXPECT_TRUE(tick().empty());
  ASSERT_EQ(tick().size(), 1u);
  EXPECT_TRUE(closed(held.connection, CloseReason::expired));
}

TEST_F(Ancestors, CloseOnReleaseIsTrueOnceAndThenFalse) {
  const PoolId pool = add(policy());
  const SessionId alice = session();
  const Granted held = take(alice, pool);
  EXPECT_EQ(depot->close_on_release(held.lease), true);
  EXPECT_EQ(depot->close_on_release(held.lease), false);
  EXPECT_EQ(depot->close_on_release(LeaseId::from_value(12345)), std::nullopt);
  EXPECT_EQ(state(held.connection), State::leased) << "not under its holder";
  release(alice, held.lease);
  EXPECT_TRUE(closed(held.connection, CloseReason::renewed)) << "theirs was never closed";
  const Granted next = take(alice, pool);
  EXPECT_NE(next.connection, held.connection);
  release(alice, next.lease);
  EXPECT_EQ(state(next.connection), State::idle) << "the mark was the connection's";
}

TEST_F(Ancestors, CloseOnReleaseDoesNotWaitForTheConnectionToBeClean) {
  PoolPolicy p = policy();
  p.reset = {{.text = "RESET"}};
  const PoolId pool = add(p);
  const SessionId alice = session();
  const Granted held = take(alice, pool);
  depot->close_on_release(held.lease);
  release(alice, held.lease, Condition::unsent);
  EXPECT_TRUE(closed(held.connection, CloseReason::renewed));
  EXPECT_TRUE(performed.empty());
}

// --- go-grpcpool, glink ---

// A check before use that fails closes the connection, dials anew, and closes nothing under others.
TEST_F(Ancestors, AFailedCheckDialsAnewAndSparesOtherHolders) {
  PoolPolicy p = policy();
  p.check = {{.text = "PING"}};
  p.check_after = 1s;
  const PoolId pool = add(p);
  const SessionId alice = session();
  const Granted other = take(alice, pool);
  const ConnectionId idle = leave_idle(alice, pool);
  pass(1s);
  steps = Answer::no;
  const Granted fresh = take(alice, pool);
  EXPECT_TRUE(closed(idle, CloseReason::check_failed));
  EXPECT_TRUE(fresh.fresh);
  EXPECT_EQ(state(other.connection), State::leased);
}

TEST_F(Ancestors, ACheckThatHangsStallsNobodyElse) {
  PoolPolicy p = policy();
  p.check = {{.text = "PING"}};
  p.check_after = 1s;
  const PoolId pool = add(p);
  const SessionId alice = session();
  leave_idle(alice, pool);
  const Granted held = take(alice, pool);
  release(alice, held.lease);
  pass(1s);
  steps = Answer::never;
  const uint64_t checked = ask(alice, pool, 60s);
  EXPECT_TRUE(waits(checked));
  EXPECT_TRUE(granted(ask(session(kBob), pool, 10ms))) << "has one dialled";
  pass(p.check_timeout);
  EXPECT_TRUE(granted(checked)) << "has another dialled";
}

// Theirs compared 30 s with 30 ns.
TEST_F(Ancestors, AnIdleTimeoutIsWhatItSays) {
  PoolPolicy p = policy();
  p.idle_timeout = 30s;
  const PoolId pool = add(p);
  const ConnectionId idle = leave_idle(session(), pool);
  pass(30s - 1ns);
  EXPECT_EQ(state(idle), State::idle);
  pass(1ns);
  EXPECT_TRUE(closed(idle, CloseReason::idle));
}

TEST_F(Ancestors, TheEndWaitsForHoldersButNotWithoutABound) {
  const PoolId pool = add(policy());
  const SessionId alice = session();
  const Granted held = take(alice, pool);
  depot->shut_down(now, 10s, actions);
  carry_out();
  pass(9s);
  EXPECT_EQ(state(held.connection), State::leased);
  pass(1s);
  EXPECT_EQ(revoked, std::vector{held.lease});
  EXPECT_TRUE(depot->drained());
}

// Theirs closed the old one ten seconds after its rotation, whatever ran on it.
TEST_F(Ancestors, AgeNeverClosesAConnectionUnderItsHolder) {
  PoolPolicy p = policy();
  p.max_lifetime = 15s;
  const PoolId pool = add(p);
  const SessionId alice = session();
  const Granted held = take(alice, pool);
  pass(1h);
  EXPECT_EQ(state(held.connection), State::leased);
  release(alice, held.lease);
  EXPECT_TRUE(closed(held.connection, CloseReason::age));
  EXPECT_TRUE(take(alice, pool).fresh);
}

// Theirs overflowed at the 37th failure, and retried other errors at once.
TEST_F(Ancestors, EveryFailedDialBacksOffWithACap) {
  PoolPolicy p = policy();
  p.min_idle = 1;
  dials = Answer::no;
  add(p);
  TimePoint last = now;
  for (int failure = 1; failure < 100; ++failure) {
    ASSERT_EQ(dialed.size(), static_cast<size_t>(failure));
    const Duration wait = depot->next_deadline() - last;
    ASSERT_GE(wait, 80ms);
    ASSERT_LE(wait, 10s);
    pass(wait);
    last = now;
  }
}

// Theirs retried on the connection that had failed.
TEST_F(Ancestors, WhatHasFailedIsNotGrantedAgain) {
  const PoolId pool = add(policy());
  const SessionId alice = session();
  const ConnectionId failed = leave_idle(alice, pool);
  dead.insert(failed);
  EXPECT_NE(take(alice, pool).connection, failed);
  EXPECT_TRUE(closed(failed, CloseReason::dead));
}

TEST_F(Ancestors, WhoWithdrawsIsAnsweredAtOnce) {
  dials = Answer::never;
  const PoolId pool = add(policy());
  const SessionId alice = session();
  const uint64_t request = ask(alice, pool, 60s);
  cancel(alice, request);
  EXPECT_EQ(code(request), Code::kCancelled);
}

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
