// Those who wait: deadlines, order, withdrawal, and what they are told (rules 8, 10, 11).
#include "unit/pool/pool_fixture.h"

namespace berth::pool {
namespace {

class Waiters : public PoolTest {
 protected:
  PoolPolicy small(int max_connections) {
    PoolPolicy p = policy();
    p.max_connections = max_connections;
    return p;
  }
};

TEST_F(Waiters, AreServedInTheOrderOfArrival) {
  const PoolId pool = add(small(1));
  const SessionId alice = session();
  const Granted held = take(alice, pool);
  const uint64_t first = ask(alice, pool);
  const uint64_t second = ask(alice, pool);
  release(alice, held.lease);
  EXPECT_TRUE(granted(first));
  EXPECT_TRUE(waits(second));
}

TEST_F(Waiters, ALaterOneTakesWhatNoEarlierMayHave) {
  PoolPolicy p = small(4);
  p.fail_fast = false;
  const PoolId pool = add(p);
  const SessionId bob = session(kBob);
  const Granted bobs = take(bob, pool);
  dials = Answer::never;
  const uint64_t alices = ask(session(kAlice), pool);
  const uint64_t later = ask(bob, pool);
  release(bob, bobs.lease);
  EXPECT_TRUE(waits(alices));
  EXPECT_TRUE(granted(later));
}

TEST_F(Waiters, ExpiredWaiterIsRefusedBeforeANewGrant) {
  const PoolId pool = add(small(1));
  const SessionId alice = session();
  const Granted held = take(alice, pool);
  const uint64_t expired = ask(alice, pool, 1s);
  const uint64_t patient = ask(alice, pool, 10s);
  pass_unnoticed(2s);
  release(alice, held.lease);  // before the timer has fired
  EXPECT_EQ(code(expired), Code::kTimedOut);
  EXPECT_TRUE(granted(patient));
  EXPECT_EQ(answered.back(), patient);
}

TEST_F(Waiters, OneDueInTheSameTurnIsNotGrantedWhatAnotherGivesUp) {
  const PoolId pool = add(small(2));
  const SessionId alice = session();
  const Granted one = take(alice, pool);
  take(alice, pool);
  const uint64_t batch = ask(alice, pool, 1s, 2);
  const uint64_t single = ask(alice, pool, 2s);
  release(alice, one.lease);  // collected by the batch
  pass_unnoticed(3s);
  advance();
  EXPECT_EQ(code(batch), Code::kTimedOut);
  EXPECT_EQ(code(single), Code::kTimedOut);
  EXPECT_EQ(count(pool, State::idle), 1u);
}

TEST_F(Waiters, TimeoutZeroTakesWhatIsIdleOrIsRefusedAtOnceAndDialsNothing) {
  const PoolId pool = add(policy());
  const SessionId alice = session();
  EXPECT_EQ(code(ask(alice, pool, 0s)), Code::kTimedOut);
  EXPECT_TRUE(dialed.empty());
  leave_idle(alice, pool);
  EXPECT_TRUE(granted(ask(alice, pool, 0s)));
}

TEST_F(Waiters, ANegativeTimeoutIsAsZero) {
  const PoolId pool = add(policy());
  const SessionId alice = session();
  leave_idle(alice, pool);
  EXPECT_TRUE(granted(ask(alice, pool, -1s)));
  EXPECT_EQ(code(ask(alice, pool, -1s)), Code::kTimedOut);
  EXPECT_EQ(code(ask(alice, pool, Duration::min())), Code::kTimedOut);
}

TEST_F(Waiters, AnEndlessTimeoutHasNoDeadline) {
  const PoolId pool = add(small(1));
  const SessionId alice = session();
  take(alice, pool);
  const uint64_t request = ask(alice, pool, Duration::max());
  pass(24h * 365);
  EXPECT_TRUE(waits(request));
}

TEST_F(Waiters, ImpatientBatchesStartNoDialsForMinIdleEither) {
  PoolPolicy p = small(20);
  p.min_idle = 1;
  dials = Answer::never;
  const PoolId pool = add(p);
  const SessionId alice = session();
  for (int i = 0; i < 10; ++i) ask(alice, pool, 0s, 5);
  EXPECT_EQ(dialed.size(), 1u);
}

TEST_F(Waiters, ACancelledRequestLeaksNothingAndItsDialServesTheNext) {
  dials = Answer::never;
  const PoolId pool = add(policy());
  const SessionId alice = session();
  const uint64_t first = ask(alice, pool);
  const uint64_t second = ask(alice, pool);
  cancel(alice, first);
  EXPECT_EQ(code(first), Code::kCancelled);
  dial_succeeds(dialing[0]);
  EXPECT_TRUE(granted(second));
}

TEST_F(Waiters, TheDialOfOneThatTimedOutGoesIdle) {
  dials = Answer::never;
  const PoolId pool = add(policy());
  const uint64_t request = ask(session(), pool, 1s);
  pass(1s);
  EXPECT_EQ(code(request), Code::kTimedOut);
  dial_succeeds(dialing[0]);
  EXPECT_EQ(count(pool, State::idle), 1u);
}

TEST_F(Waiters, ACancelAfterTheAnswerDoesNothing) {
  const PoolId pool = add(policy());
  const SessionId alice = session();
  const Granted held = take(alice, pool);
  cancel(alice, 1);
  EXPECT_FALSE(refused(1));
  EXPECT_TRUE(release(alice, held.lease));
}

TEST_F(Waiters, TheQueueHasAnEnd) {
  PoolPolicy p = small(1);
  p.max_waiters = 2;
  const PoolId pool = add(p);
  const SessionId alice = session();
  take(alice, pool);
  ask(alice, pool);
  ask(alice, pool);
  const uint64_t request = ask(alice, pool);
  EXPECT_EQ(code(request), Code::kQueueFull);
  EXPECT_EQ(refusals[request].why->cause, Cause::kQueueFull);
  EXPECT_EQ(refusals[request].why->waiting, 2u);
}

TEST_F(Waiters, OneSessionDoesNotFillTheQueueAlone) {
  const PoolId pool = add(small(1));
  const SessionId alice = session();
  take(alice, pool);
  for (uint32_t i = 0; i < kMaxWaitersPerSession; ++i) ask(alice, pool);
  EXPECT_EQ(code(ask(alice, pool)), Code::kQueueFull);
  EXPECT_TRUE(waits(ask(session(), pool)));
}

TEST_F(Waiters, NorDoesOneSessionTakeEverything) {
  start({.fd_limit = 2 * kMaxLeasesPerSession});
  const PoolId pool = add(small(kUnlimited));
  const SessionId alice = session();
  EXPECT_TRUE(granted(ask(alice, pool, 5s, kMaxLeasesPerSession)));
  EXPECT_EQ(code(ask(alice, pool)), Code::kQueueFull);
  EXPECT_TRUE(granted(ask(session(), pool)));
}

// --- rules 10 and 11 ---

TEST_F(Waiters, FailedDialsAreToldToThoseWhoWait) {
  dials = Answer::no;
  const PoolId pool = add(policy());
  const uint64_t request = ask(session(), pool);
  EXPECT_EQ(code(request), Code::kUpstreamDown);
  EXPECT_EQ(refusals[request].why->cause, Cause::kUpstreamDown);
  EXPECT_EQ(refusals[request].why->last_dial_error, "tcp://192.0.2.1:6379: refused");
  EXPECT_EQ(code(ask(session(), pool)), Code::kUpstreamDown);
  EXPECT_EQ(dialed.size(), 1u) << "in backoff nothing is dialled";
}

TEST_F(Waiters, WithoutFailFastTheyWaitAndTheServerIsTriedAgain) {
  PoolPolicy p = policy();
  p.fail_fast = false;
  dials = Answer::no;
  const PoolId pool = add(p);
  const uint64_t request = ask(session(), pool, 30s);
  pass(5s);
  EXPECT_TRUE(waits(request));
  EXPECT_GT(dialed.size(), 4u);
  dials = Answer::yes;
  pass(10s);
  EXPECT_TRUE(granted(request));
}

TEST_F(Waiters, FailFastSparesThoseWhoMayGetALeasedConnection) {
  PoolPolicy p = policy();
  const PoolId pool = add(p);
  const SessionId alice = session();
  const Granted held = take(alice, pool);
  dials = Answer::no;
  const uint64_t request = ask(alice, pool);
  EXPECT_TRUE(waits(request));
  release(alice, held.lease);
  EXPECT_TRUE(granted(request));
}

TEST_F(Waiters, FailFastRefusesThemWhenTheLastConnectionGoes) {
  const PoolId pool = add(policy());
  const SessionId alice = session();
  const Granted held = take(alice, pool);
  dials = Answer::no;
  const uint64_t request = ask(alice, pool);
  release(alice, held.lease, Condition::discarded);
  EXPECT_EQ(code(request), Code::kUpstreamDown);
}

TEST_F(Waiters, ADialThatHangsIsGivenUpAfterDialTimeout) {
  dials = Answer::never;
  const PoolId pool = add(policy());
  const uint64_t request = ask(session(), pool, 30s);
  pass(5s);
  EXPECT_EQ(code(request), Code::kUpstreamDown);
  EXPECT_EQ(refusals[request].why->last_dial_error,
            "tcp://192.0.2.1:6379: no connection within 5 s (dial_timeout)");
  EXPECT_TRUE(closed(dialed[0], CloseReason::dead));
}

TEST_F(Waiters, OneThroughAProxyIsToldWithIt) {
  dials = Answer::never;
  PoolPolicy through = policy();
  through.via = std::get<Proxy>(parse_proxy("socks5://alice@proxy:1080"));
  const uint64_t request = ask(session(), add(through), 30s);
  pass(5s);
  EXPECT_EQ(refusals[request].why->last_dial_error,
            "tcp://192.0.2.1:6379: no connection within 5 s (dial_timeout) through proxy "
            "socks5://proxy:1080");
}

TEST_F(Waiters, ATimeoutTellsWhoHoldsTheConnectionsLongestFirst) {
  const PoolId pool = add(small(2));
  const SessionId alice = session(kAlice);
  const SessionId bob = session(kBob);
  take(alice, pool);
  pass(10s);
  take(bob, pool);
  pass(10s);
  const uint64_t request = ask(bob, pool, 5s);
  pass(5s);
  const Refusal& refusal = refusals[request];
  EXPECT_EQ(refusal.code, Code::kTimedOut);
  EXPECT_EQ(refusal.waited, 5s);
  EXPECT_EQ(refusal.why->cause, Cause::kExhausted);
  EXPECT_EQ(refusal.why->leased, 2u);
  EXPECT_EQ(refusal.why->max_connections, 2u);
  ASSERT_EQ(refusal.why->holders.size(), 2u);
  EXPECT_EQ(refusal.why->holders[0].uid, kAlice);
  EXPECT_EQ(refusal.why->holders[0].held, 25s);
  EXPECT_EQ(refusal.why->holders[1].held, 15s);
}

TEST_F(Waiters, HoldersAreNamedByTheirLeaseNotByWhenABatchCollected) {
  const PoolId pool = add(small(3));
  const SessionId alice = session(kAlice);
  const SessionId bob = session(kBob);
  const Granted one = take(alice, pool);
  take(bob, pool);
  dials = Answer::never;
  const uint64_t batch = ask(alice, pool, 30s, 2);
  release(alice, one.lease);  // collected
  const Granted bobs = lease_of(2);
  pass(2s);
  release(bob, bobs.lease);
  const Granted again = take(bob, pool);
  EXPECT_EQ(again.connection, bobs.connection);
  pass(1s);
  dial_succeeds(dialing[0]);
  ASSERT_TRUE(granted(batch));
  const Why why = depot->pool(pool).why(now);
  ASSERT_EQ(why.holders.size(), 3u);
  EXPECT_EQ(why.holders[0].uid, kBob);
}

}  // namespace
}  // namespace berth::pool
