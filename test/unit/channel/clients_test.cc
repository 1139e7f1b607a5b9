// Local clients, idleness, the administrator, reload, the end; what the ancestors counted.
#include "unit/channel/channel_fixture.h"

namespace berth::channel {
namespace {

using Clients = ChannelTest;

uint32_t order_of(const std::vector<pool::Event>& events, pool::EventKind kind) {
  const auto at = std::find_if(events.begin(), events.end(),
                               [&](const pool::Event& each) { return each.kind == kind; });
  return static_cast<uint32_t>(at - events.begin());
}

TEST_F(Clients, TheFirstDialsAndEachIsTold) {
  hub.listen(true);
  const PoolId pool = add();
  join(pool);
  join(pool);
  EXPECT_EQ(dialed.size(), 1u);
  EXPECT_EQ(events(pool, pool::EventKind::connect), 2u);
  EXPECT_EQ(events(pool, pool::EventKind::cache_miss), 1u);
  std::vector<pool::Event> told;
  hub.take_events(told);
  EXPECT_LT(order_of(told, pool::EventKind::connect), order_of(told, pool::EventKind::cache_miss));
  EXPECT_LT(order_of(told, pool::EventKind::cache_miss), order_of(told, pool::EventKind::count));
}

TEST_F(Clients, UnlessSomebodyListensTheyAreCountedOnly) {
  const PoolId pool = add();
  join(pool);
  std::vector<pool::Event> told;
  hub.take_events(told);
  EXPECT_EQ(order_of(told, pool::EventKind::connect), told.size());
  EXPECT_LT(order_of(told, pool::EventKind::cache_miss), told.size());
  EXPECT_EQ(events(pool, pool::EventKind::connect), 1u);
}

TEST_F(Clients, WhatConcernsAChannelNamesIt) {
  join(add());
  std::vector<pool::Event> told;
  hub.take_events(told);
  const uint32_t dial = order_of(told, pool::EventKind::dial);
  ASSERT_LT(dial, told.size());
  EXPECT_EQ(told[dial].channel, dialed[0]);
  EXPECT_FALSE(told[dial].connection.valid());
}

TEST_F(Clients, TheCountRisesAndFalls) {
  const PoolId pool = add();
  join(pool);
  leave(pool);
  pass(10min);
  std::vector<pool::Event> told;
  hub.take_events(told);
  std::vector<uint64_t> counts;
  for (const pool::Event& each : told) {
    if (each.kind == pool::EventKind::count) counts.push_back(each.detail);
  }
  EXPECT_EQ(counts, (std::vector<uint64_t>{1, 0}));
}

TEST_F(Clients, WithoutThemChannelsAreIdleAndClose) {
  const PoolId pool = add();
  join(pool);
  leave(pool);
  pass(10min - 1ns);
  EXPECT_TRUE(closes.empty());
  pass(1ns);
  EXPECT_TRUE(closed(dialed[0], CloseReason::idle));
  join(pool);
  EXPECT_EQ(dialed.size(), 2u);
  EXPECT_EQ(events(pool, pool::EventKind::cache_miss), 2u);
}

TEST_F(Clients, AStreamIsUseToo) {
  const PoolId pool = add();
  const StreamId stream = open(pool);
  pass(20min);
  EXPECT_EQ(state(dialed[0]), State::ready);
  end(stream);
  pass(10min);
  EXPECT_EQ(hub.pool(pool)->channels(), 0u);
}

TEST_F(Clients, TwoTicksOfExpireCloseWhatNobodyUses) {
  const PoolId used = add();
  const PoolId unused = add();
  join(used);
  join(unused);
  leave(unused);
  EXPECT_TRUE(hub.expire(now, actions).empty());
  const std::vector<Hub::Expired> expired = hub.expire(now, actions);
  carry_out();
  ASSERT_EQ(expired.size(), 1u);
  EXPECT_EQ(expired[0].pool, unused);
  EXPECT_EQ(expired[0].closed, 1u);
  EXPECT_TRUE(closed(dialed[1], CloseReason::expired));
}

TEST_F(Clients, UseBetweenTwoTicksKeepsAChannel) {
  const PoolId pool = add();
  end(open(pool));
  hub.expire(now, actions);
  end(open(pool));
  EXPECT_TRUE(hub.expire(now, actions).empty());
  EXPECT_EQ(hub.expire(now, actions).size(), 1u);
  carry_out();
}

TEST_F(Clients, EvictedChannelsWithoutStreamsAreDialledAgainWhileClientsAreThere) {
  const PoolId pool = add();
  join(pool);
  EXPECT_EQ(hub.evict(now, pool, SIZE_MAX, actions), 1u);
  carry_out();
  EXPECT_TRUE(closed(dialed[0], CloseReason::evicted));
  EXPECT_EQ(dialed.size(), 2u);
  leave(pool);
  EXPECT_EQ(hub.evict(now, pool, SIZE_MAX, actions), 1u);
  carry_out();
  EXPECT_EQ(hub.pool(pool)->channels(), 0u);
}

TEST_F(Clients, AChannelWithAStreamIsNotEvicted) {
  const PoolId pool = add();
  const StreamId stream = open(pool);
  EXPECT_EQ(hub.evict(now, pool, SIZE_MAX, actions), 0u);
  carry_out();
  EXPECT_EQ(channel_of(stream), dialed[0]);
  EXPECT_EQ(events(pool, pool::EventKind::evict), 1u);
}

TEST_F(Clients, TheOldestIsEvictedFirst) {
  const PoolId pool = add(policy(), 2);
  join(pool);
  pass(1s);
  EXPECT_EQ(hub.evict(now, pool, 1, actions), 1u);
  carry_out();
  EXPECT_TRUE(closed(dialed[0], CloseReason::evicted));
  EXPECT_EQ(count(pool, State::ready), 2u) << "it has a successor, which is younger than the other";
  EXPECT_EQ(hub.evict(now, pool, 1, actions), 1u);
  carry_out();
  EXPECT_TRUE(closed(dialed[1], CloseReason::evicted));
}

TEST_F(Clients, FailuresAreCountedUntilAPlaceWorks) {
  dials = Answer::no;
  const PoolId pool = add();
  join(pool);
  EXPECT_EQ(hub.pool(pool)->failures(), 1u);
  dials = Answer::yes;
  pass(1s);
  EXPECT_EQ(hub.pool(pool)->failures(), 0u);
}

TEST_F(Clients, WhilePausedNewStreamsWaitAndNothingIsDialled) {
  const PoolId pool = add();
  hub.set_intake(now, pool, pool::Intake::paused, actions);
  const StreamId stream = open(pool);
  EXPECT_TRUE(waits(stream));
  EXPECT_TRUE(dialed.empty());
  hub.set_intake(now, pool, pool::Intake::open, actions);
  carry_out();
  EXPECT_TRUE(channel_of(stream).valid());
}

TEST_F(Clients, WhilePausedThoseOnChannelsGoOn) {
  const PoolId pool = add();
  const StreamId stream = open(pool);
  hub.set_intake(now, pool, pool::Intake::paused, actions);
  EXPECT_EQ(channel_of(stream), dialed[0]);
  const StreamId late = open(pool);
  pass(5s);
  EXPECT_NE(text(late).find("greeter is paused"), std::string::npos);
  end(stream);
}

TEST_F(Clients, DisabledThoseWhoWaitAndWhoComeAreEnded) {
  const PoolId pool = add();
  hub.set_intake(now, pool, pool::Intake::paused, actions);
  const StreamId waiting = open(pool);
  hub.set_intake(now, pool, pool::Intake::disabled, actions);
  carry_out();
  EXPECT_EQ(text(waiting), "greeter is disabled");
  EXPECT_EQ(code(open(pool)), GrpcCode::unavailable);
}

TEST_F(Clients, ARemovedPoolFinishesItsStreamsAndGoes) {
  const PoolId pool = add();
  const StreamId stream = open(pool);
  hub.remove_pool(now, pool, actions);
  carry_out();
  EXPECT_EQ(state(dialed[0]), State::draining);
  EXPECT_EQ(text(open(pool)), "greeter has left the configuration");
  end(stream);
  EXPECT_TRUE(closed(dialed[0], CloseReason::removed));
  EXPECT_EQ(hub.pool(pool), nullptr);
  EXPECT_EQ(code(open(pool)), GrpcCode::unavailable);
}

TEST_F(Clients, ReloadTakesLimitsAtOnce) {
  max_streams = 1;
  ChannelPolicy p = policy();
  p.max_channels = 1;
  const PoolId pool = add(p);
  const std::vector<StreamId> streams = open(pool, 2);
  p.max_channels = 2;
  hub.reconfigure_pool(now, pool, p, actions);
  carry_out();
  EXPECT_EQ(channel_of(streams[1]), dialed[1]);
  p.max_channels = 1;
  hub.reconfigure_pool(now, pool, p, actions);
  carry_out();
  EXPECT_EQ(count(pool, State::ready), 1u);
  EXPECT_EQ(count(pool, State::draining), 1u);
}

TEST_F(Clients, ReloadDrainsEndpointsThatHaveLeft) {
  ChannelPolicy p = policy();
  p.endpoints.push_back({Endpoint::Kind::tcp, "b", 1, ""});
  resolves = Answer::never;
  const PoolId pool = add(p);
  join(pool);
  resolve(pool, {"a:1"}, 0);
  resolve(pool, {"b:1"}, 1);
  const std::vector<StreamId> streams = open(pool, 2);
  p.endpoints.erase(p.endpoints.begin());
  hub.reconfigure_pool(now, pool, p, actions);
  carry_out();
  EXPECT_EQ(state(dialed[0]), State::draining);
  EXPECT_EQ(state(dialed[1]), State::ready);
  EXPECT_EQ(hub.channel(dialed[1])->subchannel->endpoint, 0u);
}

TEST_F(Clients, AnAnswerToAQuestionFromBeforeAReloadIsNotTaken) {
  resolves = Answer::never;
  ChannelPolicy p = policy();
  const PoolId pool = add(p);
  join(pool);
  p.endpoints = {{Endpoint::Kind::tcp, "b", 1, ""}};
  hub.reconfigure_pool(now, pool, p, actions);
  carry_out();
  EXPECT_EQ(looked_up.size(), 1u);
  resolve(pool, {"a:1"});
  EXPECT_TRUE(dialed.empty());
  ASSERT_EQ(looked_up.size(), 2u);
  resolve(pool, {"b:1"});
  EXPECT_EQ(addresses_dialed, std::vector<std::string>{"b:1"});
}

TEST_F(Clients, ReloadWithoutHealthMakesReadyWhatIsChecked) {
  ChannelPolicy p = policy();
  p.health = true;
  const PoolId pool = add(p);
  const StreamId stream = open(pool);
  p.health = false;
  hub.reconfigure_pool(now, pool, p, actions);
  carry_out();
  EXPECT_EQ(channel_of(stream), dialed[0]);
}

TEST_F(Clients, ShutdownEndsThoseWhoWaitAndWaitsForThoseOnChannels) {
  ChannelPolicy p = policy();
  p.max_channels = 1;
  max_streams = 1;
  const PoolId pool = add(p);
  const std::vector<StreamId> streams = open(pool, 2);
  hub.shut_down(now, actions);
  carry_out();
  EXPECT_EQ(text(streams[1]), "berthd is shutting down");
  EXPECT_FALSE(hub.drained());
  EXPECT_EQ(text(open(pool)), "berthd is shutting down");
  end(streams[0]);
  EXPECT_TRUE(closed(dialed[0], CloseReason::shutdown));
  EXPECT_TRUE(hub.drained());
  EXPECT_EQ(hub.next_deadline(), kNever);
}

TEST_F(Clients, ShutdownEndsAfterDrainTimeoutAtTheLatest) {
  const StreamId stream = open(add());
  hub.shut_down(now, actions);
  carry_out();
  EXPECT_FALSE(refuse(stream)) << "nothing is retried any more";
  end(stream);
  pass(30s);
  EXPECT_TRUE(hub.drained());
}

}  // namespace
}  // namespace berth::channel
