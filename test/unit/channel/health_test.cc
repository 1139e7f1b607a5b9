// Whether a channel still works: PING, and what its server says of itself (point 4).
#include "unit/channel/channel_fixture.h"

namespace berth::channel {
namespace {

class Keepalive : public ChannelTest {
 protected:
  void SetUp() override {
    ChannelPolicy p = policy();
    p.keepalive_time = 1min;
    p.max_lifetime = 0s;
    pool = add(p);
    join(pool);
  }
  PoolId pool;
};

TEST_F(Keepalive, AfterSilenceThereIsAPing) {
  pass(1min - 1ns);
  EXPECT_TRUE(pinged.empty());
  pass(1ns);
  EXPECT_EQ(pinged, std::vector<ConnectionId>{dialed[0]});
  pass(1min);
  EXPECT_EQ(pinged.size(), 2u);
}

TEST_F(Keepalive, WhoeverIsHeardIsNotAsked) {
  for (int i = 0; i < 10; ++i) {
    pass(30s);
    hub.heard(now, dialed[0]);
  }
  EXPECT_TRUE(pinged.empty());
}

TEST_F(Keepalive, WithoutAnAnswerItIsClosed) {
  pings = Answer::never;
  const StreamId stream = open(pool);
  pass(1min + 20s - 1ns);
  EXPECT_EQ(state(dialed[0]), State::ready);
  pass(1ns);
  EXPECT_TRUE(closed(dialed[0], CloseReason::dead));
  EXPECT_EQ(cut_off, std::vector<StreamId>{stream});
  EXPECT_EQ(dialed.size(), 2u) << "clients are there";
}

TEST_F(Keepalive, WhateverIsHeardIsAnAnswer) {
  pings = Answer::never;
  pass(1min + 1s);
  hub.heard(now, dialed[0]);
  pass(58s);
  EXPECT_EQ(state(dialed[0]), State::ready);
  EXPECT_EQ(pinged.size(), 1u);
  pass(2s);
  EXPECT_EQ(pinged.size(), 2u);
}

TEST_F(Keepalive, WithoutClientsAndStreamsThereIsNoPing) {
  leave(pool);
  pass(5min);
  EXPECT_TRUE(pinged.empty());
}

TEST_F(Keepalive, TheFirstStreamAfterThatBringsItBack) {
  leave(pool);
  pass(5min);
  open(pool);
  pass(1ns);
  EXPECT_EQ(pinged.size(), 1u);
}

TEST_F(Keepalive, ItMayBeOff) {
  ChannelPolicy p = policy();
  p.keepalive_time = 0s;
  p.max_lifetime = 0s;
  p.dns_refresh = 0s;
  const PoolId other = add(p);
  join(other);
  pass(1h);
  EXPECT_EQ(std::count(pinged.begin(), pinged.end(), dialed[1]), 0);
}

class Health : public ChannelTest {
 protected:
  void SetUp() override {
    ChannelPolicy p = policy();
    p.health = true;
    pool = add(p);
  }
  PoolId pool;
};

TEST_F(Health, AChannelIsReadyOnceItsServerServes) {
  const StreamId stream = open(pool);
  EXPECT_EQ(state(dialed[0]), State::checking);
  EXPECT_TRUE(waits(stream));
  serving(dialed[0], true);
  EXPECT_EQ(channel_of(stream), dialed[0]);
}

TEST_F(Health, OneWhoseServerDoesNotServeIsNoUpstream) {
  const StreamId stream = open(pool);
  serving(dialed[0], false);
  EXPECT_EQ(text(stream), "no upstream: a:1: the server does not serve");
  EXPECT_EQ(dialed.size(), 1u);
  serving(dialed[0], true);
  EXPECT_TRUE(channel_of(open(pool)).valid());
}

TEST_F(Health, NoWordWithinDialTimeoutCountsAsNotServing) {
  const StreamId stream = open(pool);
  pass(5s);
  EXPECT_EQ(code(stream), GrpcCode::unavailable);
  serving(dialed[0], true);
  EXPECT_EQ(state(dialed[0]), State::ready);
}

TEST_F(Health, OneThatStopsServingKeepsItsStreamsAndGetsNoMore) {
  const StreamId stream = open(pool);
  serving(dialed[0], true);
  serving(dialed[0], false);
  EXPECT_EQ(channel_of(stream), dialed[0]);
  EXPECT_TRUE(ended(open(pool)));
  end(stream);
}

TEST_F(Health, AnotherAddressServesMeanwhile) {
  ChannelPolicy p = policy();
  p.health = true;
  const PoolId other = add(p, 2);
  join(other);
  serving(dialed[0], false);
  serving(dialed[1], true);
  const std::vector<StreamId> streams = open(other, 3);
  for (const StreamId each : streams) EXPECT_EQ(address_of(each), "b:1");
}

TEST_F(Health, ASuccessorThatDoesNotServeReplacesNothing) {
  join(pool);
  serving(dialed[0], true);
  hub.renew(now, pool, actions);
  carry_out();
  ASSERT_EQ(dialed.size(), 2u);
  serving(dialed[1], false);
  EXPECT_EQ(state(dialed[0]), State::ready);
  serving(dialed[1], true);
  EXPECT_TRUE(closed(dialed[0], CloseReason::renewed));
}

}  // namespace
}  // namespace berth::channel
