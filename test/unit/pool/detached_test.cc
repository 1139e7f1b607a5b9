// Connections that are asked for for good: they leave the pool with their grant.
#include "unit/pool/pool_fixture.h"

namespace berth::pool {
namespace {

class Detached : public PoolTest {
 protected:
  uint64_t ask_for_good(SessionId session, PoolId pool, uint32_t count = 1) {
    return ask(session, pool, 5s, count, true);
  }
  Granted take_for_good(SessionId session, PoolId pool) {
    return lease_of(ask_for_good(session, pool));
  }
};

TEST_F(Detached, LeaveThePoolAndItsLimits) {
  PoolPolicy p = policy();
  p.max_connections = 1;
  const PoolId pool = add(p);
  const SessionId alice = session();
  for (int i = 0; i < 3; ++i) {
    const Granted mine = take_for_good(alice, pool);
    EXPECT_TRUE(closed(mine.connection, CloseReason::detached));
  }
  EXPECT_EQ(depot->pool(pool).total(), 0u);
  EXPECT_EQ(depot->budget().used(), 0u);
  EXPECT_EQ(depot->user(kAlice)->leases, 0u);
  EXPECT_EQ(depot->pool(pool).counters().of(CloseReason::detached), 3u);
}

TEST_F(Detached, AreNoLeases) {
  PoolPolicy p = policy();
  p.lease_timeout = 1s;
  const PoolId pool = add(p);
  const SessionId alice = session();
  const Granted mine = take_for_good(alice, pool);
  EXPECT_FALSE(release(alice, mine.lease));
  EXPECT_FALSE(depot->revoke(now, mine.lease, actions));
  pass(2s);
  end(alice);
  EXPECT_TRUE(revoked.empty());
  EXPECT_EQ(closes.size(), 1u) << "nothing more befalls it";
}

TEST_F(Detached, TakeWhatIsIdle) {
  const PoolId pool = add(policy());
  const SessionId alice = session();
  const ConnectionId idle = leave_idle(alice, pool);
  EXPECT_EQ(take_for_good(alice, pool).connection, idle);
  EXPECT_EQ(dialed.size(), 1u);
}

TEST_F(Detached, OnesOfABatchGoTogether) {
  const PoolId pool = add(policy());
  const SessionId alice = session();
  const uint64_t batch = ask_for_good(alice, pool, 3);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_TRUE(closed(lease_of(batch, i).connection, CloseReason::detached));
  }
}

TEST_F(Detached, OnesAreMadeUpForByMinIdle) {
  PoolPolicy p = policy();
  p.min_idle = 1;
  const PoolId pool = add(p);
  take_for_good(session(), pool);
  EXPECT_EQ(dialed.size(), 2u);
  EXPECT_EQ(count(pool, State::idle), 1u);
}

TEST_F(Detached, MakeRoomForThoseWhoWait) {
  PoolPolicy p = policy();
  p.max_connections = 1;
  const PoolId pool = add(p);
  const SessionId alice = session();
  const Granted held = take(alice, pool);
  const uint64_t first = ask_for_good(alice, pool);
  const uint64_t second = ask(alice, pool);
  release(alice, held.lease);
  EXPECT_EQ(lease_of(first).connection, held.connection);
  EXPECT_TRUE(granted(second));
  EXPECT_NE(lease_of(second).connection, held.connection);
}

TEST_F(Detached, RequestIsStillForGoodWhenItsFirstGrantWasDead) {
  const PoolId pool = add(policy());
  const SessionId alice = session();
  const ConnectionId idle = leave_idle(alice, pool);
  dead.insert(idle);
  const Granted mine = take_for_good(alice, pool);
  EXPECT_NE(mine.connection, idle);
  EXPECT_TRUE(closed(idle, CloseReason::dead));
  EXPECT_TRUE(closed(mine.connection, CloseReason::detached));
}

TEST_F(Detached, BareSlotsAreNot) {
  PoolPolicy slots = policy("slot");
  slots.endpoints = {{.kind = Endpoint::Kind::slot, .host = {}, .path = {}}};
  const PoolId pool = add(slots);
  const uint64_t request = ask_for_good(session(), pool);
  EXPECT_EQ(code(request), Code::kInvalid);
  EXPECT_NE(refusals.at(request).text.find("\"slot\" is a pool of slots"), std::string::npos);
}

TEST_F(Detached, CarriedLeasesAreNot) {
  PoolPolicy carried = policy("carried");
  carried.handoff = Handoff::relay;
  const PoolId pool = add(carried);
  EXPECT_EQ(code(ask_for_good(session(), pool)), Code::kInvalid);
}

TEST_F(Detached, ConnectionsWithTlsAreOnlyWhereItIsAlwaysTheKernels) {
  PoolPolicy secure = policy("secure");
  secure.endpoints.front().secure = true;
  EXPECT_EQ(code(ask_for_good(session(), add(secure))), Code::kInvalid);
  secure.key = "ktls";
  secure.handoff = Handoff::ktls;
  EXPECT_TRUE(granted(ask_for_good(session(), add(secure))));
}

TEST_F(Detached, WhoWaitsForOneIsTurnedOutWhenAReloadLeavesBareSlots) {
  PoolPolicy p = policy();
  p.max_connections = 1;
  const PoolId pool = add(p);
  const SessionId alice = session();
  take(alice, pool);
  const uint64_t request = ask_for_good(alice, pool);
  p.endpoints = {{.kind = Endpoint::Kind::slot, .host = {}, .path = {}}};
  depot->reconfigure_pool(now, pool, p, actions);
  carry_out();
  EXPECT_EQ(code(request), Code::kInvalid);
}

}  // namespace
}  // namespace berth::pool
