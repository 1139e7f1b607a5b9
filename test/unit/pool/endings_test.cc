// What ends connections, sessions, pools and the depot: renew, session end, shutdown, dynamic pools
// that go (rules 13 to 15, 19).
#include "unit/pool/pool_fixture.h"

namespace berth::pool {
namespace {

class Endings : public PoolTest {};

// --- renew ---

TEST_F(Endings, RenewClosesIdleOnesNowAndLeasedOnesOnRelease) {
  const PoolId pool = add(policy());
  const SessionId alice = session();
  const Granted held = take(alice, pool);
  const ConnectionId idle = leave_idle(alice, pool);
  const Depot::Renewed renewed = depot->renew(now, pool, actions);
  carry_out();
  EXPECT_EQ(renewed.closed, 1u);
  EXPECT_EQ(renewed.marked, 1u);
  EXPECT_TRUE(closed(idle, CloseReason::renewed));
  release(alice, held.lease);
  EXPECT_TRUE(closed(held.connection, CloseReason::renewed));
  const ConnectionId fresh = leave_idle(alice, pool);
  EXPECT_EQ(state(fresh), State::idle) << "the mark is the connection's, not the key's";
}

TEST_F(Endings, RenewReachesWhatABatchHasCollectedAndWhatIsBeingDialled) {
  PoolPolicy p = policy();
  p.max_connections = 3;
  const PoolId pool = add(p);
  const SessionId alice = session();
  const Granted one = take(alice, pool);
  const Granted two = take(alice, pool);
  dials = Answer::never;
  const uint64_t batch = ask(alice, pool, 30s, 3);
  release(alice, one.lease);
  const Depot::Renewed renewed = depot->renew(now, pool, actions);
  carry_out();
  EXPECT_EQ(renewed.closed, 1u);
  EXPECT_EQ(renewed.marked, 1u);
  EXPECT_TRUE(closed(one.connection, CloseReason::renewed));
  dials = Answer::yes;
  dial_succeeds(dialed[2]);
  EXPECT_TRUE(closed(dialed[2], CloseReason::renewed));
  for (const ConnectionId id : std::vector(dialing)) dial_succeeds(id);
  release(alice, two.lease);
  EXPECT_TRUE(granted(batch));
}

// --- sessions ---

TEST_F(Endings, ASessionsEndDiscardsItsLeasesAndItsRequests) {
  PoolPolicy p = policy();
  p.max_connections = 1;
  const PoolId pool = add(p);
  const SessionId alice = session();
  const SessionId other = session();
  const Granted held = take(alice, pool);
  const uint64_t his = ask(alice, pool);
  const uint64_t others = ask(other, pool);
  end(alice);
  EXPECT_TRUE(closed(held.connection, CloseReason::session_end));
  EXPECT_TRUE(waits(his)) << "there is nobody to answer";
  EXPECT_TRUE(granted(others));
  EXPECT_EQ(depot->session(alice), nullptr);
}

TEST_F(Endings, AnEndingSessionIsNotGrantedWhatItsOwnBatchGivesUp) {
  PoolPolicy p = policy();
  p.max_connections = 2;
  const PoolId pool = add(p);
  const SessionId alice = session();
  const SessionId other = session();
  const Granted one = take(other, pool);
  take(other, pool);
  ask(alice, pool, 30s, 2);
  const uint64_t his = ask(alice, pool);
  const uint64_t others = ask(other, pool);
  release(other, one.lease);  // collected by the batch
  end(alice);
  EXPECT_TRUE(waits(his));
  EXPECT_EQ(lease_of(others).connection, one.connection);
  EXPECT_TRUE(closes.empty());
}

TEST_F(Endings, EventsOfAnEndedSessionHaveNoEffect) {
  const PoolId pool = add(policy());
  const SessionId alice = session();
  const Granted held = take(alice, pool);
  end(alice);
  end(alice);
  EXPECT_FALSE(release(alice, held.lease));
  cancel(alice, 1);
  ask(alice, pool);
  EXPECT_EQ(depot->shared().leases.size(), 0u);
}

TEST_F(Endings, LateNewsOfAConnectionThatHasGoneHasNoEffect) {
  const PoolId pool = add(policy());
  const SessionId alice = session();
  const Granted held = take(alice, pool);
  release(alice, held.lease, Condition::discarded);
  depot->dialed(now, held.connection, actions);
  depot->dial_failed(now, held.connection, "late", actions);
  depot->inspected(now, held.connection, true, actions);
  depot->lost(now, held.connection, CloseReason::dead, actions);
  EXPECT_TRUE(actions.empty());
  EXPECT_EQ(depot->budget().used(), 0u);
}

// --- shutdown ---

TEST_F(Endings, AShutdownWaitsForLeasesThenRevokesThem) {
  const PoolId pool = add(policy());
  const SessionId alice = session();
  const Granted kept = take(alice, pool);
  const Granted given = take(alice, pool);
  leave_idle(alice, pool);
  dials = Answer::never;
  const uint64_t waiting = ask(alice, pool, 60s, 10);
  depot->shut_down(now, 30s, actions);
  carry_out();
  EXPECT_EQ(code(waiting), Code::kShuttingDown);
  EXPECT_EQ(count(pool, State::leased), 2u);
  EXPECT_EQ(depot->shared().connections.size(), 2u);
  release(alice, given.lease);
  EXPECT_TRUE(closed(given.connection, CloseReason::shutdown));
  pass(29s);
  EXPECT_FALSE(depot->drained());
  pass(1s);
  EXPECT_EQ(revoked, std::vector{kept.lease});
  EXPECT_TRUE(closed(kept.connection, CloseReason::revoked));
  EXPECT_TRUE(depot->drained());
  EXPECT_EQ(depot->budget().used(), 0u);
}

TEST_F(Endings, ASecondShutdownRevokesAtOnce) {
  const PoolId pool = add(policy());
  take(session(), pool);
  depot->shut_down(now, 30s, actions);
  depot->shut_down(now, 30s, actions);
  carry_out();
  EXPECT_TRUE(depot->drained());
}

TEST_F(Endings, ItDoesNotWaitForUnsentBytesEither) {
  const PoolId pool = add(policy());
  const SessionId alice = session();
  release(alice, take(alice, pool).lease, Condition::unsent);
  depot->shut_down(now, 30s, actions);
  carry_out();
  EXPECT_FALSE(depot->drained());
  depot->shut_down(now, 30s, actions);
  carry_out();
  EXPECT_TRUE(depot->drained());
}

TEST_F(Endings, AGrantTakenBackDuringAShutdownIsRefused) {
  const PoolId pool = add(policy());
  const SessionId alice = session();
  depot->request(now, alice, pool, {77, 1, 1s}, actions);
  depot->dialed(now, std::get<Dial>(actions.take()).connection, actions);
  const Grant grant = std::get<Grant>(actions.take());
  depot->shut_down(now, 30s, actions);
  depot->take_back(now, grant, grant.leases[0].connection, CloseReason::dead, actions);
  carry_out();
  EXPECT_EQ(code(77), Code::kShuttingDown);
  EXPECT_TRUE(depot->drained());
}

TEST_F(Endings, AGrantTakenBackAfterItsRevocationIsRefusedToo) {
  const PoolId pool = add(policy());
  const SessionId alice = session();
  depot->request(now, alice, pool, {77, 1, 1s}, actions);
  depot->dialed(now, std::get<Dial>(actions.take()).connection, actions);
  const Grant grant = std::get<Grant>(actions.take());
  depot->shut_down(now, 30s, actions);
  depot->shut_down(now, 30s, actions);
  depot->take_back(now, grant, grant.leases[0].connection, CloseReason::dead, actions);
  carry_out();
  EXPECT_EQ(code(77), Code::kShuttingDown);
  EXPECT_TRUE(depot->drained());
}

TEST_F(Endings, APoolAddedDuringAShutdownDialsNothing) {
  depot->shut_down(now, 30s, actions);
  PoolPolicy p = policy();
  p.min_idle = 1;
  const PoolId pool = add(p);
  EXPECT_TRUE(dialed.empty());
  EXPECT_EQ(code(ask(session(), pool)), Code::kShuttingDown);
}

TEST_F(Endings, ADepotMayEndWithConnectionsOpen) {
  take(session(), add(policy()));
  depot.reset();
}

// --- dynamic pools ---

TEST_F(Endings, OfTheEmptyDynamicPoolsTheLeastRecentlyUsedIsForgotten) {
  const auto dynamic = [&](const char* key) {
    const PoolId id = depot->add_dynamic_pool(now, policy(key), actions);
    carry_out();
    return id;
  };
  const SessionId alice = session();
  const PoolId one = dynamic("one");
  const PoolId two = dynamic("two");
  const PoolId busy = dynamic("busy");
  take(alice, busy);
  for (const PoolId pool : {two, one}) {
    const Granted held = take(alice, pool);
    release(alice, held.lease, Condition::discarded);
  }
  EXPECT_TRUE(depot->forget_empty(now));
  EXPECT_FALSE(depot->find_pool("two"));
  EXPECT_TRUE(depot->find_pool("one"));
  EXPECT_TRUE(depot->forget_empty(now));
  EXPECT_FALSE(depot->forget_empty(now)) << "the third is in use";
  EXPECT_EQ(depot->dynamic_pools(), 1u);
}

TEST_F(Endings, ADynamicPoolThatIsEmptyAndUnusedGoesByItself) {
  const auto dynamic = [&](const char* key) {
    const PoolId id = depot->add_dynamic_pool(now, policy(key), actions);
    carry_out();
    return id;
  };
  const SessionId alice = session();
  take(alice, dynamic("busy"));
  const PoolId used = dynamic("used");
  const auto use = [&] { release(alice, take(alice, used).lease, Condition::discarded); };
  use();
  pass(1min);
  use();
  pass(1min);
  EXPECT_TRUE(depot->find_pool("used")) << "it was asked for in the last minute";
  pass(1min);
  EXPECT_FALSE(depot->find_pool("used"));
  EXPECT_TRUE(depot->find_pool("busy"));
  EXPECT_EQ(depot->dynamic_pools(), 1u);
}

TEST_F(Endings, WithoutDynamicPoolsNobodyLooksForEmptyOnes) {
  const PoolId id = depot->add_dynamic_pool(now, policy("url"), actions);
  carry_out();
  const SessionId alice = session();
  release(alice, take(alice, id).lease, Condition::discarded);
  pass(3min);
  EXPECT_EQ(depot->dynamic_pools(), 0u);
  EXPECT_EQ(depot->next_deadline(), kNever);
}

TEST_F(Endings, AnEmptyPoolThatIsHungryForSlotsCanBeForgotten) {
  start({.fd_limit = 1, .total_max_idle = kUnlimited});
  take(session(), add(policy("other")));
  PoolPolicy p = policy("hungry");
  p.min_idle = 1;
  depot->add_dynamic_pool(now, p, actions);
  EXPECT_EQ(depot->shared().hungry.size(), 1u);
  EXPECT_TRUE(depot->forget_empty(now));
  EXPECT_TRUE(depot->shared().hungry.empty());
}

TEST_F(Endings, APoolInBackoffIsNotForgottenLestTheBackoffBe) {
  dials = Answer::no;
  const PoolId pool = depot->add_dynamic_pool(now, policy("down"), actions);
  ask(session(), pool);
  EXPECT_FALSE(depot->forget_empty(now));
  pass(1s);
  EXPECT_TRUE(depot->forget_empty(now));
}

}  // namespace
}  // namespace berth::pool
