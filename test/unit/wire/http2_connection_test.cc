#include "wire/http2_connection.h"

#include "base/limits.h"
#include "unit/wire/http2_peer.h"

namespace berth::wire {
namespace {

using frames::Pairs;

const Pairs kOk = {{":status", "200"}};
const Pairs kTrailers = {{"grpc-status", "0"}, {"grpc-message", "fine"}};

class Http2ConnectionTest : public Http2Pair {};

// ---- messages ----

TEST_F(Http2ConnectionTest, CarriesARequestAndItsResponse) {
  const int32_t id = client.post("ping");
  join();
  EXPECT_EQ(server[id].headers, frames::kRequest);
  EXPECT_EQ(server[id].body, "ping");
  EXPECT_TRUE(server[id].ended);
  server.respond(id, "pong");
  join();
  EXPECT_EQ(client[id].headers, kOk);
  EXPECT_EQ(client[id].body, "pong");
  EXPECT_TRUE(client[id].ended);
  EXPECT_EQ(client[id].sent, 4u);
  for (Http2Peer* side : {&client, &server}) {
    EXPECT_EQ((*side)[id].closed, 1);
    EXPECT_EQ((*side)[id].error, kHttp2NoError);
    EXPECT_FALSE((*side)[id].unseen);
    EXPECT_EQ(side->connection.open_streams(), 0u);
    EXPECT_FALSE(side->connection.done());
    EXPECT_FALSE(side->connection.wants_to_send());
  }
}

TEST_F(Http2ConnectionTest, CarriesAllByteByByte) {
  const int32_t id = client.post(std::string(300, 'x'));
  join(1);
  server.respond(id, std::string(300, 'y'), false);
  server.connection.send_trailers(server.stream(id), headers_of(kTrailers));
  join(1);
  EXPECT_EQ(server[id].body, std::string(300, 'x'));
  EXPECT_EQ(client[id].body, std::string(300, 'y'));
  EXPECT_EQ(client[id].trailers, kTrailers);
  EXPECT_EQ(client[id].closed, 1);
}

TEST_F(Http2ConnectionTest, TheLastPieceOfABodySaysThatItIs) {
  std::vector<std::pair<size_t, bool>> pieces;
  server.on_data = [&](Http2Stream&, std::string_view bytes, bool end) {
    pieces.emplace_back(bytes.size(), end);
  };
  client.post("ping");
  join();
  EXPECT_EQ(pieces, (std::vector<std::pair<size_t, bool>>{{4, true}}));
}

TEST_F(Http2ConnectionTest, ARequestWithoutABodyEndsWithItsHeaders) {
  const int32_t id = client.open(frames::kRequest, true);
  join();
  EXPECT_TRUE(server[id].ended);
  EXPECT_EQ(server[id].body, "");
  server.connection.respond(server.stream(id), headers_of(kOk), true);
  join();
  EXPECT_TRUE(client[id].ended);
  EXPECT_EQ(client[id].closed, 1);
}

TEST_F(Http2ConnectionTest, AnEmptyEndMayComeBehindTheData) {
  const int32_t id = client.open(frames::kRequest, false);
  client.connection.send_data(client.stream(id), "ping", false);
  join();
  EXPECT_FALSE(server[id].ended);
  client.connection.send_data(client.stream(id), "", true);
  join();
  EXPECT_TRUE(server[id].ended);
  EXPECT_EQ(server[id].body, "ping");
}

TEST_F(Http2ConnectionTest, TrailersComeBehindWhatIsQueued) {
  const int32_t id = client.post("");
  join();
  const std::string body(1 << 20, 'b');  // more than the client's window
  client.consumes = false;
  server.respond(id, body, false);
  server.connection.send_trailers(server.stream(id), headers_of(kTrailers));
  join();
  EXPECT_EQ(client[id].body.size(), 256u * 1024);
  EXPECT_TRUE(client[id].trailers.empty());
  EXPECT_EQ(server.connection.queued(server.stream(id)), body.size() - 256 * 1024);
  client.consumes = true;
  client.connection.consume(client.stream(id), 256 * 1024);
  join();
  EXPECT_EQ(client[id].body, body);
  EXPECT_EQ(client[id].trailers, kTrailers);
  EXPECT_EQ(client[id].closed, 1);
  EXPECT_EQ(server[id].closed, 1);
}

TEST_F(Http2ConnectionTest, TrailersMayComeWithoutData) {
  const int32_t id = client.post("ping");
  join();
  server.connection.respond(server.stream(id), headers_of(kOk), false);
  server.connection.send_trailers(server.stream(id), headers_of(kTrailers));
  join();
  EXPECT_EQ(client[id].body, "");
  EXPECT_EQ(client[id].trailers, kTrailers);
  EXPECT_EQ(client[id].closed, 1);
}

TEST_F(Http2ConnectionTest, ARequestMayHaveTrailers) {
  const int32_t id = client.open(frames::kRequest, false);
  client.connection.send_data(client.stream(id), "ping", false);
  client.connection.send_trailers(client.stream(id), headers_of(kTrailers));
  join();
  EXPECT_EQ(server[id].body, "ping");
  EXPECT_EQ(server[id].trailers, kTrailers);
  EXPECT_TRUE(server[id].ended);
}

TEST_F(Http2ConnectionTest, InformationalResponsesComeBeforeTheResponse) {
  const int32_t id = client.post("ping");
  join();
  server.connection.inform(server.stream(id), headers_of({{":status", "100"}}));
  server.connection.inform(server.stream(id), headers_of({{":status", "103"}, {"link", "a"}}));
  server.respond(id, "pong");
  join();
  EXPECT_EQ(client[id].informational,
            (std::vector<Pairs>{{{":status", "100"}}, {{":status", "103"}, {"link", "a"}}}));
  EXPECT_EQ(client[id].headers, kOk);
  EXPECT_EQ(client[id].body, "pong");
}

TEST_F(Http2ConnectionTest, HeadersThatWereTakenGoOnWithoutBeingCopied) {
  Http2Headers kept;
  server.on_headers = [&](Http2Stream&, Http2Headers&& headers, Http2Kind, bool) {
    kept = std::move(headers);
  };
  client.open({{":method", "GET"},
               {":scheme", "http"},
               {":path", "/a"},
               {"x-token", "secret"},
               {"x-other", "1"}},
              true);
  join();
  Http2Peer upstream(Role::client);
  kept.set(":authority", "pool.test");
  kept.set("x-token", "other");
  kept.remove("x-other");
  const Http2Headers again = kept.copy();
  const Pairs expected = {{":method", "GET"},
                          {":scheme", "http"},
                          {":path", "/a"},
                          {":authority", "pool.test"},
                          {"x-token", "other"}};
  EXPECT_EQ(pairs_of(again), expected);
  ASSERT_NE(upstream.connection.open(std::move(kept), true, nullptr), nullptr);
  Http2Peer far(Role::server);
  far.feed(upstream.take());
  EXPECT_EQ(far[1].headers, expected);
}

TEST_F(Http2ConnectionTest, LongHeadersGoInSeveralFrames) {
  Http2Peer wide(Role::server, {.max_header_bytes = 200'000});
  Pairs pairs = frames::kRequest;
  for (int i = 0; i < 6; ++i)
    pairs.emplace_back("x-" + std::to_string(i), std::string(20'000, '~'));
  const int32_t id = client.open(pairs, true);
  const std::string bytes = client.take();
  size_t continued = 0;
  for (const frames::Frame& frame : frames::parse(bytes)) {
    EXPECT_LE(frame.payload.size(), 16'384u);
    continued += frame.type == frames::kContinuation ? 1 : 0;
  }
  EXPECT_GE(continued, 3u);
  EXPECT_TRUE(wide.feed_bytewise(bytes)) << wide.connection.why();
  EXPECT_EQ(wide[id].headers, pairs);
  EXPECT_TRUE(wide[id].ended);
}

TEST_F(Http2ConnectionTest, HeadersThatNobodyWouldTakeAreNotSent) {
  join();
  Pairs pairs = frames::kRequest;
  for (int i = 0; i < 20; ++i)
    pairs.emplace_back("x-" + std::to_string(i), std::string(60'000, '~'));
  const int32_t id = client.open(pairs, true);
  const int32_t other = client.post("ping");
  join();
  EXPECT_EQ(client[id].error, kHttp2InternalError);
  EXPECT_TRUE(client[id].unseen);
  EXPECT_EQ(server.streams.size(), 1u);
  EXPECT_EQ(server[other].body, "ping");
}

TEST_F(Http2ConnectionTest, OfInformationalResponsesThatWaitThereAreOnlySome) {
  const int32_t id = client.open(frames::kRequest, true);
  join();
  for (int i = 0; i < 1000; ++i) {
    server.connection.inform(server.stream(id), headers_of({{":status", "103"}}));
  }
  server.respond(id, "pong");
  join();
  EXPECT_EQ(client[id].informational.size(), 16u);
  EXPECT_EQ(client[id].body, "pong");
}

TEST_F(Http2ConnectionTest, HeadersOutliveTheirConnection) {
  Http2Headers kept;
  {
    Http2Peer one(Role::client);
    Http2Peer other(Role::server);
    other.on_headers = [&](Http2Stream&, Http2Headers&& headers, Http2Kind, bool) {
      kept = std::move(headers);
    };
    one.open({{":method", "GET"}, {":scheme", "http"}, {":path", "/a"}, {"x-own", "own"}}, true);
    other.feed(one.take());
  }
  EXPECT_EQ(kept.find("x-own")->value, "own");
}

TEST_F(Http2ConnectionTest, WhatNoTableMayHoldStaysSo) {
  Http2Headers headers = headers_of(frames::kRequest);
  headers.add("authorization", "secret", true);
  bool never = false;
  server.on_headers = [&](Http2Stream&, Http2Headers&& got, Http2Kind, bool) {
    never = got.fields().back().never_index;
  };
  client.connection.open(std::move(headers), true, nullptr);
  join();
  EXPECT_TRUE(never);
}

TEST_F(Http2ConnectionTest, ManyStreamsGoAtOnce) {
  std::vector<int32_t> ids;
  for (int i = 0; i < 100; ++i) ids.push_back(client.post(std::to_string(i)));
  join();
  for (const int32_t id : ids) server.respond(id, "re " + server[id].body);
  join();
  for (size_t i = 0; i < ids.size(); ++i) EXPECT_EQ(client[ids[i]].body, "re " + std::to_string(i));
  EXPECT_EQ(client.closed_streams, 100u);
  EXPECT_EQ(server.closed_streams, 100u);
}

// ---- resets and ends ----

TEST_F(Http2ConnectionTest, AClientsResetReachesTheServer) {
  const int32_t id = client.open(frames::kRequest, false);
  join();
  client.connection.reset(client.stream(id), kHttp2Cancel);
  join();
  EXPECT_EQ(client[id].closed, 1);
  EXPECT_EQ(client[id].error, kHttp2Cancel);
  EXPECT_FALSE(client[id].unseen);
  EXPECT_EQ(server[id].closed, 1);
  EXPECT_EQ(server[id].error, kHttp2Cancel);
}

TEST_F(Http2ConnectionTest, ARequestThatIsResetBeforeItIsSentIsNeverSent) {
  join();
  const int32_t id = client.post("ping");
  client.connection.reset(client.stream(id), kHttp2Cancel);
  join();
  EXPECT_EQ(client[id].closed, 1);
  EXPECT_TRUE(client[id].unseen);
  EXPECT_TRUE(server.streams.empty());
}

TEST_F(Http2ConnectionTest, AServersResetReachesTheClientAndDropsWhatIsQueued) {
  const int32_t id = client.post("ping");
  join();
  client.consumes = false;
  server.respond(id, std::string(1 << 20, 'b'), false);
  join();
  server.connection.reset(server.stream(id), kHttp2InternalError);
  EXPECT_EQ(server.connection.queued(server.stream(id)), 0u);
  server.connection.send_data(server.stream(id), "ignored", true);
  join();
  EXPECT_EQ(client[id].error, kHttp2InternalError);
  EXPECT_EQ(server[id].closed, 1);
}

TEST_F(Http2ConnectionTest, AResetBehindTheEndWaitsForIt) {
  const int32_t id = client.open(frames::kRequest, false);
  join();
  client.consumes = false;
  server.respond(id, std::string(300'000, 'b'));
  server.connection.reset(server.stream(id), kHttp2NoError);
  join();
  EXPECT_EQ(client[id].closed, 0);
  client.connection.consume(client.stream(id), client[id].body.size());
  join();
  EXPECT_EQ(client[id].body.size(), 300'000u);
  EXPECT_TRUE(client[id].ended);
  EXPECT_EQ(client[id].closed, 1);
  EXPECT_EQ(client[id].error, kHttp2NoError);
  EXPECT_EQ(server[id].closed, 1);
}

TEST_F(Http2ConnectionTest, ARefusedStreamWasNotSeen) {
  const int32_t id = client.post("ping");
  join();
  server.connection.reset(server.stream(id), kHttp2RefusedStream);
  join();
  EXPECT_TRUE(client[id].unseen);
  EXPECT_FALSE(server[id].unseen);
}

TEST_F(Http2ConnectionTest, WhenTheSocketEndsWhatWasNotSentWasNotSeen) {
  join();
  const int32_t sent = client.post("ping");
  client.take();
  const int32_t framed = client.post("ping");
  client.connection.fill();
  const int32_t waiting = client.post("ping");
  client.connection.end(kHttp2InternalError);
  EXPECT_FALSE(client[sent].unseen);
  EXPECT_TRUE(client[framed].unseen);
  EXPECT_TRUE(client[waiting].unseen);
  EXPECT_EQ(client.closed_streams, 3u);
  EXPECT_TRUE(client.connection.done());
  EXPECT_EQ(client.open(frames::kRequest, true), 0);
}

TEST_F(Http2ConnectionTest, NothingMayBeDoneWithAStreamThatIsBeingClosed) {
  const int32_t id = client.open(frames::kRequest, false);
  join();
  client.on_closed = [&](Http2Stream& stream) {
    client.connection.send_data(stream, "too late", true);
    client.connection.reset(stream, kHttp2Cancel);
  };
  server.connection.reset(server.stream(id), kHttp2Cancel);
  join();
  EXPECT_EQ(client[id].closed, 1);
}

TEST_F(Http2ConnectionTest, AnswersMayBeGivenFromWithinAnEvent) {
  server.on_headers = [&](Http2Stream& stream, Http2Headers&&, Http2Kind, bool) {
    server.connection.respond(stream, headers_of(kOk), false);
    server.connection.send_data(stream, "at once", false);
    server.connection.send_trailers(stream, headers_of(kTrailers));
  };
  const int32_t id = client.open(frames::kRequest, true);
  join();
  EXPECT_EQ(client[id].body, "at once");
  EXPECT_EQ(client[id].trailers, kTrailers);
}

// ---- limits ----

TEST(Http2Limits, AClientOpensNoMoreThanTheServerAllows) {
  Http2Peer client(Role::client);
  Http2Peer server(Role::server, {.max_concurrent_streams = 1});
  EXPECT_EQ(client.connection.room(), 100u);  // until it says
  client.feed(server.take());
  EXPECT_EQ(client.max_concurrent_streams, 1u);
  const int32_t first = client.post("a");
  EXPECT_FALSE(client.connection.can_open());
  Http2Headers headers = headers_of(frames::kRequest);
  EXPECT_EQ(client.connection.open(std::move(headers), true, nullptr), nullptr);
  EXPECT_EQ(pairs_of(headers), frames::kRequest)  // NOLINT(bugprone-use-after-move)
      << "they are left as they are";
  server.feed(client.take());
  server.respond(first, "b");
  client.feed(server.take());
  EXPECT_TRUE(client.connection.can_open());
  EXPECT_NE(client.post("c"), 0);
}

TEST(Http2Limits, AClientHasALimitOfItsOwn) {
  Http2Peer client(Role::client, {.max_concurrent_streams = 2});
  client.post("a");
  EXPECT_EQ(client.connection.room(), 1u);
  client.post("b");
  EXPECT_FALSE(client.connection.can_open());
  EXPECT_FALSE(client.connection.is_closing());
}

TEST(Http2Limits, NoMoreIsFramedThanAFewSocketBuffers) {
  Http2Peer client(Role::client);
  Http2Peer server(Role::server);
  server.feed(client.take() + frames::settings({{frames::kInitialWindowSize, 0x7fffffff}}));
  const int32_t id = client.post("ping");
  server.feed(client.take());
  server.respond(id, std::string(4 << 20, 'b'));
  server.connection.fill();
  const size_t first = server.connection.to_send_bytes();
  EXPECT_GE(first, kMaxHttp2OutputBytes);
  EXPECT_LE(first, kMaxHttp2OutputBytes + 32 * 1024);
  server.connection.fill();
  EXPECT_EQ(server.connection.to_send_bytes(), first);
  // One byte at a time is a slow socket, too.
  server.connection.sent(1);
  std::string bytes;
  while (server.connection.wants_to_send()) {
    EXPECT_LE(server.connection.to_send_bytes(), kMaxHttp2OutputBytes + 32 * 1024);
    bytes += server.take(100'000);
  }
  EXPECT_EQ(server[id].sent, size_t{4} << 20);
}

TEST(Http2Limits, AResetStreamOfAStalledSocketSendsWhatItsFrameWasPromised) {
  Http2Peer client(Role::client);
  Http2Peer server(Role::server);
  server.feed(client.take() + frames::settings({{frames::kInitialWindowSize, 0x7fffffff}}));
  const int32_t id = client.post("ping");
  server.feed(client.take());
  server.respond(id, std::string(4 << 20, 'b'));
  server.connection.fill();
  server.connection.reset(server.stream(id), kHttp2Cancel);
  std::vector<frames::Frame> all = server.take_frames();
  while (server.connection.wants_to_send()) {
    for (frames::Frame& frame : server.take_frames()) all.push_back(std::move(frame));
  }
  EXPECT_EQ(all.back().type, frames::kRstStream);
  EXPECT_LT(server[id].sent, size_t{1} << 20);
  EXPECT_EQ(server[id].closed, 1);
}

TEST(Http2Limits, AnOpenStreamCostsLessThanTwoKilobytes) {
  constexpr size_t kStreams = 10'000;
  Http2Peer client(Role::client, {.max_concurrent_streams = kStreams});
  Http2Peer server(Role::server, {.max_concurrent_streams = kStreams});
  client.feed(server.take());
  const size_t client_before = client.connection.memory();
  const size_t server_before = server.connection.memory();
  for (size_t i = 0; i < kStreams; ++i) {
    ASSERT_NE(client.open(frames::kRequest, false), 0);
    if (i % 100 == 0) server.feed(client.take());
  }
  server.feed(client.take());
  EXPECT_EQ(server.connection.open_streams(), kStreams);
  const size_t client_cost = (client.connection.memory() - client_before) / kStreams;
  const size_t server_cost = (server.connection.memory() - server_before) / kStreams;
  EXPECT_LE(client_cost + server_cost, 2048u) << client_cost << " and " << server_cost;
}

// ---- the connection ----

TEST_F(Http2ConnectionTest, PingsAreAnswered) {
  client.connection.ping(7);
  server.connection.ping(8);
  join();
  EXPECT_EQ(client.pongs, std::vector<uint64_t>{7});
  EXPECT_EQ(server.pongs, std::vector<uint64_t>{8});
}

TEST_F(Http2ConnectionTest, AServerClosesGracefully) {
  const int32_t early = client.post("a");
  join();
  server.connection.close_gracefully();
  const int32_t late = client.post("on its way");
  const std::string on_its_way = client.take();
  client.feed(server.take());
  EXPECT_TRUE(client.connection.is_closing());
  EXPECT_EQ(client.goaways.back().first, 0x7fffffff);
  server.feed(on_its_way);
  join();
  EXPECT_EQ(client.goaways.back().first, late);
  server.respond(early, "b");
  server.respond(late, "c");
  EXPECT_FALSE(server.connection.done());
  join();
  EXPECT_EQ(client[early].body, "b");
  EXPECT_EQ(client[late].body, "c");
  EXPECT_TRUE(server.connection.done());
  EXPECT_TRUE(client.connection.done());
}

TEST_F(Http2ConnectionTest, WhatComesBehindTheLastStreamOfOurGoawayIsNotSeen) {
  client.post("a");
  join();
  server.connection.close_gracefully();
  server.feed(frames::frame(frames::kPing, frames::kAck, 0, "farewell"));
  EXPECT_EQ(server.take_frames().back().number(0), 1u) << "the last stream that is seen";
  EXPECT_TRUE(
      server.feed(frames::headers(5, frames::kRequest, false) + frames::data(5, "unseen", true)));
  EXPECT_EQ(server.streams.size(), 1u);
  server.connection.close(kHttp2InternalError, "");
  EXPECT_EQ(server.take_frames().back().number(0), 1u) << "and stays so";
}

TEST_F(Http2ConnectionTest, WhatIsLeftCanBeConsumedWhileAStreamIsClosed) {
  const int32_t id = client.post("ping");
  server.consumes = false;
  server.on_closed = [&](Http2Stream& stream) { server.connection.consume(stream, 4); };
  join();
  client.connection.reset(client.stream(id), kHttp2Cancel);
  join();
  EXPECT_EQ(server[id].closed, 1);
}

TEST_F(Http2ConnectionTest, WhatAnOrderlyCloseFindsUnsentWasNotSeen) {
  join();
  const int32_t id = client.post("ping");
  client.connection.close(kHttp2NoError, "");
  client.take();
  EXPECT_TRUE(client[id].unseen);
}

TEST_F(Http2ConnectionTest, AClientClosesGracefully) {
  const int32_t id = client.post("a");
  client.connection.close_gracefully();
  EXPECT_FALSE(client.connection.can_open());
  join();
  server.respond(id, "b");
  join();
  EXPECT_EQ(client[id].body, "b");
  EXPECT_TRUE(client.connection.done());
  EXPECT_TRUE(server.connection.done());
}

TEST_F(Http2ConnectionTest, AnIdleConnectionThatClosesIsDoneAtOnce) {
  join();
  server.connection.close_gracefully();
  join();
  EXPECT_TRUE(server.connection.done());
  EXPECT_TRUE(client.connection.done());
}

TEST_F(Http2ConnectionTest, AnAbruptCloseEndsAllStreams) {
  const int32_t id = client.post("a");
  join();
  server.connection.close(kHttp2EnhanceYourCalm, "enough");
  EXPECT_EQ(server[id].closed, 0) << "no event comes from within close()";
  join();
  EXPECT_EQ(server[id].error, kHttp2EnhanceYourCalm);
  EXPECT_TRUE(server.connection.done());
  EXPECT_EQ(client.goaway_debug, "enough");
  EXPECT_EQ(client.goaways.back(), (std::pair<int32_t, uint32_t>{id, kHttp2EnhanceYourCalm}));
}

TEST_F(Http2ConnectionTest, StreamsBeyondTheLastOfAGoawayWereNotSeen) {
  join();
  const int32_t first = client.post("a");
  const int32_t second = client.post("b");
  client.take();
  const int32_t third = client.post("c");
  client.feed(frames::goaway(static_cast<uint32_t>(first), kHttp2NoError, "bye"));
  client.take();
  EXPECT_EQ(client[first].closed, 0);
  for (const int32_t id : {second, third}) {
    EXPECT_EQ(client[id].closed, 1);
    EXPECT_TRUE(client[id].unseen);
    EXPECT_EQ(client[id].error, kHttp2RefusedStream);
  }
  EXPECT_FALSE(client.connection.done());
}

}  // namespace
}  // namespace berth::wire
