// Streams and the channels they get: sharing, room, waiting, deadlines.
#include "unit/channel/channel_fixture.h"

namespace berth::channel {
namespace {

using Streams = ChannelTest;

TEST_F(Streams, TheFirstUserDialsAndAllShareOneChannel) {
  const PoolId pool = add();
  const std::vector<StreamId> streams = open(pool, 20);
  EXPECT_EQ(dialed.size(), 1u);
  for (const StreamId each : streams) EXPECT_EQ(channel_of(each), dialed[0]);
  EXPECT_EQ(hub.pool(pool)->stream_counters().begun, 20u);
}

TEST_F(Streams, ConcurrentFirstUsersCauseOneDial) {
  dials = Answer::never;
  const PoolId pool = add();
  const std::vector<StreamId> streams = open(pool, 100);
  EXPECT_EQ(dialed.size(), 1u);
  EXPECT_EQ(hub.pool(pool)->waiting(), 100u);
  EXPECT_EQ(events(pool, pool::EventKind::cache_miss), 1u);
  connect(dialed[0]);
  EXPECT_EQ(assigned.size(), 100u);
  EXPECT_EQ(hub.pool(pool)->waiting(), 0u);
}

TEST_F(Streams, ThoseWhoWaitAreServedInTheirOrder) {
  dials = Answer::never;
  const PoolId pool = add();
  const std::vector<StreamId> streams = open(pool, 5);
  connect(dialed[0]);
  ASSERT_EQ(assigned.size(), 5u);
  for (size_t i = 0; i < 5; ++i) EXPECT_EQ(assigned[i].stream, streams[i]);
}

TEST_F(Streams, AnotherChannelOpensWhenAllAreFull) {
  max_streams = 2;
  const PoolId pool = add();
  const std::vector<StreamId> streams = open(pool, 3);
  EXPECT_EQ(dialed.size(), 2u);
  EXPECT_EQ(channel_of(streams[0]), channel_of(streams[1]));
  EXPECT_NE(channel_of(streams[0]), channel_of(streams[2]));
}

TEST_F(Streams, ThePolicyMayAllowFewerOnAChannelThanTheServer) {
  ChannelPolicy p = policy();
  p.max_streams_per_channel = 1;
  const PoolId pool = add(p);
  open(pool, 3);
  EXPECT_EQ(count(pool, State::ready), 3u);
}

TEST_F(Streams, BeyondMaxChannelsTheyWaitUntilAnotherEnds) {
  ChannelPolicy p = policy();
  p.max_channels = 2;
  max_streams = 1;
  const PoolId pool = add(p);
  const std::vector<StreamId> streams = open(pool, 4);
  EXPECT_EQ(dialed.size(), 2u);
  EXPECT_EQ(hub.pool(pool)->waiting(), 2u);
  const ConnectionId freed = channel_of(streams[0]);
  end(streams[0]);
  EXPECT_EQ(channel_of(streams[2]), freed);
  EXPECT_TRUE(waits(streams[3]));
}

TEST_F(Streams, ABurstDialsNoMoreChannelsThanItNeeds) {
  dials = Answer::never;
  ChannelPolicy p = policy();
  p.max_channels = 10;
  const PoolId pool = add(p);
  open(pool, 250);
  EXPECT_EQ(dialed.size(), 3u);
}

TEST_F(Streams, WhatAServerAllowedLastIsWhatTheNextChannelIsExpectedToCarry) {
  dials = Answer::never;
  ChannelPolicy p = policy();
  p.max_channels = 10;
  max_streams = 10;
  const PoolId pool = add(p);
  open(pool, 50);
  connect(dialed[0]);
  EXPECT_EQ(dialed.size(), 5u);
}

TEST_F(Streams, AChannelOfAServerThatAllowsNoneIsNotMultipliedWithoutEnd) {
  max_streams = 0;
  const PoolId pool = add();
  const StreamId stream = open(pool);
  EXPECT_EQ(dialed.size(), 4u);
  settings(dialed[2], 1);
  EXPECT_EQ(channel_of(stream), dialed[2]);
}

TEST_F(Streams, SettingsThatAllowMoreServeThoseWhoWait) {
  ChannelPolicy p = policy();
  p.max_channels = 1;
  max_streams = 1;
  const PoolId pool = add(p);
  const std::vector<StreamId> streams = open(pool, 3);
  settings(dialed[0], 3);
  EXPECT_EQ(assigned.size(), 3u);
}

TEST_F(Streams, SettingsThatAllowFewerTakeNothingAway) {
  ChannelPolicy p = policy();
  p.max_channels = 1;
  const PoolId pool = add(p);
  const std::vector<StreamId> streams = open(pool, 3);
  settings(dialed[0], 1);
  const StreamId late = open(pool);
  EXPECT_TRUE(waits(late));
  end(streams[0]);
  end(streams[1]);
  EXPECT_TRUE(waits(late));
  end(streams[2]);
  EXPECT_EQ(channel_of(late), dialed[0]);
}

TEST_F(Streams, BeyondMaxWaitersTheyEnd) {
  dials = Answer::never;
  ChannelPolicy p = policy();
  p.max_waiters = 2;
  const PoolId pool = add(p);
  const std::vector<StreamId> streams = open(pool, 3);
  EXPECT_TRUE(waits(streams[1]));
  EXPECT_EQ(code(streams[2]), GrpcCode::resource_exhausted);
}

TEST_F(Streams, OneThatIsCancelledWhileItWaitsIsForgotten) {
  dials = Answer::never;
  const PoolId pool = add();
  const std::vector<StreamId> streams = open(pool, 2);
  end(streams[0]);
  connect(dialed[0]);
  ASSERT_EQ(assigned.size(), 1u);
  EXPECT_EQ(assigned[0].stream, streams[1]);
  EXPECT_EQ(hub.pool(pool)->streams(), 1u);
}

TEST_F(Streams, AfterAcquireTimeoutItEndsWithTheCause) {
  ChannelPolicy p = policy();
  p.max_channels = 1;
  max_streams = 1;
  const PoolId pool = add(p);
  const std::vector<StreamId> streams = open(pool, 2);
  pass(5s);
  EXPECT_EQ(code(streams[1]), GrpcCode::unavailable);
  EXPECT_EQ(text(streams[1]),
            "no channel within 5 s (acquire_timeout): 1 channels are full with 1 streams; 1 wait");
}

TEST_F(Streams, AtItsOwnDeadlineItEndsAsGrpcHasIt) {
  dials = Answer::never;
  const PoolId pool = add();
  const StreamId stream = open(pool, now + 2s);
  pass(2s);
  EXPECT_EQ(code(stream), GrpcCode::deadline_exceeded);
}

TEST_F(Streams, OneWhoseDeadlineIsOverDoesNotWait) {
  dials = Answer::never;
  const StreamId stream = open(add(), now);
  EXPECT_EQ(code(stream), GrpcCode::deadline_exceeded);
}

TEST_F(Streams, AssignedItsDeadlineIsNoLongerLookedAt) {
  const StreamId stream = open(add(), now + 2s);
  pass(1min);
  EXPECT_FALSE(ended(stream));
}

TEST_F(Streams, OfAPoolThatIsNotThereTheyEnd) {
  const StreamId stream = open(PoolId(77, 1));
  EXPECT_EQ(code(stream), GrpcCode::unavailable);
}

TEST_F(Streams, LateEventsMiss) {
  const StreamId stream = open(add());
  end(stream);
  end(stream);
  EXPECT_FALSE(fail(stream, GrpcCode::internal));
  fail_dial(dialed[0]);
  connect(dialed[0]);
  EXPECT_EQ(state(dialed[0]), State::ready);
}

}  // namespace
}  // namespace berth::channel
