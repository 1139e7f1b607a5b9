// Leases that carry no connection (rule 18).
#include "unit/pool/pool_fixture.h"

namespace berth::pool {
namespace {

class BareSlots : public PoolTest {
 protected:
  static PoolPolicy slots(std::string key = "slot", int most = kUnlimited) {
    PoolPolicy policy = PoolTest::policy(std::move(key));
    policy.endpoints = {{.kind = Endpoint::Kind::slot, .host = {}, .path = {}}};
    policy.max_connections = most;
    return policy;
  }
  uint32_t used() const { return depot->budget().used(); }
};

TEST_F(BareSlots, AreGrantedWithoutADialAndCountAgainstTheBudget) {
  const PoolId pool = add(slots());
  const SessionId alice = session();
  const Granted slot = take(alice, pool);
  EXPECT_TRUE(slot.slot);
  EXPECT_TRUE(dialed.empty());
  EXPECT_EQ(used(), 1u);
  EXPECT_TRUE(release(alice, slot.lease));
  EXPECT_EQ(used(), 0u);
  EXPECT_TRUE(closed(slot.connection, CloseReason::uses));
  EXPECT_FALSE(release(alice, slot.lease)) << "a slot is given back once";
}

TEST_F(BareSlots, AreHadAtOnceByOneWhoDoesNotWait) {
  const PoolId pool = add(slots("slot", 1));
  const SessionId alice = session();
  EXPECT_TRUE(granted(ask(alice, pool, 0s)));
  EXPECT_EQ(code(ask(alice, pool, 0s)), Code::kTimedOut);
}

TEST_F(BareSlots, EndWithTheirSession) {
  const PoolId pool = add(slots());
  const SessionId alice = session();
  ask(alice, pool, 5s, 8);
  EXPECT_EQ(used(), 8u);
  end(alice);
  EXPECT_EQ(used(), 0u);
}

TEST_F(BareSlots, AnIdleConnectionOfAnyPoolGoesForOne) {
  start({.fd_limit = 2});
  const PoolId redis = add(policy());
  const PoolId pool = add(slots());
  const SessionId alice = session();
  const ConnectionId idle = leave_idle(alice, redis);
  take(alice, pool);
  take(alice, pool);
  EXPECT_TRUE(closed(idle, CloseReason::evicted));
  EXPECT_EQ(used(), 2u);
}

TEST_F(BareSlots, SpareWhatAPoolKeepsReady) {
  start({.fd_limit = 2});
  PoolPolicy kept = policy();
  kept.min_idle = 1;
  add(kept);
  const PoolId pool = add(slots());
  const SessionId alice = session();
  take(alice, pool);
  const uint64_t second = ask(alice, pool, 1s);
  pass(1s);
  EXPECT_EQ(code(second), Code::kTimedOut);
  EXPECT_EQ(refusals[second].why->cause, Cause::kNoSlots);
  EXPECT_TRUE(closes.empty());
}

TEST_F(BareSlots, ConnectionsWaitForThemAndTheyForConnectionsByArrival) {
  start({.fd_limit = 1});
  const PoolId redis = add(policy());
  const PoolId pool = add(slots());
  const SessionId alice = session();
  const Granted held = take(alice, pool);
  const uint64_t connection = ask(alice, redis);
  const uint64_t slot = ask(alice, pool);
  release(alice, held.lease);
  ASSERT_TRUE(granted(connection));
  EXPECT_TRUE(waits(slot));
  release(alice, lease_of(connection).lease);
  EXPECT_TRUE(granted(slot)) << "the idle connection goes for it";
}

TEST_F(BareSlots, SeveralComeTogetherOrNotAtAll) {
  start({.fd_limit = 4});
  const PoolId pool = add(slots());
  const SessionId alice = session();
  const Granted one = take(alice, pool);
  const Granted two = take(alice, pool);
  const uint64_t three = ask(alice, pool, 5s, 3);
  EXPECT_TRUE(waits(three));
  EXPECT_EQ(used(), 2u) << "who waits holds nothing";
  release(alice, one.lease);
  EXPECT_EQ(grants[three].leases.size(), 3u);
  release(alice, two.lease);
}

TEST_F(BareSlots, WhatIsFreeIsKeptForTheFirstWhoLacksMore) {
  start({.fd_limit = 3});
  const PoolId redis = add(policy());
  const PoolId pool = add(slots());
  const SessionId alice = session();
  const Granted held = take(alice, pool);
  const uint64_t three = ask(alice, pool, 5s, 3);
  const uint64_t slot = ask(alice, pool);
  const uint64_t connection = ask(alice, redis);
  EXPECT_TRUE(waits(slot) && waits(connection));
  release(alice, held.lease);
  EXPECT_TRUE(granted(three));
  EXPECT_TRUE(waits(slot) && waits(connection));
}

TEST_F(BareSlots, AsManyIdleConnectionsGoAsAreLacking) {
  start({.fd_limit = 4});
  const PoolId redis = add(policy());
  const PoolId pool = add(slots());
  const SessionId alice = session();
  const uint64_t batch = ask(alice, redis, 5s, 3);
  for (const Granted& granted :
       std::vector(grants[batch].leases.begin(), grants[batch].leases.end()))
    release(alice, granted.lease);
  ask(alice, pool, 5s, 3);
  EXPECT_EQ(closes.size(), 2u) << "one slot was free";
  EXPECT_EQ(used(), 4u);
}

TEST_F(BareSlots, ALaterBatchOfConnectionsGivesWay) {
  start({.fd_limit = 3});
  const PoolId redis = add(policy());
  const PoolId pool = add(slots());
  const SessionId alice = session();
  const Granted held = take(alice, pool);
  const Granted one = take(alice, redis);
  const Granted two = take(alice, redis);
  const uint64_t slots = ask(alice, pool, 60s, 2);
  const uint64_t batch = ask(alice, redis, 60s, 3);
  release(alice, one.lease);
  release(alice, two.lease);
  EXPECT_TRUE(granted(slots));
  EXPECT_TRUE(waits(batch));
  release(alice, held.lease);
}

TEST_F(BareSlots, MoreThanThereAreIsRefusedAtOnce) {
  start({.fd_limit = 4});
  const PoolId pool = add(slots());
  const PoolId few = add(slots("few", 2));
  const SessionId alice = session();
  EXPECT_EQ(code(ask(alice, pool, 5s, 5)), Code::kInvalid);
  EXPECT_EQ(refusals[last_request].text, "count is 5, but berthd has 4 slots in all");
  EXPECT_EQ(code(ask(alice, few, 5s, 3)), Code::kInvalid);
  EXPECT_EQ(refusals[last_request].text, "count is 3, but max_connections of \"few\" is 2");
}

TEST_F(BareSlots, MaxConnectionsBoundsThem) {
  const PoolId pool = add(slots("slot", 2));
  const SessionId alice = session();
  const Granted one = take(alice, pool);
  take(alice, pool);
  const uint64_t third = ask(alice, pool, 1s);
  const uint64_t fourth = ask(alice, pool, 10s);
  pass(1s);
  EXPECT_EQ(code(third), Code::kTimedOut);
  EXPECT_EQ(refusals[third].why->cause, Cause::kExhausted);
  EXPECT_EQ(refusals[third].why->leased, 2u);
  EXPECT_EQ(refusals[third].why->holders.size(), 2u);
  release(alice, one.lease);
  EXPECT_TRUE(granted(fourth));
}

TEST_F(BareSlots, PauseAndDisableHoldForThem) {
  const PoolId pool = add(slots());
  const SessionId alice = session();
  depot->set_intake(now, pool, Intake::paused, actions);
  const uint64_t waiting = ask(alice, pool);
  EXPECT_TRUE(waits(waiting));
  depot->set_intake(now, pool, Intake::open, actions);
  carry_out();
  EXPECT_TRUE(granted(waiting));
  depot->set_intake(now, pool, Intake::disabled, actions);
  EXPECT_EQ(code(ask(alice, pool)), Code::kDisabled);
}

TEST_F(BareSlots, LeaseTimeoutRevokesThem) {
  PoolPolicy p = slots();
  p.lease_timeout = 2s;
  const PoolId pool = add(p);
  const Granted slot = take(session(), pool);
  pass(2s);
  EXPECT_EQ(revoked, std::vector{slot.lease});
  EXPECT_EQ(used(), 0u);
}

TEST_F(BareSlots, OneThatWasRevokedOnItsWayIsNotReplacedByAnIdleOne) {
  const PoolId pool = add(slots());
  const SessionId alice = session();
  const uint64_t request = ask(alice, pool, 5s, 2);
  const Grant grant = grants[request];
  grants.erase(request);
  depot->revoke(now, grant.leases[0].lease, actions);
  depot->take_back(now, grant, ConnectionId(), CloseReason::revoked, actions);
  carry_out();
  EXPECT_EQ(grants[request].leases.size(), 2u) << "the request is served anew";
  EXPECT_EQ(used(), 2u);
  EXPECT_EQ(count(pool, State::idle), 0u);
}

TEST_F(BareSlots, AnyNetworkNamespaceWillDo) {
  const PoolId pool = add(slots());
  const SessionId foreign = depot->open_session({kAlice, 1, 0, true});
  EXPECT_TRUE(granted(ask(foreign, pool)));
  EXPECT_EQ(code(ask(session(kEve), pool)), Code::kNotPermitted);
}

TEST_F(BareSlots, AreForetold) {
  start({.fd_limit = 2});
  const PoolId redis = add(policy());
  const PoolId pool = add(slots());
  const SessionId alice = session();
  const auto foretold = [&] { return depot->forecast(now, {kAlice, 1, 0, false}, pool); };
  EXPECT_EQ(foretold().step, Step::grant);
  EXPECT_FALSE(foretold().connection.valid());
  take(alice, pool);
  const ConnectionId idle = leave_idle(alice, redis);
  EXPECT_EQ(foretold().step, Step::evict);
  EXPECT_EQ(foretold().connection, idle);
  take(alice, redis);
  EXPECT_EQ(foretold().step, Step::wait);
  EXPECT_EQ(foretold().cause, Cause::kNoSlots);
}

TEST_F(BareSlots, APoolThatBecomesOneOfConnectionsTakesThemBack) {
  const PoolId pool = add(slots("redis"));
  const SessionId alice = session();
  const Granted slot = take(alice, pool);
  EXPECT_TRUE(depot->reconfigure_pool(now, pool, policy(), actions));
  carry_out();
  const Granted connection = take(alice, pool);
  EXPECT_FALSE(connection.slot);
  release(alice, slot.lease);
  EXPECT_TRUE(closed(slot.connection, CloseReason::renewed));
  EXPECT_EQ(used(), 1u);
}

}  // namespace
}  // namespace berth::pool
