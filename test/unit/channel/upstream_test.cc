// No upstream: dials that fail or hang, backoff, servers that hang up (DESIGN section 8, point 6).
#include "unit/channel/channel_fixture.h"

namespace berth::channel {
namespace {

class NoUpstream : public ChannelTest {
 protected:
  static ChannelPolicy patient() {
    ChannelPolicy p = policy();
    p.fail_fast = false;
    return p;
  }
};

TEST_F(NoUpstream, WithFailFastStreamsEndAtOnceWithTheCause) {
  dials = Answer::no;
  const PoolId pool = add();
  const StreamId first = open(pool);
  EXPECT_EQ(code(first), GrpcCode::unavailable);
  EXPECT_EQ(text(first), "no upstream: a:1: refused");
  const StreamId second = open(pool);
  EXPECT_EQ(text(second), "no upstream: a:1: refused");
  EXPECT_EQ(dialed.size(), 1u) << "it is in backoff";
}

TEST_F(NoUpstream, AFirstDialUnderWayIsWaitedFor) {
  dials = Answer::never;
  const PoolId pool = add();
  const std::vector<StreamId> streams = open(pool, 2);
  EXPECT_TRUE(waits(streams[1]));
  fail_dial(dialed[0]);
  EXPECT_TRUE(ended(streams[0]));
  EXPECT_TRUE(ended(streams[1]));
}

TEST_F(NoUpstream, AnotherAddressUnderWayIsWaitedFor) {
  dials = Answer::never;
  const PoolId pool = add(policy(), 2);
  const StreamId stream = open(pool);
  fail_dial(dialed[0]);
  EXPECT_TRUE(waits(stream));
  fail_dial(dialed[1], "b:1: refused");
  EXPECT_EQ(text(stream), "no upstream: b:1: refused");
}

TEST_F(NoUpstream, WithoutFailFastTheyWaitAndAreServedWhenItComesBack) {
  dials = Answer::no;
  const PoolId pool = add(patient());
  const StreamId stream = open(pool);
  EXPECT_TRUE(waits(stream));
  dials = Answer::yes;
  pass(1s);
  EXPECT_TRUE(channel_of(stream).valid());
}

TEST_F(NoUpstream, WithoutFailFastTheyEndWithTheCauseInTheEnd) {
  dials = Answer::no;
  const PoolId pool = add(patient());
  const StreamId stream = open(pool);
  pass(5s);
  EXPECT_EQ(code(stream), GrpcCode::unavailable);
  EXPECT_NE(text(stream).find("no upstream: a:1: refused"), std::string::npos);
}

TEST_F(NoUpstream, DialsAreFurtherAndFurtherApart) {
  dials = Answer::no;
  const PoolId pool = add();
  join(pool);
  pass(1s);
  const size_t first_second = dialed.size();
  EXPECT_GE(first_second, 3u);
  EXPECT_LE(first_second, 6u);
  pass(1min);
  EXPECT_LE(dialed.size(), first_second + 15);
}

TEST_F(NoUpstream, ADialThatHangsIsGivenUp) {
  dials = Answer::never;
  ChannelPolicy p = policy();
  p.acquire_timeout = 10s;
  const StreamId stream = open(add(p));
  pass(5s);
  EXPECT_TRUE(closed(dialed[0], CloseReason::dead));
  EXPECT_EQ(text(stream), "no upstream: a:1: no connection within 5 s (dial_timeout)");
}

TEST_F(NoUpstream, WhoWaitedInVainIsToldOfTheDial) {
  dials = Answer::never;
  ChannelPolicy p = policy();
  p.acquire_timeout = 2s;
  const StreamId stream = open(add(p));
  pass(2s);
  EXPECT_EQ(text(stream),
            "no channel within 2 s (acquire_timeout): no channel is ready; a:1 has been dialled "
            "for 2 s");
}

TEST_F(NoUpstream, ALostChannelIsReplacedWhileThereAreClients) {
  const PoolId pool = add();
  join(pool);
  pass(2s);
  lose(dialed[0]);
  EXPECT_EQ(count(pool, State::ready), 1u);
  leave(pool);
  pass(2s);
  lose(dialed[1]);
  EXPECT_EQ(dialed.size(), 2u);
}

TEST_F(NoUpstream, AServerThatHangsUpAtOnceIsNotDialledAsFast) {
  const PoolId pool = add();
  join(pool);
  for (int i = 0; i < 20; ++i) {
    if (count(pool, State::ready) == 1) lose(dialed.back());
    pass(50ms);
  }
  EXPECT_LE(dialed.size(), 6u);
}

TEST_F(NoUpstream, AServerThatSaysGoawayAtOnceIsNotDialledAsFast) {
  const PoolId pool = add();
  join(pool);
  for (int i = 0; i < 20; ++i) {
    if (count(pool, State::ready) == 1) goaway(dialed.back());
    pass(50ms);
  }
  EXPECT_LE(dialed.size(), 6u);
}

TEST_F(NoUpstream, AServerThatEndsEachConnectionAfterSomeStreamsIsDialledAtOnce) {
  const PoolId pool = add();
  join(pool);
  for (int i = 0; i < 20; ++i) {
    ASSERT_EQ(count(pool, State::ready), 1u);
    end(open(pool));
    goaway(dialed.back());
    EXPECT_EQ(dialed.size(), 2u + static_cast<size_t>(i));
  }
}

TEST_F(NoUpstream, StreamsOfALostChannelFail) {
  const PoolId pool = add();
  const std::vector<StreamId> streams = open(pool, 3);
  lose(dialed[0]);
  EXPECT_EQ(cut_off.size(), 3u);
  EXPECT_EQ(hub.pool(pool)->streams(), 0u);
  EXPECT_EQ(hub.pool(pool)->channels(), 0u);
}

}  // namespace
}  // namespace berth::channel
