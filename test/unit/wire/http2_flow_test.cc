// Flow control: who may send how much (RFC 9113, section 5.2).
#include "base/limits.h"
#include "unit/wire/http2_peer.h"
#include "wire/http2_connection.h"

namespace berth::wire {
namespace {

using frames::Frame;

class Http2Flow : public Http2Pair {};

size_t data_bytes(const std::vector<Frame>& all) {
  size_t sum = 0;
  for (const Frame& frame : all) sum += frame.type == frames::kData ? frame.payload.size() : 0;
  return sum;
}

TEST_F(Http2Flow, AMegabyteGoesBothWays) {
  const std::string body(1 << 20, 'x');
  const int32_t id = client.post(body);
  join();
  EXPECT_EQ(server[id].body, body);
  server.respond(id, body);
  join(1000);
  EXPECT_EQ(client[id].body, body);
  EXPECT_EQ(client[id].sent, body.size());
  EXPECT_EQ(server[id].sent, body.size());
}

TEST_F(Http2Flow, WhatIsNotConsumedStallsOneStreamOnly) {
  server.consumes = false;
  const int32_t stalled = client.post(std::string(1 << 20, 'x'));
  join();
  EXPECT_EQ(server[stalled].body.size(), 256u * 1024);
  const int32_t other = client.post(std::string(200'000, 'y'));
  join();
  EXPECT_TRUE(server[other].ended);
  EXPECT_EQ(client.connection.queued(client.stream(stalled)), (1u << 20) - 256 * 1024);
}

TEST_F(Http2Flow, ConsumingLetsThePeerGoOn) {
  server.consumes = false;
  const int32_t id = client.post(std::string(1 << 20, 'x'));
  while (!server[id].ended) {
    join();
    const size_t before = server[id].body.size();
    // Pieces that are small, too, add up.
    for (int i = 0; i < 256; ++i) server.connection.consume(server.stream(id), 1024);
    join();
    ASSERT_TRUE(server[id].ended || server[id].body.size() > before);
  }
  EXPECT_EQ(server[id].body.size(), size_t{1} << 20);
}

TEST(Http2Windows, AStreamThatIsOverMaySendWhatItsWindowStillAllowed) {
  for (const bool too_much : {false, true}) {
    Http2Peer server(Role::server, {.stream_window = 100'000});
    server.feed(std::string(frames::kPreface) + frames::settings() +
                frames::headers(1, frames::kRequest, false) +
                frames::data(1, std::string(10'000, 'x'), false));
    server.connection.reset(server.stream(1), kHttp2Cancel);
    server.take();
    for (int i = 0; i < 9; ++i) {
      EXPECT_TRUE(server.feed(frames::data(1, std::string(10'000, 'x'), false)));
    }
    EXPECT_EQ(server.feed(frames::data(1, too_much ? "x" : "", false)), !too_much);
  }
}

TEST(Http2Windows, WhoGoesOnBeyondTheWindowOfAStreamEndsTheConnection) {
  Http2Peer server(Role::server, {.stream_window = 65'535});
  server.consumes = false;
  server.feed(std::string(frames::kPreface) + frames::settings() +
              frames::headers(1, frames::kRequest, false));
  bool good = true;
  for (int i = 0; good && i < 6; ++i) {
    good = server.feed(frames::data(1, std::string(16'384, 'x'), false));
  }
  EXPECT_FALSE(good);
  EXPECT_EQ(server[1].error, kHttp2FlowControlError);
}

TEST(Http2Windows, AStreamIsNotCreditedBehindItsEnd) {
  Http2Peer server(Role::server);
  server.feed(std::string(frames::kPreface) + frames::settings());
  server.take();
  server.feed(frames::settings_ack() + frames::headers(1, frames::kRequest, false));
  for (int i = 0; i < 15; ++i) server.feed(frames::data(1, std::string(16384, 'x'), i == 14));
  for (const Frame& frame : server.take_frames()) {
    EXPECT_FALSE(frame.type == frames::kWindowUpdate && frame.stream == 1);
  }
  EXPECT_TRUE(server[1].ended);
  server.respond(1, "fine");
  for (const Frame& frame : server.take_frames()) EXPECT_NE(frame.type, frames::kWindowUpdate);
}

// The connection's window comes back whatever becomes of the data.
class Http2ConnectionWindow : public ::testing::Test {
 protected:
  Http2ConnectionWindow() {
    peer.consumes = false;
    peer.feed(std::string(frames::kPreface) + frames::settings());
    peer.take();
    peer.feed(frames::settings_ack());
  }
  // Sends so much on a stream that is new, and answers what the connection was credited.
  void send(uint32_t id, size_t bytes) {
    peer.feed(frames::headers(id, frames::kRequest, false));
    for (; bytes > 0; bytes -= std::min<size_t>(bytes, 16384)) {
      peer.feed(frames::data(id, std::string(std::min<size_t>(bytes, 16384), 'x'), false));
    }
  }
  size_t credit() {
    size_t sum = 0;
    for (const Frame& frame : peer.take_frames()) {
      if (frame.type == frames::kWindowUpdate && frame.stream == 0) sum += frame.number(0);
    }
    return sum;
  }

  Http2Peer peer{Role::server, {.stream_window = 65'535, .connection_window = 65'535}};
};

TEST_F(Http2ConnectionWindow, IsCreditedForWhatAStreamLeavesUnconsumed) {
  send(1, 60'000);
  EXPECT_EQ(credit(), 0u);
  peer.feed(frames::rst_stream(1, kHttp2Cancel));
  EXPECT_EQ(credit(), 60'000u);
}

TEST_F(Http2ConnectionWindow, IsCreditedForWhatComesBehindAReset) {
  send(1, 16'384);
  peer.connection.reset(peer.stream(1), kHttp2Cancel);
  EXPECT_EQ(credit(), 0u);
  for (int i = 0; i < 2; ++i) peer.feed(frames::data(1, std::string(16'384, 'x'), false));
  EXPECT_EQ(credit(), 3u * 16'384);
  EXPECT_EQ(peer[1].body.size(), 16'384u);
}

TEST_F(Http2ConnectionWindow, IsCreditedForWhatAStreamThatIsResetStillSends) {
  send(1, 0);
  peer.connection.reset(peer.stream(1), kHttp2Cancel);
  for (int i = 0; i < 4; ++i) peer.feed(frames::data(1, std::string(10'000, 'x'), false));
  EXPECT_EQ(credit(), 40'000u);
}

TEST_F(Http2ConnectionWindow, IsCreditedForPaddingAsTheStreamIs) {
  send(1, 0);
  const std::string padded = frames::number(255, 1) + "x" + std::string(255, '\0');
  for (int i = 0; i < 130; ++i) {
    peer.feed(frames::frame(frames::kData, frames::kPadded, 1, padded));
  }
  size_t credited[2] = {};
  for (const Frame& frame : peer.take_frames()) {
    if (frame.type == frames::kWindowUpdate) credited[frame.stream] += frame.number(0);
  }
  EXPECT_EQ(credited[0], 130u * 256);
  EXPECT_EQ(credited[1], 130u * 256);
  EXPECT_EQ(peer[1].body.size(), 130u);
}

TEST_F(Http2ConnectionWindow, IsCreditedForWhatIsConsumed) {
  send(1, 60'000);
  peer.connection.consume(peer.stream(1), 60'000);
  EXPECT_EQ(credit(), 60'000u);
}

TEST(Http2Windows, ASmallerInitialWindowMayMakeThemNegative) {
  Http2Peer server(Role::server);
  server.feed(std::string(frames::kPreface) + frames::settings());
  server.feed(frames::headers(1, frames::kRequest, true));
  server.respond(1, std::string(100'000, 'x'));
  EXPECT_EQ(data_bytes(server.take_frames()), 65'535u);
  server.feed(frames::window_update(0, 1'000'000) +
              frames::settings({{frames::kInitialWindowSize, 1000}}));
  EXPECT_EQ(data_bytes(server.take_frames()), 0u);
  server.feed(frames::window_update(1, 64'535));
  EXPECT_EQ(data_bytes(server.take_frames()), 0u);
  server.feed(frames::window_update(1, 10));
  EXPECT_EQ(data_bytes(server.take_frames()), 10u);
  server.feed(frames::settings({{frames::kInitialWindowSize, 65'535}}));
  EXPECT_EQ(data_bytes(server.take_frames()), 100'000u - 65'545);
  EXPECT_EQ(server[1].closed, 1);
}

TEST(Http2Windows, AWindowOfTheConnectionStopsAllStreams) {
  Http2Peer server(Role::server);
  server.feed(std::string(frames::kPreface) +
              frames::settings({{frames::kInitialWindowSize, 1'000'000}}));
  for (const uint32_t id : {1u, 3u, 5u}) {
    server.feed(frames::headers(id, frames::kRequest, true));
    server.respond(static_cast<int32_t>(id), std::string(60'000, 'x'));
  }
  EXPECT_EQ(data_bytes(server.take_frames()), 65'535u);
  server.feed(frames::window_update(0, 1'000'000));
  EXPECT_EQ(data_bytes(server.take_frames()), 180'000u - 65'535);
  EXPECT_EQ(server.closed_streams, 3u);
}

TEST(Http2Windows, StreamsOfOneConnectionTakeTurns) {
  Http2Peer server(Role::server);
  server.feed(std::string(frames::kPreface) +
              frames::settings({{frames::kInitialWindowSize, 10'000'000}}) +
              frames::window_update(0, 10'000'000) + frames::headers(1, frames::kRequest, true) +
              frames::headers(3, frames::kRequest, true));
  server.respond(1, std::string(5'000'000, 'x'));
  server.respond(3, "small");
  server.take(100'000);
  EXPECT_EQ(server[3].closed, 1) << "it waits for a turn, not for all of the other";
}

TEST_F(Http2Flow, SmallPiecesOfABlockedStreamCostLittle) {
  server.consumes = false;
  const int32_t id = client.open(frames::kRequest, false);
  client.connection.send_data(client.stream(id), std::string(256 * 1024, 'x'), false);
  join();
  std::string all;
  for (int i = 0; i < 10'000; ++i) {
    const std::string piece(1 + static_cast<size_t>(i % 7), static_cast<char>('a' + i % 26));
    client.connection.send_data(client.stream(id), piece, false);
    all += piece;
  }
  client.connection.send_data(client.stream(id), "", true);
  server.connection.consume(server.stream(id), 256 * 1024);
  server.consumes = true;
  join(777);
  EXPECT_EQ(server[id].body.substr(256 * 1024), all);
  EXPECT_TRUE(server[id].ended);
}

}  // namespace
}  // namespace berth::wire
