// Rule 20: connections to addresses that a name no longer has.
#include "unit/pool/pool_fixture.h"

namespace berth::pool {
namespace {

class Addresses : public PoolTest {
 protected:
  void address_gone(ConnectionId id) {
    depot->address_gone(now, id, actions);
    carry_out();
  }
};

TEST_F(Addresses, AnIdleConnectionToOneThatIsGoneIsClosedAtOnce) {
  const PoolId pool = add(policy());
  const SessionId alice = session();
  const ConnectionId idle = leave_idle(alice, pool);
  address_gone(idle);
  EXPECT_TRUE(closed(idle, CloseReason::address_gone));
  EXPECT_EQ(depot->pool(pool).total(), 0u);
}

TEST_F(Addresses, ALeasedOneWorksOnUntilItComesBack) {
  const PoolId pool = add(policy());
  const SessionId alice = session();
  const Granted held = take(alice, pool);
  address_gone(held.connection);
  EXPECT_EQ(state(held.connection), State::leased);
  release(alice, held.lease);
  EXPECT_TRUE(closed(held.connection, CloseReason::address_gone));
  EXPECT_NE(take(alice, pool).connection, held.connection);
}

TEST_F(Addresses, WhatIsDialledGoesInsteadOfBeingGranted) {
  dials = Answer::never;
  const PoolId pool = add(policy());
  const uint64_t waiting = ask(session(), pool);
  address_gone(dialed[0]);
  dial_succeeds(dialed[0]);
  EXPECT_TRUE(closed(dialed[0], CloseReason::address_gone));
  ASSERT_EQ(dialed.size(), 2u) << "another is dialled for who waits";
  dial_succeeds(dialed[1]);
  EXPECT_EQ(lease_of(waiting).connection, dialed[1]);
}

TEST_F(Addresses, WhatIsCheckedGoesAfterItsCheck) {
  PoolPolicy p = policy();
  p.check = {{.text = "PING"}};
  p.check_after = 0s;
  const PoolId pool = add(p);
  const SessionId alice = session();
  const ConnectionId idle = leave_idle(alice, pool);
  steps = Answer::never;
  pass(1s);
  const uint64_t waiting = ask(alice, pool);
  ASSERT_EQ(state(idle), State::resetting);
  address_gone(idle);
  EXPECT_TRUE(granted(waiting)) << "nobody counts on it any more";
  EXPECT_NE(lease_of(waiting).connection, idle);
  steps_succeed(idle);
  EXPECT_TRUE(closed(idle, CloseReason::address_gone));
}

TEST_F(Addresses, WhatABatchHasCollectedIsClosedAndDialledAnew) {
  PoolPolicy p = policy();
  p.max_connections = 2;
  const PoolId pool = add(p);
  const SessionId alice = session();
  const Granted held = take(alice, pool);
  const ConnectionId idle = leave_idle(alice, pool);
  const uint64_t batch = ask(alice, pool, 30s, 2);
  ASSERT_EQ(count(pool, State::leased), 2u);
  address_gone(idle);
  EXPECT_TRUE(closed(idle, CloseReason::address_gone));
  release(alice, held.lease);
  EXPECT_TRUE(granted(batch));
}

TEST_F(Addresses, TheReserveIsMadeGoodElsewhere) {
  PoolPolicy p = policy();
  p.min_idle = 2;
  const PoolId pool = add(p);
  const ConnectionId first = dialed[0];
  address_gone(first);
  EXPECT_TRUE(closed(first, CloseReason::address_gone));
  EXPECT_EQ(count(pool, State::idle), 2u);
  EXPECT_EQ(dialed.size(), 3u);
}

TEST_F(Addresses, WhatWasRenewedBeforeGoesForThat) {
  const PoolId pool = add(policy());
  const SessionId alice = session();
  const Granted held = take(alice, pool);
  depot->renew(now, pool, actions);
  address_gone(held.connection);
  release(alice, held.lease);
  EXPECT_TRUE(closed(held.connection, CloseReason::renewed));
}

TEST_F(Addresses, WhatIsToGoAnywayIsNotToldToCloseOnRelease) {
  const PoolId pool = add(policy());
  const SessionId alice = session();
  const Granted held = take(alice, pool);
  address_gone(held.connection);
  EXPECT_EQ(depot->close_on_release(held.lease), std::optional(false));
  release(alice, held.lease);
  EXPECT_TRUE(closed(held.connection, CloseReason::address_gone));
}

TEST_F(Addresses, NewsOfAConnectionThatHasEndedIsWithoutEffect) {
  const PoolId pool = add(policy());
  const SessionId alice = session();
  const ConnectionId idle = leave_idle(alice, pool);
  lose(idle);
  address_gone(idle);
  EXPECT_TRUE(closed(idle, CloseReason::dead));
}

}  // namespace
}  // namespace berth::pool
