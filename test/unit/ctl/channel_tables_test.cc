#include "ctl/channel_tables.h"

#include <gtest/gtest.h>

namespace berth::ctl {
namespace {

v1::ConnectionInfo channel() {
  v1::ConnectionInfo row;
  row.set_kind(v1::ConnectionInfo::CHANNEL);
  row.set_channel_id(7);
  row.set_key("greeter");
  row.set_state(v1::ConnectionInfo::READY);
  row.set_in_state_ms(1000);
  row.set_endpoint("grpc://a.example:50051");
  v1::ChannelInfo& info = *row.mutable_channel();
  info.set_address("10.0.0.1:50051");
  info.set_streams(2);
  info.set_served(9);
  info.set_max_streams(100);
  info.set_age_ms(3000);
  return row;
}

v1::PoolInfo channel_pool() {
  v1::PoolInfo pool;
  pool.set_key("greeter");
  pool.set_intake(v1::PoolInfo::OPEN);
  pool.set_dials(4);
  pool.set_failed_dials(1);
  v1::ChannelPoolInfo& info = *pool.mutable_channel_pool();
  info.mutable_channels()->set_ready(2);
  info.mutable_channels()->set_draining(1);
  info.set_clients(3);
  info.set_streams(5);
  info.set_waiting_streams(1);
  info.set_begun(20);
  info.set_ended(14);
  info.set_refused(1);
  info.set_failed(6);
  info.set_retried(2);
  info.set_unseen(3);
  return pool;
}

TEST(ChannelTables, WithoutChannelsThereIsNothing) {
  v1::ListConnectionsReply connections;
  connections.add_connections()->set_kind(v1::ConnectionInfo::STREAM);
  EXPECT_EQ(channels_text(connections, 0), "");
  v1::ListPoolsReply pools;
  pools.add_pools()->set_key("redis");
  EXPECT_EQ(channel_pools_text(pools, 0), "");
}

TEST(ChannelTables, AChannelHasItsAddressAndItsLimit) {
  v1::ListConnectionsReply reply;
  *reply.add_connections() = channel();
  EXPECT_EQ(
      channels_text(reply, 0),
      "CHANNEL  KEY      STATE  FOR  AGE  STREAMS  MAX  SERVED  ADDRESS         ENDPOINT       "
      "         ERROR\n"
      "      7  greeter  ready   1s   3s        2  100       9  10.0.0.1:50051  "
      "grpc://a.example:50051  -\n");
}

TEST(ChannelTables, WhatIsNotKnownIsADash) {
  v1::ListConnectionsReply reply;
  v1::ConnectionInfo& row = *reply.add_connections();
  row = channel();
  row.set_state(v1::ConnectionInfo::CONNECTING);
  row.clear_endpoint();
  row.mutable_channel()->clear_max_streams();
  row.mutable_channel()->clear_age_ms();
  row.mutable_channel()->set_last_error("refused");
  EXPECT_EQ(
      channels_text(reply, 0),
      "CHANNEL  KEY      STATE       FOR  AGE  STREAMS  MAX  SERVED  ADDRESS         ENDPOINT  "
      "ERROR\n"
      "      7  greeter  connecting   1s    -        2    -       9  10.0.0.1:50051  -         "
      "refused\n");
}

TEST(ChannelTables, AStateHasItsReason) {
  v1::ConnectionInfo row = channel();
  EXPECT_EQ(state_of(row), "ready");
  row.set_state(v1::ConnectionInfo::DRAINING);
  row.set_close_reason(v1::CLOSE_GOAWAY);
  EXPECT_EQ(state_of(row), "draining:goaway");
}

TEST(ChannelTables, APoolIsFollowedByItsAddresses) {
  v1::ListPoolsReply reply;
  v1::PoolInfo& pool = *reply.add_pools();
  pool = channel_pool();
  const std::string alone = channel_pools_text(reply, 0);
  EXPECT_EQ(
      alone,
      "KEY      INTAKE  READY  OTHER  CLIENTS  STREAMS  WAITING  BEGUN  ENDED  REFUSED  FAILED "
      " RETRIED  DIALS  DIALFAILS\n"
      "greeter  open        2      1        3        4        1     20     14        1       6 "
      "       5      4          1\n");
  v1::AddressInfo& address = *pool.mutable_channel_pool()->add_addresses();
  address.set_address("10.0.0.1:50051");
  address.set_begun(8);
  address.set_backoff_ms(250);
  address.set_last_error("refused");
  EXPECT_EQ(
      channel_pools_text(reply, 0),
      alone +
          "\n"
          "KEY      ADDRESS         READY  OTHER  STREAMS  BEGUN  ENDED  FAILED  RETRIED  DIALS "
          " DIALFAILS  BACKOFF  ERROR\n"
          "greeter  10.0.0.1:50051      0      0        0      8      0       0        0      0 "
          "         0    250ms  refused\n");
}

TEST(ChannelTables, ChannelsAreCountedByState) {
  v1::ChannelCounts counted;
  EXPECT_EQ(counts(counted), "0");
  counted.set_ready(2);
  counted.set_checking(1);
  EXPECT_EQ(counts(counted), "3: 2 ready, 1 checking");
}

}  // namespace
}  // namespace berth::ctl
