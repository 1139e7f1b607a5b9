// Streams that are carried once more (DESIGN section 8, point 5).
#include "base/limits.h"
#include "unit/channel/channel_fixture.h"

namespace berth::channel {
namespace {

class Retries : public ChannelTest {
 protected:
  static ChannelPolicy retrying(uint32_t attempts) {
    ChannelPolicy p = policy();
    p.retry = {attempts, only(GrpcCode::unavailable), 100ms};
    return p;
  }
};

TEST_F(Retries, WhatTheServerNeverSawIsCarriedAgainAtOnce) {
  const PoolId pool = add();
  const StreamId stream = open(pool);
  EXPECT_TRUE(refuse(stream));
  EXPECT_EQ(assigned.size(), 2u);
  EXPECT_EQ(hub.stream(stream)->attempts, 1u);
  EXPECT_EQ(hub.pool(pool)->stream_counters().unseen, 1u);
}

TEST_F(Retries, AServerThatRefusesForEverIsNotAskedForEver) {
  const StreamId stream = open(add());
  for (int i = 0; i < kMaxUnseenRetries; ++i) EXPECT_TRUE(refuse(stream));
  EXPECT_FALSE(refuse(stream));
  end(stream);
  EXPECT_EQ(hub.stream(stream), nullptr);
}

TEST_F(Retries, AnotherAddressIsPreferred) {
  const PoolId pool = add(policy(), 3);
  const StreamId stream = open(pool);
  const std::string failed = address_of(stream);
  for (int i = 0; i < 4; ++i) {
    const std::string before = address_of(stream);
    refuse(stream);
    EXPECT_NE(address_of(stream), before);
  }
}

TEST_F(Retries, AnotherChannelOfTheAddressIsPreferred) {
  max_streams = 1;
  const PoolId pool = add();
  const std::vector<StreamId> streams = open(pool, 2);
  const ConnectionId first = channel_of(streams[0]);
  const ConnectionId second = channel_of(streams[1]);
  end(streams[1]);
  refuse(streams[0]);
  EXPECT_EQ(channel_of(streams[0]), second);
  EXPECT_EQ(state(first), State::ready);
}

TEST_F(Retries, WhoHadAChannelGoesBeforeThoseWhoHadNone) {
  ChannelPolicy p = policy();
  p.max_channels = 1;
  max_streams = 1;
  const PoolId pool = add(p);
  const std::vector<StreamId> streams = open(pool, 2);
  refuse(streams[0]);
  EXPECT_EQ(channel_of(streams[0]), dialed[0]);
  EXPECT_TRUE(waits(streams[1]));
}

TEST_F(Retries, WithoutTheRequestItIsNotRetried) {
  const StreamId stream = open(add(retrying(3)));
  EXPECT_FALSE(refuse(stream, false));
  EXPECT_EQ(hub.stream(stream)->state, StreamState::failed);
}

TEST_F(Retries, AFailedStreamFreesItsPlaceAtOnce) {
  ChannelPolicy p = policy();
  p.max_channels = 1;
  max_streams = 1;
  const PoolId pool = add(p);
  const std::vector<StreamId> streams = open(pool, 2);
  EXPECT_FALSE(fail(streams[0], GrpcCode::internal));
  EXPECT_EQ(channel_of(streams[1]), dialed[0]);
}

TEST_F(Retries, AttemptsCountTheFirstCall) {
  const PoolId pool = add(retrying(3));
  const StreamId stream = open(pool);
  EXPECT_TRUE(fail(stream, GrpcCode::unavailable));
  EXPECT_TRUE(waits(stream));
  pass(120ms);
  EXPECT_EQ(assigned.size(), 2u);
  EXPECT_TRUE(fail(stream, GrpcCode::unavailable));
  pass(240ms);
  EXPECT_EQ(assigned.size(), 3u);
  EXPECT_FALSE(fail(stream, GrpcCode::unavailable));
  EXPECT_EQ(hub.pool(pool)->stream_counters().retried, 2u);
  EXPECT_EQ(hub.pool(pool)->stream_counters().failed, 3u);
}

TEST_F(Retries, TheBackoffDoubles) {
  const StreamId stream = open(add(retrying(3)));
  fail(stream, GrpcCode::unavailable);
  pass(79ms);
  EXPECT_TRUE(waits(stream));
  pass(41ms);
  EXPECT_FALSE(waits(stream));
  fail(stream, GrpcCode::unavailable);
  pass(159ms);
  EXPECT_TRUE(waits(stream));
  pass(81ms);
  EXPECT_FALSE(waits(stream));
}

TEST_F(Retries, ByDefaultAndForOtherCodesThereAreNone) {
  EXPECT_FALSE(fail(open(add()), GrpcCode::unavailable));
  EXPECT_FALSE(fail(open(add(retrying(3))), GrpcCode::internal));
}

TEST_F(Retries, NoneGoesBeyondItsDeadline) {
  const PoolId pool = add(retrying(3));
  const StreamId stream = open(pool, now + 70ms);
  EXPECT_FALSE(fail(stream, GrpcCode::unavailable));
  const StreamId unseen = open(pool, now + 70ms);
  pass(70ms);
  EXPECT_FALSE(refuse(unseen));
}

TEST_F(Retries, LostBeforeItWasSentItIsDialledForAnew) {
  const PoolId pool = add();
  const StreamId stream = open(pool);
  pass(2s);
  hub.lost(now, dialed[0], "a:1: reset by peer", actions);
  EXPECT_TRUE(hub.stream_failed(now, stream, {.unseen = true}, true, actions));
  hub.closed(now, dialed[0], actions);
  carry_out();
  ASSERT_EQ(dialed.size(), 2u);
  EXPECT_EQ(channel_of(stream), dialed[1]);
}

TEST_F(Retries, ARestingStreamThatIsCancelledIsForgotten) {
  const PoolId pool = add(retrying(3));
  const StreamId stream = open(pool);
  fail(stream, GrpcCode::unavailable);
  end(stream);
  pass(1s);
  EXPECT_EQ(assigned.size(), 1u);
  EXPECT_EQ(hub.pool(pool)->streams(), 0u);
}

TEST_F(Retries, WithoutAnUpstreamTheRetryEnds) {
  const PoolId pool = add(retrying(3));
  const StreamId stream = open(pool);
  pass(2s);
  fail(stream, GrpcCode::unavailable);
  dials = Answer::no;
  lose(dialed[0]);
  pass(120ms);
  EXPECT_EQ(code(stream), GrpcCode::unavailable);
  EXPECT_EQ(text(stream), "no upstream: a:1: refused");
}

}  // namespace
}  // namespace berth::channel
