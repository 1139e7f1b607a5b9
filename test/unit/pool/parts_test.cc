// The parts that pools are made of: Deadlines, Backoff, FdBudget, SlotQueue, IdleSet, Actions.
#include <gtest/gtest.h>

#include <array>
#include <random>

#include "pool/actions.h"
#include "pool/backoff.h"
#include "pool/deadlines.h"
#include "pool/fd_budget.h"
#include "pool/idle_set.h"
#include "pool/slot_queue.h"

namespace berth::pool {
namespace {

using namespace std::chrono_literals;

constexpr TimePoint at(Duration since_start) {
  return TimePoint() + since_start;
}

// --- Deadlines ---

TEST(Deadlines, TheSoonestIsTakenFirstAndTiesGoByInsertion) {
  Deadlines deadlines;
  std::array<Deadline, 4> d;
  deadlines.set(d[0], at(2s));
  deadlines.set(d[1], at(1s));
  deadlines.set(d[2], at(2s));
  deadlines.set(d[3], at(1s));
  EXPECT_EQ(deadlines.next(), at(1s));
  for (const size_t i : {1u, 3u, 0u, 2u}) EXPECT_EQ(deadlines.pop_due(at(2s)), &d[i]);
  EXPECT_EQ(deadlines.pop_due(at(1h)), nullptr);
  EXPECT_EQ(deadlines.next(), kNever);
}

TEST(Deadlines, NothingIsDueBeforeItsTime) {
  Deadlines deadlines;
  Deadline d;
  deadlines.set(d, at(5s));
  EXPECT_EQ(deadlines.pop_due(at(5s - 1ns)), nullptr);
  EXPECT_EQ(deadlines.pop_due(at(5s)), &d);
  EXPECT_EQ(d.when, kNever);
}

TEST(Deadlines, OneIsMovedClearedAndSetAgain) {
  Deadlines deadlines;
  std::array<Deadline, 3> d;
  for (Deadline& each : d) deadlines.set(each, at(1s));
  deadlines.set(d[0], at(3s));
  deadlines.clear(d[1]);
  deadlines.clear(d[1]);
  EXPECT_EQ(deadlines.size(), 2u);
  EXPECT_EQ(deadlines.pop_due(at(1s)), &d[2]);
  EXPECT_EQ(deadlines.next(), at(3s));
  deadlines.set(d[2], at(2s));
  EXPECT_EQ(deadlines.next(), at(2s));
}

TEST(Deadlines, AgreeWithASortedListUnderRandomUse) {
  std::minstd_rand random(7);
  Deadlines deadlines;
  std::array<Deadline, 200> d;
  for (int round = 0; round < 5000; ++round) {
    Deadline& one = d[random() % d.size()];
    deadlines.set(one, random() % 4 == 0 ? kNever : at(Duration(random() % 1000)));
    TimePoint soonest = kNever;
    size_t filed = 0;
    for (const Deadline& each : d) {
      soonest = std::min(soonest, each.when);
      filed += each.when != kNever;
    }
    ASSERT_EQ(deadlines.next(), soonest);
    ASSERT_EQ(deadlines.size(), filed);
  }
}

// --- Backoff ---

TEST(Backoff, GrowsFromAHundredMillisecondsWithinTwentyPercentAndNeverBeyondTenSeconds) {
  for (uint64_t seed = 0; seed < 100; ++seed) {
    Random random(seed);
    Backoff backoff;
    TimePoint now = at(1h);
    double wait = 100;
    for (int i = 0; i < 40; ++i) {
      backoff.fail(now, now, random);
      const double ms = std::chrono::duration<double, std::milli>(backoff.ready_at() - now).count();
      EXPECT_GE(ms, wait * 0.8 - 0.01);
      EXPECT_LE(ms, wait * 1.2 + 0.01);
      EXPECT_LE(ms, 10'000);
      EXPECT_TRUE(backoff.waits(now));
      EXPECT_FALSE(backoff.waits(backoff.ready_at()));
      now = backoff.ready_at() + 1ms;
      wait = std::min(wait * 1.6, 10'000 / 1.2);
    }
  }
}

TEST(Backoff, JitterKeepsManyFromComingBackTogether) {
  Random random(1);
  std::array<Backoff, 50> many;
  for (Backoff& each : many) each.fail(at(1s), at(0s), random);
  const auto [first, last] = std::minmax_element(
      many.begin(), many.end(),
      [](const Backoff& a, const Backoff& b) { return a.ready_at() < b.ready_at(); });
  EXPECT_GT(last->ready_at() - first->ready_at(), 20ms);
}

TEST(Backoff, DialsThatFailSideBySideCountOnce) {
  Random random(1);
  Backoff backoff;
  for (int i = 0; i < 20; ++i) backoff.fail(at(1s + i * 1ms), at(900ms), random);
  EXPECT_EQ(backoff.failures(), 20u);
  EXPECT_LE(backoff.ready_at(), at(1s + 120ms));
}

TEST(Backoff, SoDoThoseThatFailInTheTurnInWhichTheyStarted) {
  Random random(1);
  Backoff backoff;
  for (int i = 0; i < 20; ++i) backoff.fail(at(1s), at(1s), random);
  EXPECT_LE(backoff.ready_at(), at(1s + 120ms));
}

TEST(Backoff, LiftedItIsOverAndGoesOnWhereItWasWithTheNextFailure) {
  Random random(1);
  Backoff backoff;
  backoff.fail(at(1s), at(0s), random);
  backoff.lift();
  EXPECT_FALSE(backoff.waits(at(1s)));
  backoff.fail(at(1s), at(1s), random);
  EXPECT_GE(backoff.ready_at(), at(1s + 128ms)) << "the second wait, also in the same turn";
}

TEST(Backoff, ASuccessEndsIt) {
  Random random(1);
  Backoff backoff;
  backoff.fail(at(1s), at(0s), random);
  backoff.succeed();
  EXPECT_EQ(backoff.failures(), 0u);
  EXPECT_FALSE(backoff.waits(at(1s)));
}

// --- FdBudget ---

TEST(FdBudget, GivesAllOrNothing) {
  FdBudget budget(3);
  EXPECT_TRUE(budget.reserve(2));
  EXPECT_FALSE(budget.reserve(2));
  EXPECT_EQ(budget.used(), 2u);
  EXPECT_TRUE(budget.reserve(1));
  EXPECT_FALSE(budget.reserve(UINT32_MAX));
  budget.release(3);
  EXPECT_EQ(budget.free(), 3u);
}

TEST(FdBudgetDeathTest, GivingBackMoreThanWasTakenIsOurFault) {
  FdBudget budget(3);
  EXPECT_DEATH(budget.release(1), "only reserved descriptors are given back");
}

// --- SlotQueue ---

TEST(SlotQueue, StandsByArrival) {
  SlotQueue queue;
  const PoolId one(1, 1);
  const PoolId two(2, 1);
  EXPECT_FALSE(queue.overtaken_by(5));
  queue.insert(7, one, 2);
  queue.insert(4, two, 3);
  EXPECT_EQ(queue.front(), two);
  EXPECT_EQ(queue.front_need(), 3u);
  EXPECT_EQ(queue.needed(), 5u);
  EXPECT_TRUE(queue.overtaken_by(5));
  EXPECT_FALSE(queue.overtaken_by(4));
  queue.erase(4);
  EXPECT_EQ(queue.front_arrival(), 7u);
  EXPECT_EQ(queue.needed(), 2u);
}

// --- IdleSet ---

class IdleSetTest : public ::testing::Test {
 protected:
  Connection& add(Owner owner, Duration idle_since, size_t min_idle = 0) {
    connections_.push_back(std::make_unique<Connection>());
    Connection& connection = *connections_.back();
    connection.owner = owner;
    connection.idle_since = at(idle_since);
    idle.insert(connection, min_idle);
    return connection;
  }

  static constexpr Owner kAlice{0, 1000};
  static constexpr Owner kBob{0, 1001};
  EvictionOrder evictable;
  IdleSet idle{evictable};

 private:
  std::vector<std::unique_ptr<Connection>> connections_;
};

TEST_F(IdleSetTest, OneHasOwnOnesAndNobodysNeverAnothers) {
  Connection& bobs = add(kBob, 3s);
  EXPECT_EQ(idle.best_own(kAlice, IdleOrder::lifo, {}), nullptr);
  EXPECT_EQ(idle.best_nobodys(kAlice, IdleOrder::lifo, {}), nullptr);
  Connection& nobodys = add(Owner(), 2s);
  EXPECT_EQ(idle.best_nobodys(kAlice, IdleOrder::lifo, {}), &nobodys);
  Connection& own = add(kAlice, 1s);
  EXPECT_EQ(idle.best_own(kAlice, IdleOrder::lifo, {}), &own);
  EXPECT_EQ(idle.best_own(kBob, IdleOrder::fifo, {}), &bobs);
  EXPECT_EQ(idle.available(kAlice, {}), 2u);
}

TEST_F(IdleSetTest, WhatAnEarlierOwnerIsEntitledToIsNotForALaterRequest) {
  add(kAlice, 1s);
  add(Owner(), 2s);
  Connection& bobs = add(kBob, 3s);
  EXPECT_EQ(idle.best_own(kAlice, IdleOrder::lifo, {kAlice}), nullptr);
  EXPECT_EQ(idle.best_own(kBob, IdleOrder::lifo, {kAlice}), &bobs);
  EXPECT_EQ(idle.best_nobodys(kBob, IdleOrder::lifo, {kAlice}), nullptr);
  idle.remove(bobs);
  EXPECT_EQ(idle.available(kBob, {kAlice}), 0u);
}

TEST_F(IdleSetTest, OneThatIsSetAsideIsStillKeptOrEvictable) {
  Connection& kept = add(Owner(), 1s, 1);
  Connection& other = add(Owner(), 2s, 1);
  idle.set_aside(kept);
  idle.set_aside(other);
  EXPECT_EQ(idle.best_nobodys(kAlice, IdleOrder::lifo, {}), nullptr);
  EXPECT_EQ(idle.kept(), 1u);
  EXPECT_TRUE(evictable.empty());
  EXPECT_EQ(idle.remove(kept), nullptr);  // the other one cannot take its place before it is back
  idle.take_back(other, 1);
  EXPECT_TRUE(other.kept);
  EXPECT_TRUE(evictable.order().empty());
}

TEST_F(IdleSetTest, OneThatWasCollectedReturnsToItsOldPlace) {
  add(kAlice, 1s);
  Connection& second = add(kAlice, 2s);
  Connection& third = add(kAlice, 3s);
  idle.remove(second);
  idle.insert(second, 0);
  EXPECT_EQ(idle.best_own(kAlice, IdleOrder::lifo, {}), &third);
  EXPECT_EQ(EvictionOrder::Order::next(second), &third);
}

TEST_F(IdleSetTest, TheKeptAreNotEvictableAndAreReplaced) {
  Connection& kept = add(Owner(), 1s, 1);
  Connection& spare = add(Owner(), 2s, 1);
  EXPECT_TRUE(kept.kept);
  EXPECT_FALSE(spare.kept);
  EXPECT_EQ(evictable.size(), 1u);
  EXPECT_EQ(idle.remove(kept), &spare);
  EXPECT_TRUE(evictable.empty());
  EXPECT_EQ(idle.remove(spare), nullptr);
  EXPECT_EQ(idle.kept(), 0u);
}

// --- Actions ---

TEST(Actions, ComeOutInTheOrderTheyWentInAndMayBeAddedMeanwhile) {
  Actions actions;
  actions.add(Close{ConnectionId(1, 1), CloseReason::dead});
  actions.add(Close{ConnectionId(2, 1), CloseReason::dead});
  EXPECT_EQ(std::get<Close>(actions.take()).connection, ConnectionId(1, 1));
  actions.add(Close{ConnectionId(3, 1), CloseReason::idle});
  EXPECT_EQ(actions.pending().size(), 2u);
  EXPECT_EQ(std::get<Close>(actions.take()).connection, ConnectionId(2, 1));
  EXPECT_EQ(std::get<Close>(actions.take()).connection, ConnectionId(3, 1));
  EXPECT_TRUE(actions.empty());
}

}  // namespace
}  // namespace berth::pool
