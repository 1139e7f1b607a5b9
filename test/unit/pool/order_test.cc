// The order of a lease request, A to G (DESIGN section 5).
#include "unit/pool/pool_fixture.h"

namespace berth::pool {
namespace {

class Order : public PoolTest {};

TEST_F(Order, A_WhoIsNotNamedIsRefusedEvenIfAConnectionIsIdle) {
  PoolPolicy p = policy();
  p.min_idle = 1;
  const PoolId pool = add(p);
  EXPECT_EQ(code(ask(session(kEve), pool)), Code::kNotPermitted);
  EXPECT_EQ(refusals[1].text,
            "neither allow_users nor allow_groups of \"redis\" names it or one of its groups");
}

TEST_F(Order, A_WhoHasAnAllowedGroupMayLease) {
  PoolPolicy p = policy();
  p.allow_gids = {50, 7};
  const PoolId pool = add(p);
  const auto code_for = [&](uint32_t gid, std::vector<uint32_t> groups) {
    return code(ask(depot->open_session({kEve, 1, 0, false, gid, std::move(groups)}), pool));
  };
  EXPECT_EQ(code_for(7, {}), Code::kOk);
  EXPECT_EQ(code_for(1, {2, 50, 60}), Code::kOk);
  EXPECT_EQ(code_for(1, {2, 49, 51}), Code::kNotPermitted);
  EXPECT_EQ(code_for(51, {}), Code::kNotPermitted);
}

TEST_F(Order, A_ATenantMayLeaseWhatItsSocketNamesAndNothingElse) {
  PoolPolicy p = policy("theirs");
  p.tenants = {"app1", "app2"};
  p.allow_uids = {};
  const PoolId theirs = add(p);
  const PoolId alices = add(policy("alices"));
  const SessionId tenant = depot->open_session({kAlice, 1, 2, false, 0, {}, "app2"});
  EXPECT_TRUE(granted(ask(tenant, theirs)));
  EXPECT_EQ(code(ask(tenant, alices)), Code::kNotPermitted);
  EXPECT_EQ(refusals[2].text, "keys of [socket.app2] do not name \"alices\"");
  EXPECT_EQ(depot->keys(tenant), std::vector<std::string_view>{"theirs"});
  const SessionId stranger = depot->open_session({kAlice, 1, 3, false, 0, {}, "app3"});
  EXPECT_EQ(code(ask(stranger, theirs)), Code::kNotPermitted);
  EXPECT_EQ(code(ask(session(kAlice), theirs)), Code::kNotPermitted);
}

TEST_F(Order, C_AtSocketsForAllTheSameUidIsOneUser) {
  const PoolId pool = add(policy());
  const ConnectionId first = leave_idle(depot->open_session({kAlice, 1, 0}), pool);
  EXPECT_EQ(take(depot->open_session({kAlice, 2, 5}), pool).connection, first);
}

// In each container there is a uid 0.
TEST_F(Order, C_TheSameUidAtTwoSocketsIsTwoUsers) {
  for (const Share share : {Share::user, Share::group}) {
    PoolPolicy p = policy(share == Share::user ? "user" : "group");
    p.tenants = {"app1", "app2"};
    p.share = share;
    const PoolId pool = add(p);
    const SessionId one = depot->open_session({0, 1, 1, false, 0, {}, "app1"});
    const SessionId two = depot->open_session({0, 2, 2, false, 0, {}, "app2"});
    const ConnectionId first = leave_idle(one, pool);
    EXPECT_NE(take(two, pool).connection, first);
    EXPECT_EQ(take(one, pool).connection, first);
  }
}

TEST_F(Order, A_NobodyIsAllowedByDefault) {
  PoolPolicy p = policy();
  p.allow_uids.clear();
  EXPECT_EQ(code(ask(session(0), add(p))), Code::kNotPermitted);
}

TEST_F(Order, A_AForeignNetworkNamespaceNeedsAPinnedPoolOrACarriedLease) {
  PoolPolicy pinned = policy("pinned");
  pinned.sandbox = Sandbox::pinned;
  PoolPolicy direct = policy("direct");
  direct.handoff = Handoff::direct;
  const PoolId relay = add(policy("relay"));
  const PoolId other = add(pinned);
  const PoolId bare = add(direct);
  const SessionId sandboxed = depot->open_session({kAlice, 1, 0, true});
  EXPECT_TRUE(granted(ask(sandboxed, relay)));
  EXPECT_TRUE(granted(ask(sandboxed, other)));
  EXPECT_EQ(code(ask(sandboxed, bare)), Code::kNotPermitted);
  EXPECT_EQ(depot->keys(sandboxed), (std::vector<std::string_view>{"pinned", "relay"}));
}

TEST_F(Order, A_WhoMayNotHoldTheServersSocketGetsACarriedLease) {
  PoolPolicy pinned = policy("pinned");
  pinned.sandbox = Sandbox::pinned;
  PoolPolicy carried = policy("carried");
  carried.handoff = Handoff::relay;
  const SessionId here = session();
  const SessionId sandboxed = depot->open_session({kAlice, 1, 0, true});
  SessionInfo unmodified{kAlice, 1};
  unmodified.unmodified = true;
  EXPECT_FALSE(is_carried(depot->session(here)->info, pinned));
  EXPECT_TRUE(is_carried(depot->session(here)->info, carried));
  EXPECT_FALSE(is_carried(depot->session(sandboxed)->info, pinned));
  EXPECT_TRUE(is_carried(depot->session(sandboxed)->info, policy()));
  EXPECT_TRUE(is_carried(unmodified, policy()));
}

TEST_F(Order, A_WhoeverLeasesAConnectionWhoseSocketIsOfNoUseToHimIsCarried) {
  const PoolId pool = add(policy());
  dials = Answer::never;
  const SessionId alice = session();
  const uint64_t single = ask(alice, pool);
  depot->carry(dialing.front());
  dial_succeeds(dialing.front());
  EXPECT_TRUE(grants.at(single).carried);
  EXPECT_TRUE(release(alice, lease_of(single).lease));
  const uint64_t again = ask(alice, pool);
  EXPECT_TRUE(grants.at(again).carried);
  EXPECT_TRUE(release(alice, lease_of(again).lease));
  dials = Answer::yes;
  const uint64_t batch = ask(alice, pool, 5s, 2);
  EXPECT_TRUE(grants.at(batch).carried);
  EXPECT_FALSE(grants.at(ask(alice, pool)).carried);
}

TEST_F(Order, A_WhoIsSandboxedIsRefusedWhereTheKernelIsToEncrypt) {
  PoolPolicy ktls = policy("ktls");
  ktls.endpoints.front().secure = true;
  ktls.handoff = Handoff::ktls;
  const SessionId sandboxed = depot->open_session({kAlice, 1, 0, true});
  const uint64_t request = ask(sandboxed, add(ktls));
  EXPECT_EQ(code(request), Code::kNotPermitted);
  EXPECT_NE(refusals.at(request).text.find("handoff = \"ktls\""), std::string::npos);
}

TEST_F(Order, A_WhoComesOverTcpIsNotAskedWhoHeIs) {
  PoolPolicy p = policy();
  p.allow_uids.clear();
  SessionInfo anonymous{UINT32_MAX};
  anonymous.anonymous = true;
  EXPECT_TRUE(granted(ask(depot->open_session(anonymous), add(p))));
}

TEST_F(Order, B_ADepotThatStopsRefusesBeforeItLooksForAnythingIdle) {
  const PoolId pool = add(policy());
  const SessionId alice = session();
  const Granted held = take(alice, pool);
  depot->shut_down(now, 30s, actions);
  carry_out();
  EXPECT_EQ(code(ask(alice, pool)), Code::kShuttingDown);
  EXPECT_FALSE(refused(1));
  EXPECT_TRUE(release(alice, held.lease));
}

TEST_F(Order, C_AnIdleConnectionIsGrantedWithoutADial) {
  const PoolId pool = add(policy());
  const SessionId alice = session();
  const ConnectionId idle = leave_idle(alice, pool);
  EXPECT_EQ(take(alice, pool).connection, idle);
  EXPECT_EQ(dialed.size(), 1u);
}

TEST_F(Order, C_OwnConnectionsComeBeforeTheReserveOfNobody) {
  PoolPolicy p = policy();
  p.min_idle = 1;
  const PoolId pool = add(p);
  const SessionId alice = session();
  const ConnectionId first = leave_idle(alice, pool);
  EXPECT_EQ(depot->pool(pool).kept(), 1u);
  EXPECT_EQ(take(alice, pool).connection, first);
}

TEST_F(Order, C_TheDeadAreClosedAndTheNextIsTried) {
  const PoolId pool = add(policy());
  const SessionId alice = session();
  const Granted one = take(alice, pool);
  const Granted two = take(alice, pool);
  release(alice, one.lease);
  release(alice, two.lease);
  dead = {two.connection};
  EXPECT_EQ(take(alice, pool).connection, one.connection);
  EXPECT_TRUE(closed(two.connection, CloseReason::dead));
}

TEST_F(Order, C_WhenAllIdleOnesAreDeadAFreshOneIsDialled) {
  const PoolId pool = add(policy());
  const SessionId alice = session();
  const ConnectionId old = leave_idle(alice, pool);
  dead = {old};
  const Granted fresh = take(alice, pool);
  EXPECT_NE(fresh.connection, old);
  EXPECT_TRUE(fresh.fresh);
}

TEST_F(Order, D_WithoutAnIdleOneANewOneIsDialled) {
  const PoolId pool = add(policy());
  EXPECT_TRUE(take(session(), pool).fresh);
}

TEST_F(Order, D_AnothersIdleConnectionIsLeftAloneWhileThereIsRoom) {
  const PoolId pool = add(policy());
  const ConnectionId alices = leave_idle(session(kAlice), pool);
  take(session(kBob), pool);
  EXPECT_EQ(state(alices), State::idle);
}

TEST_F(Order, E_UnderMaxConnectionsTheOneIdleLongestOfOthersGoes) {
  PoolPolicy p = policy();
  p.max_connections = 2;
  const PoolId pool = add(p);
  const SessionId alice = session(kAlice);
  const Granted one = take(alice, pool);
  const Granted two = take(alice, pool);
  release(alice, two.lease);
  pass(1s);
  release(alice, one.lease);
  take(session(kBob), pool);
  EXPECT_TRUE(closed(two.connection, CloseReason::evicted));
  EXPECT_EQ(state(one.connection), State::idle);
}

TEST_F(Order, E_ThePlaceIsFreeOnlyWhenTheSocketIsClosed) {
  PoolPolicy p = policy();
  p.max_connections = 1;
  const PoolId pool = add(p);
  leave_idle(session(kAlice), pool);
  closings = Answer::never;
  const uint64_t bobs = ask(session(kBob), pool);
  EXPECT_EQ(dialed.size(), 1u);
  EXPECT_TRUE(waits(bobs));
  finish_closes();
  EXPECT_TRUE(granted(bobs));
}

TEST_F(Order, E_NothingIsClosedForADialThatCannotStart) {
  PoolPolicy p = policy();
  p.max_connections = 4;
  p.fail_fast = false;
  const PoolId pool = add(p);
  const SessionId alice = session(kAlice);
  const SessionId bob = session(kBob);
  std::vector<Granted> held;
  for (int i = 0; i < 3; ++i) held.push_back(take(alice, pool));
  dials = Answer::no;
  ask(bob, pool);  // its dial fails
  for (const Granted& granted : held) release(alice, granted.lease);
  ask(bob, pool);
  ask(bob, pool);
  EXPECT_EQ(count(pool, State::idle), 3u);
}

TEST_F(Order, E_WhatIsWarmIsNotGivenUpForDialsThatWaitForAProbe) {
  PoolPolicy p = policy();
  p.max_connections = 3;
  p.fail_fast = false;
  const PoolId pool = add(p);
  const SessionId alice = session(kAlice);
  const SessionId bob = session(kBob);
  const Granted one = take(alice, pool);
  const Granted two = take(alice, pool);
  dials = Answer::never;
  closings = Answer::never;
  ask(bob, pool, 30s);  // its dial hangs, and so does the close after dial_timeout
  ask(bob, pool, 30s);
  pass(5s);
  for (const Granted& granted : {one, two}) release(alice, granted.lease);
  pass(200ms);  // the backoff is over
  EXPECT_EQ(count(pool, State::idle), 2u);
  finish_closes();
  EXPECT_EQ(dialing.size(), 1u);
}

TEST_F(Order, F_UnderTheBudgetTheOneIdleLongestOfAnyPoolGoes) {
  start({.fd_limit = 2, .total_max_idle = kUnlimited});
  const PoolId one = add(policy("one"));
  const PoolId two = add(policy("two"));
  const PoolId three = add(policy("three"));
  const SessionId alice = session();
  const ConnectionId older = leave_idle(alice, two);
  pass(1s);
  const ConnectionId newer = leave_idle(alice, one);
  take(alice, three);
  EXPECT_TRUE(closed(older, CloseReason::evicted));
  EXPECT_EQ(state(newer), State::idle);
  EXPECT_EQ(depot->budget().used(), 2u);
}

TEST_F(Order, F_WhatKeepsAPoolAtMinIdleIsNotEvicted) {
  start({.fd_limit = 2, .total_max_idle = kUnlimited});
  PoolPolicy p = policy("ready");
  p.min_idle = 2;
  const PoolId ready = add(p);
  const PoolId other = add(policy("other"));
  const uint64_t request = ask(session(), other, 1s);
  EXPECT_EQ(count(ready, State::idle), 2u);
  pass(1s);
  EXPECT_EQ(code(request), Code::kTimedOut);
  EXPECT_EQ(refusals[request].why->cause, Cause::kNoSlots);
}

TEST_F(Order, G_WhoeverFindsNothingWaitsForARelease) {
  PoolPolicy p = policy();
  p.max_connections = 1;
  const PoolId pool = add(p);
  const SessionId alice = session();
  const Granted held = take(alice, pool);
  const uint64_t request = ask(alice, pool);
  EXPECT_TRUE(waits(request));
  release(alice, held.lease);
  EXPECT_EQ(lease_of(request).connection, held.connection);
}

}  // namespace
}  // namespace berth::pool
