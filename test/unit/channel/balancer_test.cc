// Which address carries which stream.
#include "unit/channel/channel_fixture.h"

namespace berth::channel {
namespace {

using Balancing = ChannelTest;

ChannelPolicy with(ChannelPolicy policy, Balance balance) {
  policy.balance = balance;
  return policy;
}

TEST_F(Balancing, EachAddressGetsAChannelOnceThePoolIsInUse) {
  open(add(policy(), 5));
  EXPECT_EQ(addresses_dialed, addresses);
}

TEST_F(Balancing, RoundRobinIsWithinOneOfEven) {
  const PoolId pool = add(policy(), 3);
  open(pool, 31);
  for (const auto& each : hub.pool(pool)->subchannels()) {
    EXPECT_GE(each->streams, 10u);
    EXPECT_LE(each->streams, 11u);
  }
}

TEST_F(Balancing, NobodyWaitsForAnAddressThatIsDown) {
  down = {"b:1"};
  const PoolId pool = add(policy(), 3);
  open(pool, 10);
  EXPECT_EQ(hub.pool(pool)->waiting(), 0u);
  EXPECT_EQ(assigned.size(), 10u);
}

TEST_F(Balancing, NobodyWaitsForAnAddressThatIsBeingDialled) {
  dials = Answer::never;
  const PoolId pool = add(policy(), 2);
  const StreamId stream = open(pool);
  connect(dialed[1]);
  EXPECT_EQ(address_of(stream), "b:1");
}

TEST_F(Balancing, AnAddressInBackoffIsSkippedAndTriedAgain) {
  down = {"b:1"};
  const PoolId pool = add(policy(), 2);
  join(pool);
  EXPECT_EQ(dialed.size(), 2u);
  open(pool, 4);
  EXPECT_EQ(dialed.size(), 2u);
  down.clear();
  pass(1s);
  EXPECT_EQ(count(pool, State::ready), 2u);
}

TEST_F(Balancing, AFullAddressIsSkipped) {
  ChannelPolicy p = policy();
  p.max_channels = 1;
  max_streams = 2;
  const PoolId pool = add(p, 2);
  const std::vector<StreamId> streams = open(pool, 3);
  end(streams[1]);
  const StreamId next = open(pool);
  EXPECT_EQ(address_of(next), "b:1");
  EXPECT_EQ(hub.pool(pool)->waiting(), 0u);
}

TEST_F(Balancing, NoAddressGetsASecondChannelWhileAnotherHasRoom) {
  max_streams = 2;
  const PoolId pool = add(policy(), 2);
  open(pool, 4);
  EXPECT_EQ(dialed.size(), 2u);
  open(pool);
  EXPECT_EQ(dialed.size(), 3u);
}

TEST_F(Balancing, LeastStreamsFillsTheEmptiest) {
  const PoolId pool = add(with(policy(), Balance::least_streams), 3);
  const std::vector<StreamId> streams = open(pool, 9);
  for (const StreamId each : streams) {
    if (address_of(each) == "b:1") end(each);
  }
  for (int i = 0; i < 3; ++i) EXPECT_EQ(address_of(open(pool)), "b:1");
}

TEST_F(Balancing, OfSeveralChannelsTheOneWithTheFewestStreamsIsTaken) {
  max_streams = 4;
  const PoolId pool = add();
  const std::vector<StreamId> streams = open(pool, 8);
  for (size_t i = 0; i < 3; ++i) end(streams[i]);
  end(streams[4]);
  EXPECT_EQ(channel_of(open(pool)), channel_of(streams[3]));
}

TEST_F(Balancing, FailoverUsesTheFirstAndDialsNoOther) {
  const PoolId pool = add(with(policy(), Balance::failover), 3);
  const std::vector<StreamId> streams = open(pool, 5);
  EXPECT_EQ(addresses_dialed, std::vector<std::string>{"a:1"});
}

TEST_F(Balancing, FailoverGoesToTheNextThatWorks) {
  down = {"a:1", "b:1"};
  const PoolId pool = add(with(policy(), Balance::failover), 3);
  EXPECT_EQ(address_of(open(pool)), "c:1");
}

TEST_F(Balancing, FailoverWaitsForTheFirstThoughItIsFull) {
  ChannelPolicy p = with(policy(), Balance::failover);
  p.max_channels = 2;
  max_streams = 1;
  const PoolId pool = add(p, 2);
  const std::vector<StreamId> streams = open(pool, 3);
  EXPECT_TRUE(waits(streams[2]));
  EXPECT_EQ(addresses_dialed, (std::vector<std::string>{"a:1", "a:1"}));
}

TEST_F(Balancing, FailoverReturnsToTheFirstWhenItWorksAgain) {
  down = {"a:1"};
  const PoolId pool = add(with(policy(), Balance::failover), 2);
  const StreamId before = open(pool);
  const ConnectionId second = channel_of(before);
  down.clear();
  join(pool);
  pass(1s);
  EXPECT_EQ(address_of(open(pool)), "a:1");
  EXPECT_EQ(state(second), State::draining);
  end(before);
  EXPECT_TRUE(closed(second, CloseReason::renewed));
}

TEST_F(Balancing, OfAServiceOnlyTheFirstPriorityIsUsedWhileItWorks) {
  priorities = {{"c:1", 10}, {"d:1", 20}};
  const PoolId pool = add(policy(), 4);
  const std::vector<StreamId> streams = open(pool, 6);
  EXPECT_EQ(addresses_dialed, (std::vector<std::string>{"a:1", "b:1"}));
  EXPECT_NE(address_of(open(pool)), address_of(open(pool)));
}

TEST_F(Balancing, OfAServiceTheNextPriorityServesOnceNothingOfTheFirstWorks) {
  priorities = {{"c:1", 10}, {"d:1", 20}};
  down = {"a:1", "b:1"};
  const PoolId pool = add(policy(), 4);
  EXPECT_EQ(address_of(open(pool)), "c:1");
  join(pool);
  lose(dialed[2]);
  down.insert("c:1");
  pass(2s);
  EXPECT_EQ(address_of(open(pool)), "d:1");
}

TEST_F(Balancing, OfAServiceTheFirstPriorityHasAllAgainWhenItWorksAgain) {
  priorities = {{"c:1", 10}};
  down = {"a:1", "b:1"};
  const PoolId pool = add(policy(), 3);
  const StreamId before = open(pool);
  const ConnectionId spare = channel_of(before);
  down = {"b:1"};
  join(pool);
  pass(1s);
  EXPECT_EQ(address_of(open(pool)), "a:1");
  EXPECT_EQ(state(spare), State::draining);
  end(before);
  EXPECT_TRUE(closed(spare, CloseReason::renewed));
}

TEST_F(Balancing, PrioritiesAreThoseOfOneServiceAndNotOfAnother) {
  ChannelPolicy p = policy();
  p.endpoints.push_back({Endpoint::Kind::tcp, "b", 1, ""});
  priorities = {{"b:1", 10}};
  resolves = Answer::never;
  const PoolId pool = add(p);
  join(pool);
  resolve(pool, {"a:1"}, 0);
  resolve(pool, {"b:1"}, 1);
  EXPECT_EQ(count(pool, State::ready), 2u);
}

TEST_F(Balancing, ASpareIsNotRenewedWhileWhatItIsForIsUnderWay) {
  priorities = {{"b:1", 10}};
  down = {"a:1"};
  const PoolId pool = add(policy(), 2);
  const StreamId before = open(pool);
  down.clear();
  dials = Answer::never;
  join(pool);
  pass(1s);
  ASSERT_EQ(dialing.size(), 1u) << "a:1 is tried again";
  hub.renew(now, pool, actions);
  carry_out();
  EXPECT_EQ(dialing.size(), 1u);
  end(before);
}

TEST_F(Balancing, FailoverRenewsNothingBehindAnAddressThatIsUnderWay) {
  down = {"a:1"};
  const PoolId pool = add(with(policy(), Balance::failover), 2);
  const StreamId before = open(pool);
  down.clear();
  dials = Answer::never;
  join(pool);
  pass(1s);
  ASSERT_EQ(dialing.size(), 1u) << "a:1 is tried again";
  hub.renew(now, pool, actions);
  carry_out();
  EXPECT_EQ(dialing.size(), 1u);
  connect(dialing[0]);
  EXPECT_EQ(state(channel_of(before)), State::draining);
}

}  // namespace
}  // namespace berth::channel
