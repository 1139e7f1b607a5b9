// Requests for several connections at once, and grants that come to nothing (rules 8, 9).
#include "unit/pool/pool_fixture.h"

namespace berth::pool {
namespace {

class Batches : public PoolTest {
 protected:
  PoolPolicy small(int max_connections) {
    PoolPolicy p = policy();
    p.max_connections = max_connections;
    return p;
  }
};

TEST_F(Batches, ABatchIsGrantedWholeInOneMessage) {
  const PoolId pool = add(policy());
  const uint64_t request = ask(session(), pool, 5s, 3);
  EXPECT_EQ(grants[request].leases.size(), 3u);
}

TEST_F(Batches, ABatchThatCanNeverBeHadFailsAtOnce) {
  const PoolId pool = add(small(2));
  const uint64_t request = ask(session(), pool, 5s, 3);
  EXPECT_EQ(code(request), Code::kInvalid);
  EXPECT_EQ(refusals[request].text, "count is 3, but max_connections of \"redis\" is 2");
}

TEST_F(Batches, ARequestForNothingIsInvalid) {
  EXPECT_EQ(code(ask(session(), add(policy()), 5s, 0)), Code::kInvalid);
}

TEST_F(Batches, OnlyTheOldestBatchAccumulates) {
  const PoolId pool = add(small(4));
  const SessionId alice = session();
  std::vector<Granted> held;
  for (int i = 0; i < 4; ++i) held.push_back(take(alice, pool));
  const uint64_t first = ask(alice, pool, 5s, 3);
  const uint64_t second = ask(alice, pool, 5s, 3);
  for (int i = 0; i < 3; ++i) release(alice, held[static_cast<size_t>(i)].lease);
  EXPECT_TRUE(granted(first));
  EXPECT_TRUE(waits(second));
  EXPECT_EQ(count(pool, State::idle), 0u);
}

TEST_F(Batches, ASingleRequestDoesNotTakeWhatAnEarlierBatchMayHave) {
  const PoolId pool = add(small(3));
  const SessionId alice = session();
  std::vector<Granted> held;
  for (int i = 0; i < 3; ++i) held.push_back(take(alice, pool));
  ask(alice, pool, 1s, 2);
  ask(alice, pool, 1s, 3);
  const uint64_t single = ask(alice, pool);
  release(alice, held[0].lease);
  release(alice, held[1].lease);  // the first batch has its two
  EXPECT_TRUE(waits(single));
  release(alice, held[2].lease);  // the second collects
  EXPECT_TRUE(waits(single));
  pass(1s);  // and gives up
  EXPECT_TRUE(granted(single));
}

TEST_F(Batches, ACollectedConnectionThatDiesIsReplaced) {
  const PoolId pool = add(small(2));
  const SessionId alice = session();
  const Granted one = take(alice, pool);
  const Granted two = take(alice, pool);
  const uint64_t batch = ask(alice, pool, 5s, 2);
  release(alice, one.lease);
  lose(one.connection);
  EXPECT_TRUE(closed(one.connection, CloseReason::dead));
  release(alice, two.lease);
  EXPECT_TRUE(granted(batch));
}

TEST_F(Batches, ACollectedConnectionThatGrowsTooOldIsNotGranted) {
  PoolPolicy p = small(2);
  p.max_lifetime = 4s;
  const PoolId pool = add(p);
  const SessionId alice = session();
  const Granted one = take(alice, pool);
  const Granted two = take(alice, pool);
  const uint64_t batch = ask(alice, pool, 30s, 2);
  release(alice, one.lease);
  pass(4s);
  release(alice, two.lease);
  ASSERT_TRUE(granted(batch));
  EXPECT_TRUE(closed(one.connection, CloseReason::age));
  EXPECT_TRUE(lease_of(batch, 0).fresh);
}

TEST_F(Batches, ABatchThatCannotBeHandedOverKeepsItsPlaceAndItsConnections) {
  const PoolId pool = add(small(2));
  const SessionId alice = session();
  const Granted one = take(alice, pool);
  const Granted two = take(alice, pool);
  release(alice, one.lease);
  release(alice, two.lease);
  dead = {two.connection};
  const uint64_t batch = ask(alice, pool, 5s, 2);
  ASSERT_TRUE(granted(batch));
  EXPECT_EQ(dialed.size(), 3u);
  const auto& leases = grants[batch].leases;
  EXPECT_TRUE(std::any_of(leases.begin(), leases.end(),
                          [&](const Granted& g) { return g.connection == one.connection; }));
}

TEST_F(Batches, WhatComesBackFromAFailedGrantGoesToTheEarlierBatchFirst) {
  const PoolId pool = add(small(3));
  const SessionId alice = session();
  std::vector<Granted> held;
  for (int i = 0; i < 3; ++i) held.push_back(take(alice, pool));
  const uint64_t first = ask(alice, pool, 30s, 2);
  const uint64_t second = ask(alice, pool, 30s, 2);
  dials = Answer::never;
  dead = {held[1].connection};
  release(alice, held[0].lease);
  release(alice, held[1].lease);  // completes the first; the peek fails; it waits again
  EXPECT_TRUE(waits(first));
  release(alice, held[2].lease);
  EXPECT_TRUE(granted(first));
  EXPECT_TRUE(waits(second));
}

TEST_F(Batches, AGrantTakenBackTellsTheNextHolderThatOptionsMayBeAnothers) {
  const PoolId pool = add(small(2));
  const SessionId before = session();
  const Granted one = take(before, pool);
  const Granted two = take(before, pool);
  release(before, one.lease);
  release(before, two.lease);
  dead = {one.connection};
  const uint64_t batch = ask(session(), pool, 5s, 2);
  ASSERT_TRUE(granted(batch));
  for (const Granted& granted : grants[batch].leases) {
    EXPECT_EQ(granted.new_session, granted.connection == two.connection);
  }
}

TEST_F(Batches, AGrantTakenBackTooLateIsRefused) {
  const PoolId pool = add(small(1));
  const SessionId alice = session();
  depot->request(now, alice, pool, {77, 1, 1s}, actions);
  depot->dialed(now, std::get<Dial>(actions.take()).connection, actions);
  const Grant grant = std::get<Grant>(actions.take());
  pass_unnoticed(2s);  // the program could not take it
  depot->take_back(now, grant, grant.leases[0].connection, CloseReason::dead, actions);
  carry_out();
  advance();
  EXPECT_EQ(code(77), Code::kTimedOut);
}

// Connections may come back idle that only the second batch may have: it must not hold them yet,
// and nobody behind it may take them.
TEST_F(Batches, WhatIsTheSecondBatchsStaysIdleUntilItsTurn) {
  const PoolId pool = add(small(20));
  const SessionId bob = session(kBob);
  const Granted bobs = take(bob, pool);
  dials = Answer::never;
  const uint64_t first = ask(session(kAlice), pool, 30s, 3);
  const uint64_t second = ask(bob, pool, 30s, 2);
  const uint64_t single = ask(bob, pool, 30s);
  release(bob, bobs.lease);
  EXPECT_EQ(state(bobs.connection), State::idle);
  EXPECT_TRUE(waits(single));
  for (size_t i = 0; i < 4; ++i) dial_succeeds(dialing[i]);
  EXPECT_TRUE(granted(first));
  EXPECT_TRUE(granted(second));
}

TEST_F(Batches, WhatIsTheSecondBatchsIsNotClosedForALaterRequest) {
  const PoolId pool = add(small(3));
  const SessionId bob = session(kBob);
  const ConnectionId bobs = leave_idle(bob, pool);
  dials = Answer::never;
  ask(session(kAlice), pool, 30s, 2);
  ask(bob, pool, 30s, 2);
  ask(session(kAlice), pool, 30s);
  EXPECT_FALSE(closed(bobs, CloseReason::evicted));
}

TEST_F(Batches, WhatAWithdrawnBatchGivesUpServesTheNextAtOnce) {
  const PoolId pool = add(small(2));
  const SessionId alice = session();
  const Granted one = take(alice, pool);
  take(alice, pool);
  const uint64_t batch = ask(alice, pool, 30s, 2);
  const uint64_t single = ask(alice, pool, 30s);
  release(alice, one.lease);
  EXPECT_TRUE(waits(single));
  cancel(alice, batch);
  EXPECT_EQ(lease_of(single).connection, one.connection);
}

TEST_F(Batches, OneTakenBackComesBeforeALaterBatchThatCollectsMeanwhile) {
  const PoolId pool = add(small(3));
  const SessionId alice = session();
  std::vector<Granted> held;
  for (int i = 0; i < 3; ++i) held.push_back(take(alice, pool));
  const uint64_t first = ask(alice, pool, 30s, 2);
  const uint64_t second = ask(alice, pool, 30s, 2);
  release(alice, held[0].lease);
  depot->release(now, alice, held[1].lease, Condition::clean, actions);
  const Grant grant = std::get<Grant>(actions.take());  // its program cannot take it yet
  release(alice, held[2].lease);                        // collected by the second
  dials = Answer::never;
  depot->take_back(now, grant, held[1].connection, CloseReason::dead, actions);
  carry_out();
  EXPECT_TRUE(granted(first));
  EXPECT_TRUE(waits(second));
}

TEST_F(Batches, ALaterBatchGivesUpAPlaceThatAnEarlierRequestLacks) {
  const PoolId pool = add(small(3));
  const SessionId alice = session(kAlice);
  const Granted one = take(alice, pool);
  take(alice, pool);
  dials = Answer::no;
  const uint64_t bobs = ask(session(kBob), pool, 30s);  // may not dial again yet
  depot->reconfigure_pool(now, pool, small(2), actions);
  const uint64_t batch = ask(alice, pool, 30s, 2);
  release(alice, one.lease);
  ASSERT_EQ(state(one.connection), State::leased) << "the batch has collected it";
  dials = Answer::yes;
  pass(1s);
  EXPECT_TRUE(closed(one.connection, CloseReason::evicted));
  EXPECT_TRUE(granted(bobs));
  EXPECT_TRUE(waits(batch));
}

TEST_F(Batches, AGrantTakenBackIsNoUse) {
  PoolPolicy p = small(2);
  p.min_idle = 2;
  p.max_uses = 1;
  const PoolId pool = add(p);
  dead = {dialed[1]};
  const ConnectionId other = dialed[0];
  const uint64_t batch = ask(session(), pool, 5s, 2);
  ASSERT_TRUE(granted(batch));
  EXPECT_EQ(std::count(closes.begin(), closes.end(), std::pair(other, CloseReason::uses)), 0);
}

TEST_F(Batches, AFreshConnectionTakenBackIsStillNobodys) {
  PoolPolicy p = small(20);
  p.min_idle = 2;
  const PoolId pool = add(p);
  dials = Answer::never;
  dead = {dialed[1]};
  EXPECT_EQ(code(ask(session(kAlice), pool, 0s, 2)), Code::kTimedOut);
  EXPECT_EQ(depot->pool(pool).kept(), 1u);
  EXPECT_TRUE(granted(ask(session(kBob), pool, 0s)));
}

}  // namespace
}  // namespace berth::pool
