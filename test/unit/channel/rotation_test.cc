// Channels that give way to fresh ones: age, renew, GOAWAY, drain_timeout (point 3).
#include "unit/channel/channel_fixture.h"

namespace berth::channel {
namespace {

class Rotation : public ChannelTest {
 protected:
  // One channel, in use, with one stream.
  void SetUp() override {
    pool = add(with_lifetime(10min));
    join(pool);
    stream = open(pool);
    old = channel_of(stream);
  }
  static ChannelPolicy with_lifetime(Duration lifetime) {
    ChannelPolicy p = policy();
    p.max_lifetime = lifetime;
    return p;
  }

  void pass_until_a_dial() {
    const size_t before = dialed.size();
    while (dialed.size() == before) pass(1s);
  }

  PoolId pool;
  StreamId stream;
  ConnectionId old;
};

TEST_F(Rotation, AFreshChannelIsDialledFirstAndTheOldOneFinishesItsStreams) {
  dials = Answer::never;
  pass_until_a_dial();
  EXPECT_EQ(state(old), State::ready);
  EXPECT_EQ(channel_of(open(pool)), old);
  connect(dialing[0]);
  EXPECT_EQ(state(old), State::draining);
  EXPECT_EQ(channel_of(open(pool)), dialed[1]);
  EXPECT_TRUE(closes.empty());
}

TEST_F(Rotation, AChannelsOwnLifetimeIsUpToAQuarterShorter) {
  pass(7min + 29s);
  EXPECT_EQ(dialed.size(), 1u);
  pass(2min + 31s);
  EXPECT_EQ(dialed.size(), 2u);
}

TEST_F(Rotation, ItClosesWithItsLastStream) {
  pass_until_a_dial();
  EXPECT_EQ(state(old), State::draining);
  end(stream);
  EXPECT_TRUE(closed(old, CloseReason::age));
}

TEST_F(Rotation, AfterDrainTimeoutItClosesUnderItsStreams) {
  hub.renew(now, pool, actions);
  carry_out();
  pass(30s - 1ns);
  EXPECT_EQ(state(old), State::draining);
  pass(1ns);
  EXPECT_TRUE(closed(old, CloseReason::renewed));
  EXPECT_EQ(cut_off, std::vector<StreamId>{stream});
}

TEST_F(Rotation, IfTheFreshDialFailsTheOldOneLivesOn) {
  dials = Answer::no;
  pass(11min);
  EXPECT_EQ(state(old), State::ready);
  const size_t tried = dialed.size();
  EXPECT_GT(tried, 3u);
  dials = Answer::yes;
  pass(20s);
  EXPECT_GT(dialed.size(), tried);
  EXPECT_EQ(channel_of(open(pool)), dialed.back());
}

TEST_F(Rotation, WithoutUseNothingIsDialledForTheOldOne) {
  end(stream);
  leave(pool);
  ChannelPolicy p = with_lifetime(5min);
  const PoolId other = add(p);
  join(other);
  leave(other);
  const size_t before = dialed.size();
  pass(5min);
  EXPECT_EQ(dialed.size(), before);
  EXPECT_TRUE(closed(dialed[1], CloseReason::age));
}

TEST_F(Rotation, RenewReplacesAllChannels) {
  EXPECT_EQ(hub.renew(now, pool, actions), 1u);
  carry_out();
  EXPECT_EQ(state(old), State::draining);
  EXPECT_NE(channel_of(open(pool)), old);
  end(stream);
  EXPECT_TRUE(closed(old, CloseReason::renewed));
}

TEST_F(Rotation, WhatIsBeingDialledAtARenewIsReplacedOnceItIsReady) {
  dials = Answer::never;
  const PoolId other = add();
  join(other);
  hub.renew(now, other, actions);
  carry_out();
  connect(dialed[1]);
  ASSERT_EQ(dialed.size(), 3u);
  connect(dialed[2]);
  EXPECT_TRUE(closed(dialed[1], CloseReason::renewed));
}

TEST_F(Rotation, OneThatIsLostBeforeItsSuccessorIsReadyLeavesItsPlaceToIt) {
  dials = Answer::never;
  hub.renew(now, pool, actions);
  carry_out();
  pass(2s);
  lose(old);
  EXPECT_EQ(dialed.size(), 2u) << "one is under way";
  connect(dialed[1]);
  EXPECT_EQ(count(pool, State::ready), 1u);
}

TEST_F(Rotation, ASuccessorDoesNotCountAgainstMaxChannels) {
  ChannelPolicy p = policy();
  p.max_channels = 1;
  const PoolId other = add(p);
  join(other);
  dials = Answer::never;
  hub.renew(now, other, actions);
  carry_out();
  EXPECT_EQ(hub.pool(other)->channels(), 2u);
}

TEST_F(Rotation, AfterGoawayItTakesNoNewStreamsAndFinishesItsOwn) {
  pass(2s);
  goaway(old);
  EXPECT_EQ(state(old), State::draining);
  EXPECT_NE(channel_of(open(pool)), old);
  end(stream);
  EXPECT_TRUE(closed(old, CloseReason::goaway));
}

TEST_F(Rotation, GoawayToAChannelWithoutStreamsClosesIt) {
  end(stream);
  pass(2s);
  goaway(old);
  EXPECT_TRUE(closed(old, CloseReason::goaway));
}

TEST_F(Rotation, ADrainingChannelThatIsLostIsOverAtOnce) {
  goaway(old);
  lose(old);
  EXPECT_EQ(hub.channel(old), nullptr);
  EXPECT_EQ(cut_off, std::vector<StreamId>{stream});
}

}  // namespace
}  // namespace berth::channel
