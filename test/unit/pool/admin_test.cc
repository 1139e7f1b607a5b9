// What an administrator does to a pool, the limits on how long a lease is held, and the journal.
#include "unit/pool/pool_fixture.h"

namespace berth::pool {
namespace {

class Admin : public PoolTest {
 protected:
  void set(PoolId pool, Intake intake) {
    depot->set_intake(now, pool, intake, actions);
    carry_out();
  }
  size_t evict(PoolId pool, size_t most = SIZE_MAX) {
    const size_t closed = depot->evict(now, pool, most, actions);
    carry_out();
    return closed;
  }
  size_t expire() {
    size_t sum = 0;
    for (const Depot::Expired& expired : depot->expire(now, actions)) sum += expired.closed;
    carry_out();
    return sum;
  }
  bool revoke(LeaseId lease) {
    const bool known = depot->revoke(now, lease, actions);
    carry_out();
    return known;
  }
  std::vector<EventKind> kinds() {
    std::vector<Event> events;
    depot->journal().take(events);
    std::vector<EventKind> kinds;
    for (const Event& event : events) kinds.push_back(event.kind);
    return kinds;
  }
  const Counters& counters(PoolId pool) const { return depot->pool(pool).counters(); }
};

// --- rule 17 ---

TEST_F(Admin, APausedPoolLetsRequestsWaitBesideIdleConnections) {
  const PoolId pool = add(policy());
  const SessionId alice = session();
  const ConnectionId idle = leave_idle(alice, pool);
  set(pool, Intake::paused);
  const uint64_t first = ask(alice, pool);
  const uint64_t second = ask(alice, pool);
  EXPECT_TRUE(waits(first));
  EXPECT_EQ(dialed.size(), 1u) << "nothing is dialled for them";
  set(pool, Intake::open);
  EXPECT_EQ(lease_of(first).connection, idle);
  EXPECT_TRUE(granted(second));
}

TEST_F(Admin, APauseIsNamedAsTheCauseOfATimeout) {
  const PoolId pool = add(policy());
  set(pool, Intake::paused);
  const uint64_t waiting = ask(session(), pool, 1s);
  const uint64_t impatient = ask(session(), pool, 0s);
  EXPECT_EQ(refusals.at(impatient).why->cause, Cause::kPaused);
  pass(1s);
  EXPECT_EQ(code(waiting), Code::kTimedOut);
  EXPECT_EQ(refusals.at(waiting).why->cause, Cause::kPaused);
}

TEST_F(Admin, ADialThatEndsDuringAPauseGoesIdle) {
  dials = Answer::never;
  const PoolId pool = add(policy());
  const uint64_t waiting = ask(session(), pool);
  set(pool, Intake::paused);
  dial_succeeds(dialed[0]);
  EXPECT_TRUE(waits(waiting));
  EXPECT_EQ(state(dialed[0]), State::idle);
  set(pool, Intake::open);
  EXPECT_EQ(lease_of(waiting).connection, dialed[0]);
}

TEST_F(Admin, APauseGivesBackWhatABatchHadCollected) {
  PoolPolicy p = policy();
  p.max_connections = 2;
  const PoolId pool = add(p);
  const SessionId alice = session();
  const Granted held = take(alice, pool);
  leave_idle(alice, pool);
  const uint64_t batch = ask(alice, pool, 30s, 2);
  EXPECT_EQ(count(pool, State::leased), 2u);
  set(pool, Intake::paused);
  EXPECT_EQ(count(pool, State::idle), 1u);
  release(alice, held.lease);
  EXPECT_TRUE(waits(batch));
  set(pool, Intake::open);
  EXPECT_TRUE(granted(batch));
}

TEST_F(Admin, APausedPoolDoesNotFailFast) {
  dials = Answer::no;
  const PoolId pool = add(policy());
  set(pool, Intake::paused);
  const uint64_t waiting = ask(session(), pool);
  pass(1s);
  EXPECT_TRUE(waits(waiting));
  set(pool, Intake::open);
  EXPECT_EQ(code(waiting), Code::kUpstreamDown);
}

TEST_F(Admin, NorDoesOneWhoseReserveCannotBeDialled) {
  dials = Answer::no;
  PoolPolicy p = policy();
  p.min_idle = 1;
  const PoolId pool = add(p);
  set(pool, Intake::paused);
  EXPECT_TRUE(waits(ask(session(), pool)));
}

TEST_F(Admin, APausedPoolKeepsItsReserveReady) {
  PoolPolicy p = policy();
  p.min_idle = 2;
  const PoolId pool = add(p);
  set(pool, Intake::paused);
  lose(dialed[0]);
  EXPECT_EQ(count(pool, State::idle), 2u);
}

TEST_F(Admin, APausedPoolDoesNotKeepOthersFromTheirSlots) {
  start({.fd_limit = 1});
  const PoolId first = add(policy("first"));
  const PoolId second = add(policy("second"));
  const Granted held = take(session(), first);
  const uint64_t earlier = ask(session(), first, 30s);
  const uint64_t later = ask(session(), second, 30s);
  set(first, Intake::paused);
  depot->end_session(now, depot->lease(held.lease)->session->id, actions);
  carry_out();
  EXPECT_TRUE(waits(earlier));
  EXPECT_TRUE(granted(later));
}

TEST_F(Admin, ADisabledPoolRefusesThoseWhoComeAndThoseWhoWait) {
  PoolPolicy p = policy();
  p.max_connections = 1;
  const PoolId pool = add(p);
  const SessionId alice = session();
  const Granted held = take(alice, pool);
  const uint64_t waiting = ask(alice, pool);
  set(pool, Intake::disabled);
  EXPECT_EQ(code(waiting), Code::kDisabled);
  EXPECT_EQ(code(ask(alice, pool)), Code::kDisabled);
  EXPECT_TRUE(release(alice, held.lease)) << "what is leased may come back";
  EXPECT_EQ(state(held.connection), State::idle);
  set(pool, Intake::open);
  EXPECT_EQ(take(alice, pool).connection, held.connection);
}

TEST_F(Admin, ADisabledPoolDialsNothing) {
  PoolPolicy p = policy();
  p.min_idle = 1;
  const PoolId pool = add(p);
  set(pool, Intake::disabled);
  lose(dialed[0]);
  pass(1min);
  EXPECT_EQ(dialed.size(), 1u);
  set(pool, Intake::open);
  EXPECT_EQ(count(pool, State::idle), 1u);
}

TEST_F(Admin, AGrantTakenBackFromADisabledPoolIsRefused) {
  const PoolId pool = add(policy());
  const SessionId alice = session();
  leave_idle(alice, pool);
  depot->request(now, alice, pool, {77, 1, 5s}, actions);
  const Grant grant = std::get<Grant>(actions.take());
  depot->set_intake(now, pool, Intake::disabled, actions);
  depot->take_back(now, grant, grant.leases[0].connection, CloseReason::dead, actions);
  carry_out();
  EXPECT_EQ(code(77), Code::kDisabled);
}

TEST_F(Admin, WhatIsTakenBackFromADisabledPoolStaysWithinMaxIdle) {
  PoolPolicy p = policy();
  p.max_idle = 1;
  const PoolId pool = add(p);
  const SessionId alice = session();
  dials = closings = Answer::never;
  depot->request(now, alice, pool, {77, 3, 5s}, actions);
  carry_out();
  for (const ConnectionId id : dialing) depot->dialed(now, id, actions);
  const Grant grant = std::get<Grant>(actions.take());
  depot->set_intake(now, pool, Intake::disabled, actions);
  depot->take_back(now, grant, grant.leases[0].connection, CloseReason::dead, actions);
  carry_out();
  EXPECT_EQ(code(77), Code::kDisabled);
  EXPECT_EQ(count(pool, State::idle), 1u);
}

// --- evict ---

TEST_F(Admin, EvictClosesTheLongestIdleFirstAndLeavesLeases) {
  const PoolId pool = add(policy());
  const SessionId alice = session();
  const Granted one = take(alice, pool);
  const Granted two = take(alice, pool);
  take(alice, pool);
  release(alice, one.lease);
  pass(1s);
  release(alice, two.lease);
  EXPECT_EQ(evict(pool, 1), 1u);
  EXPECT_TRUE(closed(one.connection, CloseReason::evicted));
  EXPECT_EQ(evict(pool), 1u);
  EXPECT_EQ(evict(pool), 0u);
  EXPECT_EQ(count(pool, State::leased), 1u);
}

TEST_F(Admin, EvictedReservesAreDialledAnew) {
  PoolPolicy p = policy();
  p.min_idle = 2;
  const PoolId pool = add(p);
  EXPECT_EQ(evict(pool), 2u);
  EXPECT_EQ(count(pool, State::idle), 2u);
  EXPECT_EQ(dialed.size(), 4u);
}

// --- rule 16 ---

TEST_F(Admin, ExpireClosesWhatIsIdleThroughTwoTicks) {
  const PoolId pool = add(policy());
  const SessionId alice = session();
  const ConnectionId idle = leave_idle(alice, pool);
  EXPECT_EQ(expire(), 0u);
  EXPECT_EQ(expire(), 1u);
  EXPECT_TRUE(closed(idle, CloseReason::expired));
  EXPECT_EQ(expire(), 0u);
}

TEST_F(Admin, WhoHasNoTimeUsesNothingOfABatchThatHeCannotHaveWhole) {
  const PoolId pool = add(policy());
  const SessionId alice = session();
  leave_idle(alice, pool);
  EXPECT_EQ(expire(), 0u);
  EXPECT_EQ(code(ask(alice, pool, 0s, 2)), Code::kTimedOut);
  EXPECT_EQ(expire(), 1u);
}

TEST_F(Admin, ExpireSparesWhatWasUsedBetweenTheTicks) {
  const PoolId pool = add(policy());
  const SessionId alice = session();
  leave_idle(alice, pool);
  EXPECT_EQ(expire(), 0u);
  leave_idle(alice, pool);
  EXPECT_EQ(expire(), 0u);
  EXPECT_EQ(count(pool, State::idle), 1u);
}

TEST_F(Admin, ExpireSparesTheReserveAndLeases) {
  PoolPolicy p = policy();
  p.min_idle = 1;
  const PoolId pool = add(p);
  take(session(kBob), pool);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(expire(), 0u);
  EXPECT_EQ(count(pool, State::idle), 1u);
}

TEST_F(Admin, ExpireTellsOfEachPool) {
  const SessionId alice = session();
  const PoolId one = add(policy("one"));
  const PoolId two = add(policy("two"));
  add(policy("none"));
  leave_idle(alice, one);
  leave_idle(alice, two);
  depot->expire(now, actions);
  const std::vector<Depot::Expired> expired = depot->expire(now, actions);
  ASSERT_EQ(expired.size(), 2u);
  EXPECT_EQ(expired[0].pool, one);
  EXPECT_EQ(expired[1].pool, two);
  EXPECT_EQ(expired[0].closed, 1u);
}

// --- revocation and rule 12 ---

TEST_F(Admin, RevokeEndsOneLeaseAndTellsItsSession) {
  PoolPolicy p = policy();
  p.max_connections = 1;
  const PoolId pool = add(p);
  const SessionId alice = session();
  const Granted held = take(alice, pool);
  const uint64_t waiting = ask(alice, pool);
  EXPECT_TRUE(revoke(held.lease));
  EXPECT_EQ(revoked, std::vector{held.lease});
  EXPECT_TRUE(closed(held.connection, CloseReason::revoked));
  EXPECT_TRUE(granted(waiting));
  EXPECT_FALSE(revoke(held.lease)) << "it is over";
  EXPECT_FALSE(release(alice, held.lease));
}

TEST_F(Admin, ALeaseHeldTooLongIsToldOfOnceThenRevoked) {
  PoolPolicy p = policy();
  p.lease_warn = 10s;
  p.lease_timeout = 30s;
  const PoolId pool = add(p);
  const Granted held = take(session(), pool);
  pass(10s - 1ns);
  EXPECT_EQ(counters(pool).of(EventKind::lease_warning), 0u);
  pass(1ns);
  EXPECT_EQ(counters(pool).of(EventKind::lease_warning), 1u);
  pass(19s);
  EXPECT_EQ(counters(pool).of(EventKind::lease_warning), 1u);
  EXPECT_TRUE(revoked.empty());
  pass(1s);
  EXPECT_EQ(revoked, std::vector{held.lease});
  EXPECT_TRUE(closed(held.connection, CloseReason::revoked));
}

TEST_F(Admin, EachOfTheLeaseLimitsWorksAlone) {
  PoolPolicy p = policy("warns");
  p.lease_warn = 10s;
  const PoolId warns = add(p);
  p = policy("revokes");
  p.lease_timeout = 10s;
  const PoolId revokes = add(p);
  take(session(), warns);
  const Granted held = take(session(), revokes);
  pass(1h);
  EXPECT_EQ(counters(warns).of(EventKind::lease_warning), 1u);
  EXPECT_EQ(count(warns, State::leased), 1u);
  EXPECT_EQ(revoked, std::vector{held.lease});
  EXPECT_EQ(counters(revokes).of(EventKind::lease_warning), 0u);
}

TEST_F(Admin, ALeaseThatCameBackInTimeHasNoDeadline) {
  PoolPolicy p = policy();
  p.lease_timeout = 10s;
  p.idle_timeout = p.max_lifetime = 0s;
  const PoolId pool = add(p);
  leave_idle(session(), pool);
  EXPECT_EQ(depot->next_deadline(), kNever);
  pass(1h);
  EXPECT_TRUE(revoked.empty());
}

// --- the journal ---

TEST_F(Admin, TheJournalTellsOfRareEventsAndOfLeasesOnlyToThoseWhoListen) {
  const PoolId pool = add(policy());
  const SessionId alice = session();
  leave_idle(alice, pool);
  EXPECT_EQ(kinds(), (std::vector{EventKind::dial, EventKind::dialed}));
  depot->journal().listen(true);
  leave_idle(alice, pool);
  ask(session(kEve), pool);
  EXPECT_EQ(kinds(), (std::vector{EventKind::grant, EventKind::release, EventKind::refuse}));
  evict(pool);
  EXPECT_EQ(kinds(), (std::vector{EventKind::evict, EventKind::close}));
  EXPECT_EQ(counters(pool).of(EventKind::grant), 2u);
  EXPECT_EQ(counters(pool).of(Code::kNotPermitted), 1u);
  EXPECT_EQ(counters(pool).of(CloseReason::evicted), 1u);
}

TEST_F(Admin, AnEventNamesWhatItConcerns) {
  dials = Answer::no;
  const PoolId pool = add(policy());
  ask(session(), pool);
  std::vector<Event> events;
  depot->journal().take(events);
  ASSERT_EQ(events.size(), 3u);
  EXPECT_EQ(events[2].kind, EventKind::backoff);
  EXPECT_TRUE(events[2].detail >= 80 && events[2].detail <= 120) << events[2].detail << " ms";
  EXPECT_EQ(events[1].kind, EventKind::dial_failed);
  EXPECT_EQ(events[1].pool, pool);
  EXPECT_EQ(events[1].connection, dialed[0]);
  EXPECT_EQ(events[1].at, now);
  EXPECT_EQ(events[1].text, "tcp://192.0.2.1:6379: refused");
}

TEST(Journal, KeepsABoundedNumberAndCountsTheRest) {
  Journal journal;
  for (int i = 0; i < 100'003; ++i) journal.add({});
  std::vector<Event> events;
  journal.take(events);
  EXPECT_EQ(events.size(), 100'000u);
  EXPECT_EQ(journal.dropped(), 3u);
  EXPECT_TRUE(journal.empty());
}

}  // namespace
}  // namespace berth::pool
