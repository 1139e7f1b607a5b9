// Several endpoints in a pool (rule 20): which is dialled, and what becomes of those that fail.
#include "unit/pool/pool_fixture.h"

namespace berth::pool {
namespace {

Endpoint endpoint(uint16_t port) {
  return {Endpoint::Kind::tcp, "192.0.2.1", port, ""};
}

// --- the choice ---

class EndpointsTest : public ::testing::Test {
 protected:
  EndpointsTest() { endpoints.configure({endpoint(1), endpoint(2), endpoint(3)}); }

  // Dials, with success.
  uint32_t dial(Balance balance) {
    const uint32_t index = *endpoints.next(now, balance);
    endpoints.chose(index);
    endpoints.entered(index, State::idle);
    return index;
  }
  void fail(uint32_t index) { endpoints[index].backoff.fail(now, now, random); }

  TimePoint now = TimePoint() + 1h;
  Random random{1};
  Endpoints endpoints;
};

TEST_F(EndpointsTest, GoRound) {
  std::vector<uint32_t> chosen;
  for (int i = 0; i < 6; ++i) chosen.push_back(dial(Balance::round_robin));
  EXPECT_EQ(chosen, (std::vector<uint32_t>{0, 1, 2, 0, 1, 2}));
}

TEST_F(EndpointsTest, TheOneWithTheFewestConnectionsComesFirst) {
  for (int i = 0; i < 6; ++i) dial(Balance::round_robin);
  endpoints.left(1, State::idle);
  EXPECT_EQ(dial(Balance::round_robin), 1u);
  EXPECT_EQ(dial(Balance::round_robin), 2u) << "after the last one chosen";
}

TEST_F(EndpointsTest, OrTheOneOfWhichTheFewestAreLeased) {
  for (int i = 0; i < 3; ++i) dial(Balance::least_leased);
  for (const uint32_t index : {0u, 2u}) {
    endpoints.left(index, State::idle);
    endpoints.entered(index, State::leased);
  }
  EXPECT_EQ(dial(Balance::least_leased), 1u);
  EXPECT_EQ(dial(Balance::least_leased), 1u) << "whatever else it has";
}

TEST_F(EndpointsTest, OrTheFirst) {
  for (int i = 0; i < 3; ++i) EXPECT_EQ(dial(Balance::failover), 0u);
  fail(0);
  EXPECT_EQ(dial(Balance::failover), 1u);
}

TEST_F(EndpointsTest, OneInBackoffIsSkippedAndThenTriedByOneDialAtATime) {
  fail(1);
  EXPECT_EQ(dial(Balance::round_robin), 0u);
  EXPECT_EQ(dial(Balance::round_robin), 2u);
  EXPECT_EQ(dial(Balance::round_robin), 0u);
  now += 1s;
  const uint32_t probed = *endpoints.next(now, Balance::round_robin);
  EXPECT_EQ(probed, 1u);
  endpoints.chose(probed);
  endpoints.entered(probed, State::connecting);
  EXPECT_NE(dial(Balance::round_robin), 1u) << "until it has an answer";
  endpoints[1].backoff.succeed();
  EXPECT_EQ(dial(Balance::round_robin), 1u);
}

TEST_F(EndpointsTest, NoneIsDialledWhileAllWait) {
  for (const uint32_t index : {0u, 1u, 2u}) fail(index);
  EXPECT_FALSE(endpoints.next(now, Balance::round_robin));
  EXPECT_TRUE(endpoints.all_wait(now));
  EXPECT_GE(endpoints.first_ready(now), now + 80ms);
  EXPECT_EQ(endpoints.failures(), 3u);
}

TEST_F(EndpointsTest, WhatStaysInTheConfigurationKeepsWhatIsKnownOfIt) {
  fail(2);
  endpoints.configure({endpoint(3), endpoint(4)});
  EXPECT_EQ(endpoints[2].rank, 0u);
  EXPECT_TRUE(endpoints[2].backoff.waits(now));
  EXPECT_EQ(endpoints.all().size(), 3u) << "the place of one that has left is taken";
}

TEST_F(EndpointsTest, WhatHasLeftKeepsItsNameAsLongAsItHasConnections) {
  dial(Balance::failover);
  endpoints.configure({endpoint(8), endpoint(9)});
  EXPECT_EQ(endpoints[0].name, "tcp://192.0.2.1:1");
  EXPECT_EQ(endpoints[*endpoints.next(now, Balance::failover)].name, "tcp://192.0.2.1:8");
  endpoints.left(0, State::idle);
  endpoints.configure({endpoint(8), endpoint(9), endpoint(7)});
  EXPECT_EQ(endpoints[0].name, "tcp://192.0.2.1:7");
}

// --- the pool ---

class SeveralEndpoints : public PoolTest {
 protected:
  static PoolPolicy several(Balance balance = Balance::round_robin, uint16_t count = 3) {
    PoolPolicy policy = PoolTest::policy();
    policy.endpoints.clear();
    for (uint16_t port = 1; port <= count; ++port) policy.endpoints.push_back(endpoint(port));
    policy.balance = balance;
    return policy;
  }
  size_t connections(PoolId pool, uint32_t index) const {
    return depot->pool(pool).endpoints()[index].connections;
  }
};

TEST_F(SeveralEndpoints, ConnectionsAreSpreadEvenlyAlsoAfterSomeAreGone) {
  const PoolId pool = add(several());
  const SessionId alice = session();
  std::vector<Granted> held;
  for (int i = 0; i < 12; ++i) held.push_back(take(alice, pool));
  for (size_t i = 0; i < 5; ++i) release(alice, held[i].lease, Condition::discarded);
  for (int i = 0; i < 6; ++i) take(alice, pool);
  for (const uint32_t index : {0u, 1u, 2u}) {
    EXPECT_GE(connections(pool, index), 4u);
    EXPECT_LE(connections(pool, index), 5u);
  }
}

TEST_F(SeveralEndpoints, AFailedDialIsMadeGoodAtOnceElsewhere) {
  const PoolId pool = add(several());
  down = {0};
  EXPECT_TRUE(granted(ask(session(), pool)));
  EXPECT_EQ(endpoints_dialed, (std::vector<uint32_t>{0, 1}));
}

TEST_F(SeveralEndpoints, OnlyWhenAllHaveFailedIsARequestRefused) {
  const PoolId pool = add(several());
  down = {0, 1, 2};
  const uint64_t request = ask(session(), pool);
  EXPECT_EQ(code(request), Code::kUpstreamDown);
  EXPECT_EQ(refusals[request].why->dial_failures, 3u);
  EXPECT_EQ(dialed.size(), 3u);
}

TEST_F(SeveralEndpoints, WhenTheLastThatServedIsGoneTheOthersAreTriedWhateverTheirBackoff) {
  const PoolId pool = add(several());
  const SessionId alice = session();
  down = {0, 1};
  const Granted last = take(alice, pool);
  EXPECT_EQ(depot->connection(last.connection)->endpoint, 2u);
  down = {2};
  release(alice, last.lease, Condition::discarded);
  const uint64_t request = ask(alice, pool);
  ASSERT_TRUE(granted(request)) << "the first two have returned";
  EXPECT_EQ(depot->pool(pool).total(), 1u);
}

TEST_F(SeveralEndpoints, WhichServesThoseWhoWaitedForThem) {
  const PoolId pool = add(several());
  const SessionId alice = session();
  down = {0, 1};
  const Granted last = take(alice, pool);
  down = {0, 1, 2};
  const uint64_t request = ask(session(kBob), pool);
  EXPECT_TRUE(waits(request)) << "one still serves";
  down = {2};
  closings = Answer::never;
  release(alice, last.lease, Condition::discarded);
  EXPECT_TRUE(granted(request));
}

TEST_F(SeveralEndpoints, NoneOfThemIsTriedWhileWhatServedGivesWayToABetterOne) {
  const PoolId pool = add(several(Balance::failover, 3));
  const SessionId alice = session();
  down = {0, 1};
  leave_idle(alice, pool);
  EXPECT_EQ(connections(pool, 2), 1u);
  down = {0};
  for (int i = 0; i < 2000 && connections(pool, 1) == 0; ++i) pass(10ms);
  EXPECT_EQ(connections(pool, 1), 1u);
  EXPECT_EQ(connections(pool, 2), 0u) << "it gives way";
  EXPECT_EQ(endpoints_dialed.back(), 1u) << "the first waits for the end of its backoff";
}

TEST_F(SeveralEndpoints, AndEachOfThemOnce) {
  const PoolId pool = add(several());
  const SessionId alice = session();
  down = {0, 1};
  const Granted last = take(alice, pool);
  down = {0, 1, 2};
  release(alice, last.lease, Condition::discarded);
  const size_t before = dialed.size();
  for (int i = 0; i < 3; ++i) EXPECT_EQ(code(ask(alice, pool)), Code::kUpstreamDown);
  EXPECT_EQ(dialed.size(), before + 3);
}

TEST_F(SeveralEndpoints, ManyPlacesAreMadeWhereOneOfThemIsForAProbe) {
  PoolPolicy p = several(Balance::round_robin, 2);
  p.max_connections = 2;
  const PoolId pool = add(p);
  const SessionId alice = session();
  down = {0};
  const Granted one = take(alice, pool);
  const Granted two = take(alice, pool);
  release(alice, one.lease);
  release(alice, two.lease);
  pass(20s);
  down = {};
  closings = Answer::never;
  const uint64_t batch = ask(session(kBob), pool, 60s, 2);
  EXPECT_EQ(closing.size(), 2u);
  finish_closes();
  EXPECT_TRUE(granted(batch));
}

TEST_F(SeveralEndpoints, OneThatComesBackTakesItsShareAgain) {
  const PoolId pool = add(several());
  const SessionId alice = session();
  down = {1};
  for (int i = 0; i < 8; ++i) take(alice, pool);
  EXPECT_EQ(connections(pool, 1), 0u);
  down = {};
  pass(20s);
  for (int i = 0; i < 4; ++i) take(alice, pool);
  EXPECT_EQ(connections(pool, 1), 4u);
}

TEST_F(SeveralEndpoints, FailoverUsesTheNextAndReturnsToTheFirstByItself) {
  const PoolId pool = add(several(Balance::failover, 2));
  const SessionId alice = session();
  down = {0};
  const Granted held = take(alice, pool);
  const ConnectionId idle = leave_idle(alice, pool);
  EXPECT_EQ(connections(pool, 1), 2u);
  const size_t before = dialed.size();
  pass(20s);
  EXPECT_GT(dialed.size(), before + 1) << "the first is tried though nobody needs it";
  EXPECT_EQ(state(idle), State::idle) << "and until it answers the next serves";
  down = {};
  pass(12s);
  EXPECT_EQ(connections(pool, 0), 1u);
  EXPECT_TRUE(closed(idle, CloseReason::renewed));
  EXPECT_EQ(state(held.connection), State::leased);
  release(alice, held.lease);
  EXPECT_TRUE(closed(held.connection, CloseReason::renewed));
  EXPECT_EQ(depot->connection(take(alice, pool).connection)->endpoint, 0u);
}

TEST_F(SeveralEndpoints, TryingTheFirstCostsAnIdleOneWhereThereIsNoPlace) {
  PoolPolicy p = several(Balance::failover, 2);
  p.max_connections = 2;
  const PoolId pool = add(p);
  const SessionId alice = session();
  down = {0};
  const Granted one = take(alice, pool);
  const Granted two = take(alice, pool);
  pass(20s);
  EXPECT_EQ(connections(pool, 1), 2u) << "none is idle";
  down = {};
  release(alice, one.lease);
  EXPECT_TRUE(closed(one.connection, CloseReason::evicted));
  EXPECT_EQ(connections(pool, 0), 1u);
  release(alice, two.lease);
  EXPECT_TRUE(closed(two.connection, CloseReason::renewed));
}

TEST_F(SeveralEndpoints, NothingIsSoughtForADisabledPool) {
  const PoolId pool = add(several(Balance::failover, 2));
  const SessionId alice = session();
  down = {0};
  take(alice, pool);
  const Granted held = take(alice, pool);
  depot->set_intake(now, pool, Intake::disabled, actions);
  const size_t before = dialed.size();
  pass(60s);
  release(alice, held.lease);
  EXPECT_EQ(dialed.size(), before);
}

TEST_F(SeveralEndpoints, AReloadThatTakesOneAwayLeavesItsLeasesTheirNames) {
  const PoolId pool = add(several());
  const SessionId alice = session();
  std::vector<Granted> held;
  for (int i = 0; i < 3; ++i) held.push_back(take(alice, pool));
  depot->reconfigure_pool(now, pool, several(Balance::round_robin, 1), actions);
  carry_out();
  const Connection& gone = *depot->connection(held[2].connection);
  EXPECT_EQ(depot->pool(pool).endpoints()[gone.endpoint].name, "tcp://192.0.2.1:3");
  for (const Granted& granted : held) release(alice, granted.lease);
  EXPECT_EQ(depot->pool(pool).total(), 0u);
  EXPECT_EQ(depot->connection(take(alice, pool).connection)->endpoint, 0u);
}

}  // namespace
}  // namespace berth::pool
