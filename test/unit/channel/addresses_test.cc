// Look-ups: when they are asked for, and what their answers change (point 2).
#include "unit/channel/channel_fixture.h"

namespace berth::channel {
namespace {

using ChannelAddresses = ChannelTest;

TEST_F(ChannelAddresses, AreLookedUpAtFirstUseAndNotBefore) {
  const PoolId pool = add();
  EXPECT_TRUE(looked_up.empty());
  join(pool);
  EXPECT_EQ(looked_up.size(), 1u);
  open(pool, 10);
  EXPECT_EQ(looked_up.size(), 1u);
}

TEST_F(ChannelAddresses, AreLookedUpAgainWhileThereAreClients) {
  const PoolId pool = add();
  join(pool);
  pass(30s);
  EXPECT_EQ(looked_up.size(), 2u);
  leave(pool);
  pass(5min);
  EXPECT_EQ(looked_up.size(), 2u);
}

TEST_F(ChannelAddresses, ANewOneIsUsedAtOnce) {
  const PoolId pool = add();
  join(pool);
  addresses = {"a:1", "b:1"};
  pass(30s);
  EXPECT_EQ(count(pool, State::ready), 2u);
}

TEST_F(ChannelAddresses, OneThatIsGoneIsDrained) {
  const PoolId pool = add(policy(), 2);
  const std::vector<StreamId> streams = open(pool, 2);
  join(pool);
  addresses = {"b:1"};
  pass(30s);
  EXPECT_EQ(state(dialed[0]), State::draining);
  for (const StreamId each : streams) end(each);
  EXPECT_TRUE(closed(dialed[0], CloseReason::address_gone));
  EXPECT_EQ(hub.pool(pool)->subchannels().size(), 1u);
}

TEST_F(ChannelAddresses, ALossIsAReasonToLookAgain) {
  const PoolId pool = add();
  join(pool);
  pass(2s);
  lose(dialed[0]);
  EXPECT_EQ(looked_up.size(), 2u);
}

TEST_F(ChannelAddresses, AreNotLookedUpMoreThanOnceASecond) {
  const PoolId pool = add();
  join(pool);
  for (int i = 0; i < 40; ++i) {
    if (count(pool, State::ready) == 1) lose(dialed.back());
    pass(50ms);
  }
  EXPECT_LE(looked_up.size(), 3u);
}

TEST_F(ChannelAddresses, AreNotLookedUpTwiceAtATime) {
  resolves = Answer::never;
  const PoolId pool = add();
  join(pool);
  pass(5min);
  EXPECT_EQ(looked_up.size(), 1u);
}

TEST_F(ChannelAddresses, AFailedLookUpIsTheCauseInWords) {
  resolves = Answer::no;
  const PoolId pool = add();
  const StreamId stream = open(pool);
  EXPECT_EQ(text(stream), "no upstream: a: no such name");
  resolves = Answer::yes;
  join(pool);
  pass(1s);
  EXPECT_TRUE(channel_of(open(pool)).valid());
}

TEST_F(ChannelAddresses, AFailedLookUpChangesNothingOfWhatIsKnown) {
  const PoolId pool = add();
  join(pool);
  resolves = Answer::no;
  pass(30s);
  EXPECT_TRUE(channel_of(open(pool)).valid());
  resolves = Answer::yes;
  addresses.clear();
  pass(1min);
  EXPECT_TRUE(channel_of(open(pool)).valid()) << "no address is a failure";
}

TEST_F(ChannelAddresses, OneThatIsNamedTwiceGetsOneChannel) {
  const PoolId pool = add();
  addresses = {"a:1", "a:1"};
  join(pool);
  EXPECT_EQ(dialed.size(), 1u);
}

TEST_F(ChannelAddresses, NoMoreThanSoManyAreUsed) {
  const PoolId pool = add();
  addresses.clear();
  for (int i = 0; i < 100; ++i) addresses.push_back("a:" + std::to_string(i));
  join(pool);
  EXPECT_EQ(dialed.size(), 64u);
}

TEST_F(ChannelAddresses, OneThatComesBackIsUsedAgain) {
  const PoolId pool = add(policy(), 2);
  const std::vector<StreamId> streams = open(pool, 2);
  join(pool);
  addresses = {"b:1"};
  pass(30s - 1s);
  addresses = {"b:1"};
  pass(1s);
  addresses = {"a:1", "b:1"};
  lose(dialed[1]);
  pass(2s);
  EXPECT_EQ(count(pool, State::ready), 2u);
}

}  // namespace
}  // namespace berth::channel
