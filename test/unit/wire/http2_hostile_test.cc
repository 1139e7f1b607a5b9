// What no decent peer sends, and what decent ones send that is odd: frames written by hand.
#include "base/limits.h"
#include "unit/wire/http2_peer.h"
#include "wire/http2_connection.h"

namespace berth::wire {
namespace {

using frames::Frame;
using frames::Pairs;

std::string opening() {
  return std::string(frames::kPreface) + frames::settings();
}

Pairs with(Pairs pairs, std::initializer_list<std::pair<std::string, std::string>> more) {
  pairs.insert(pairs.end(), more);
  return pairs;
}

// A server that a client's frames are played to.
class Http2Server : public ::testing::Test {
 protected:
  Http2Server() {
    EXPECT_TRUE(peer.feed(opening()));
    peer.take();
  }

  // The error that stream 1 was reset with, or -1.
  int reset_of(const std::string& bytes) {
    EXPECT_TRUE(peer.feed(bytes)) << peer.connection.why();
    return error_in(frames::kRstStream, 0);
  }
  // The error that the connection ended with, or -1.
  int end_of(const std::string& bytes) {
    EXPECT_FALSE(peer.feed(bytes));
    EXPECT_FALSE(peer.connection.why().empty());
    const int error = error_in(frames::kGoaway, 4);
    EXPECT_TRUE(peer.connection.done());
    EXPECT_EQ(peer.connection.open_streams(), 0u);
    return error;
  }

  Http2Peer peer{Role::server, {.max_header_bytes = 4096}};

 private:
  int error_in(frames::Type type, size_t at) {
    for (const Frame& frame : peer.take_frames()) {
      if (frame.type == type) return static_cast<int>(frame.number(at));
    }
    return -1;
  }
};

// 16 MB in one second, of which each KiB is credited twice.
void client_feeds_credit(Http2Peer& peer) {
  peer.feed(frames::settings({{frames::kInitialWindowSize, 0x7fffffff}}) +
            frames::window_update(0, 1'000'000'000));
  const auto id = static_cast<uint32_t>(peer.open(frames::kRequest, false));
  for (int i = 0; i < 1000; ++i) {
    peer.connection.send_data(peer.stream(static_cast<int32_t>(id)), std::string(16'384, 'x'),
                              false);
    peer.take();
    std::string credit;
    for (int k = 0; k < 16; ++k) {
      credit += frames::window_update(0, 1024) + frames::window_update(id, 1024);
    }
    peer.feed(credit);
  }
}

class Http2Client : public ::testing::Test {
 protected:
  Http2Client() {
    EXPECT_TRUE(peer.feed(frames::settings()));
    id = peer.post("ping");
    peer.take();
  }
  Http2Peer peer{Role::client, {.max_header_bytes = 4096}};
  int32_t id = 0;
};

// ---- requests ----

TEST_F(Http2Server, TakesARequest) {
  peer.feed(frames::headers(1, frames::kRequest, false) + frames::data(1, "ping", true));
  EXPECT_EQ(peer[1].headers, frames::kRequest);
  EXPECT_EQ(peer[1].body, "ping");
}

TEST_F(Http2Server, TakesAnyAuthority) {
  const Pairs bare = {{":method", "POST"}, {":scheme", "http"}, {":path", "/a"}};
  uint32_t id = 1;
  for (const char* authority : {"/run/berth/sockets/orders.sock", "%2Frun%2Fberth%2Fx.sock",
                                "localhost", "", "a b", "unix:/run/x"}) {
    const Pairs request = with(bare, {{":authority", authority}});
    peer.feed(frames::headers(id, request, true));
    EXPECT_EQ(peer[static_cast<int32_t>(id)].headers, request) << authority;
    id += 2;
  }
  peer.feed(frames::headers(id, bare, true));
  EXPECT_EQ(peer[static_cast<int32_t>(id)].headers, bare);
}

TEST_F(Http2Server, TakesOddButLegalRequests) {
  const Pairs odd[] = {
      {{":path", "*"}, {":method", "OPTIONS"}, {":scheme", "http"}},
      {{":method", "CONNECT"}, {":authority", "a:1"}},
      with(frames::kRequest, {{"te", "trailers"}, {"x", ""}, {"x", ""}}),
      with(frames::kRequest, {{"x-text", "\xff\xfe \t b"}, {"!#$%&'*+-.^_`|~09", "1"}}),
      with(frames::kRequest, {{"content-length", "0"}}),
      with(frames::kRequest, {{"host", "other host"}, {"cookie", "a"}, {"cookie", "b"}}),
  };
  uint32_t id = 1;
  for (const Pairs& request : odd) {
    peer.feed(frames::headers(id, request, true));
    EXPECT_EQ(peer[static_cast<int32_t>(id)].headers, request);
    id += 2;
  }
}

TEST_F(Http2Server, MalformedRequestsAreResetAndNeverSeen) {
  const Pairs wrong[] = {
      {},
      {{":method", "GET"}, {":scheme", "http"}},
      {{":method", "GET"}, {":path", "/"}},
      {{":scheme", "http"}, {":path", "/"}},
      {{":method", "GET"}, {":scheme", "http"}, {":path", ""}},
      {{":method", "GET"}, {":scheme", "http"}, {":path", "a"}},
      {{":method", "GET"}, {":scheme", "http"}, {":path", "*"}},
      {{":method", "OPTIONS"}, {":scheme", "http"}, {":path", "*a"}},
      {{":method", ""}, {":scheme", "http"}, {":path", "/"}},
      {{":method", "GET"}, {":scheme", ""}, {":path", "/"}},
      {{":method", "CONNECT"}, {":scheme", "http"}, {":path", "/"}, {":authority", "a:1"}},
      {{":method", "CONNECT"}},
      with(frames::kRequest, {{":path", "/b"}}),
      with(frames::kRequest, {{":status", "200"}}),
      with(frames::kRequest, {{":protocol", "websocket"}}),
      with(frames::kRequest, {{"a", "b"}, {":late", "c"}}),
      {{":method", "GET"}, {"a", "b"}, {":scheme", "http"}, {":path", "/"}},
      with(frames::kRequest, {{"Upper", "a"}}),
      with(frames::kRequest, {{"sp ace", "a"}}),
      with(frames::kRequest, {{"", "a"}}),
      {{":method", "GET"}, {":scheme", "http"}, {":path", "/a "}},
      with(frames::kRequest, {{"a", "in\nside the value"}}),
      with(frames::kRequest, {{"a", "in the long value\r"}}),
      with(frames::kRequest, {{"a", std::string("nul\0nul", 7)}}),
      with(frames::kRequest, {{"a", "\x7f"}}),
      with(frames::kRequest, {{"connection", "close"}}),
      with(frames::kRequest, {{"keep-alive", "a"}}),
      with(frames::kRequest, {{"proxy-connection", "a"}}),
      with(frames::kRequest, {{"transfer-encoding", "chunked"}}),
      with(frames::kRequest, {{"upgrade", "h2c"}}),
      with(frames::kRequest, {{"te", "gzip"}}),
      with(frames::kRequest, {{"content-length", "5"}}),
      with(frames::kRequest, {{"content-length", "-1"}}),
      with(frames::kRequest, {{"content-length", ""}}),
      with(frames::kRequest, {{"content-length", "0"}, {"content-length", "0"}}),
      with(frames::kRequest, {{"content-length", "99999999999999999999"}}),
  };
  uint32_t id = 1;
  for (const Pairs& request : wrong) {
    EXPECT_EQ(reset_of(frames::headers(id, request, true)), int{kHttp2ProtocolError})
        << ::testing::PrintToString(request);
    id += 2;
  }
  EXPECT_TRUE(peer.streams.empty());
  EXPECT_EQ(peer.connection.open_streams(), 0u);
}

TEST_F(Http2Server, ABodyIsAsLongAsItsRequestSays) {
  const Pairs request = with(frames::kRequest, {{"content-length", "4"}});
  peer.feed(frames::headers(1, request, false) + frames::data(1, "pi", false) +
            frames::data(1, "ng", true));
  EXPECT_EQ(peer[1].body, "ping");
  EXPECT_EQ(reset_of(frames::headers(3, request, false) + frames::data(3, "pings", false)),
            int{kHttp2ProtocolError});
  EXPECT_EQ(reset_of(frames::headers(5, request, false) + frames::data(5, "pin", true)),
            int{kHttp2ProtocolError});
  EXPECT_FALSE(peer[5].ended);
  EXPECT_EQ(peer[5].error, kHttp2ProtocolError);
}

TEST_F(Http2Server, TrailersEndARequestAndHaveNoPseudoHeaderFields) {
  peer.feed(frames::headers(1, frames::kRequest, false) + frames::headers(1, {{"a", "b"}}, true));
  EXPECT_EQ(peer[1].trailers, (Pairs{{"a", "b"}}));
  EXPECT_EQ(reset_of(frames::headers(3, frames::kRequest, false) +
                     frames::headers(3, {{"a", "b"}}, false)),
            int{kHttp2ProtocolError});
  EXPECT_EQ(reset_of(frames::headers(5, frames::kRequest, false) +
                     frames::headers(5, {{":path", "/"}}, true)),
            int{kHttp2ProtocolError});
}

TEST_F(Http2Server, PaddingIsNoBody) {
  const std::string padded = frames::number(3, 1) + "ping" + std::string(3, '\0');
  peer.feed(frames::headers(1, frames::kRequest, false) +
            frames::frame(frames::kData, frames::kPadded | frames::kEnd, 1, padded));
  EXPECT_EQ(peer[1].body, "ping");
  EXPECT_TRUE(peer[1].ended);
}

// ---- sizes of headers ----

TEST_F(Http2Server, HeadersThatAreTooLargeAreAnsweredWith431) {
  const Pairs large = with(frames::kRequest, {{"x-large", std::string(4000, 'x')}, {"y", "z"}});
  ASSERT_TRUE(peer.feed(frames::headers(1, large, false) + frames::data(1, "ignored", false)));
  EXPECT_TRUE(peer[1].too_large);
  EXPECT_FALSE(peer[1].has_headers);
  const std::vector<Frame> answer = peer.take_frames();
  ASSERT_EQ(answer.size(), 2u);
  EXPECT_EQ(answer[0].type, frames::kHeaders);
  EXPECT_EQ(answer[0].flags, frames::kEnd | frames::kEndHeaders);
  EXPECT_EQ(answer[1].type, frames::kRstStream);
  EXPECT_EQ(answer[1].number(0), kHttp2NoError);
  EXPECT_EQ(peer[1].closed, 1);
  EXPECT_EQ(peer[1].body, "");
}

TEST_F(Http2Server, WhoeverServesMayAnswerThatItself) {
  peer.on_too_large = [&](Http2Stream& stream) {
    peer.connection.respond(stream, headers_of({{":status", "200"}, {"grpc-status", "8"}}), true);
  };
  peer.feed(frames::headers(1, with(frames::kRequest, {{"x", std::string(5000, 'x')}}), true));
  EXPECT_EQ(peer.take_frames().size(), 1u);
  EXPECT_EQ(peer[1].closed, 1);
}

TEST_F(Http2Server, TrailersThatAreTooLargeEndTheirStream) {
  EXPECT_EQ(reset_of(frames::headers(1, frames::kRequest, false) +
                     frames::headers(1, {{"x", std::string(5000, 'x')}}, true)),
            int{kHttp2EnhanceYourCalm});
  EXPECT_EQ(peer[1].error, kHttp2EnhanceYourCalm);
}

TEST_F(Http2Server, ASmallBlockThatBecomesLargeIsNotKept) {
  // One field of 3,000 bytes that the table remembers, and 10,000 references to it.
  std::string block = frames::block(frames::kRequest) + '\x40' + frames::length(1) + "x" +
                      frames::length(3000) + std::string(3000, 'x') + std::string(10'000, '\xbe');
  const size_t before = peer.connection.memory();
  peer.feed(frames::frame(frames::kHeaders, frames::kEnd | frames::kEndHeaders, 1, block));
  EXPECT_TRUE(peer[1].too_large);
  EXPECT_LE(peer.connection.memory(), before + 16 * 1024);
}

TEST_F(Http2Server, ABlockOfTooManyFramesEndsTheConnection) {
  std::string bytes = frames::frame(frames::kHeaders, 0, 1, frames::block(frames::kRequest));
  for (size_t i = 0; i <= kMaxHttp2Continuations; ++i) {
    bytes += frames::frame(frames::kContinuation, 0, 1, frames::block({{"x", "y"}}));
  }
  EXPECT_EQ(end_of(bytes), int{kHttp2EnhanceYourCalm});
}

TEST_F(Http2Server, ABlockOfSomeFramesMayComeByteByByte) {
  std::string bytes = frames::frame(frames::kHeaders, frames::kEnd, 1, "");
  for (const auto& field : frames::kRequest) {
    bytes += frames::frame(frames::kContinuation, 0, 1, frames::block({field}));
  }
  bytes += frames::frame(frames::kContinuation, frames::kEndHeaders, 1, "");
  EXPECT_TRUE(peer.feed_bytewise(bytes)) << peer.connection.why();
  EXPECT_EQ(peer[1].headers, frames::kRequest);
}

// ---- the connection ----

TEST(Http2Hostile, WhoDoesNotSpeakHttp2IsTold) {
  Http2Peer server(Role::server);
  EXPECT_FALSE(server.feed("GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
  EXPECT_EQ(server.connection.why(), "the client does not speak HTTP/2");
  server.take();
  EXPECT_TRUE(server.connection.done());

  Http2Peer client(Role::client);
  const int32_t id = client.post("ping");
  client.take();
  EXPECT_FALSE(client.feed("HTTP/1.1 400 Bad Request\r\n\r\n"));
  EXPECT_EQ(client[id].closed, 1);
  EXPECT_FALSE(client.connection.why().empty());
}

TEST_F(Http2Server, BrokenRulesEndTheConnection) {
  using namespace frames;
  const std::pair<std::string, uint32_t> cases[] = {
      {data(1, "a", false), kHttp2ProtocolError},
      {headers(2, kRequest, true), kHttp2ProtocolError},
      {frame(kSettings, 0, 1, ""), kHttp2ProtocolError},
      {frame(kSettings, 0, 0, "12345"), kHttp2FrameSizeError},
      {frames::settings({{kInitialWindowSize, 0x80000000}}), kHttp2FlowControlError},
      {frame(kPing, 0, 0, "1234567"), kHttp2FrameSizeError},
      {frame(kPing, 0, 1, "12345678"), kHttp2ProtocolError},
      {window_update(0, 0), kHttp2ProtocolError},
      {window_update(0, 0x7fffffff), kHttp2FlowControlError},
      {window_update(1, 1), kHttp2ProtocolError},
      {rst_stream(1, 0), kHttp2ProtocolError},
      {frame(kPushPromise, kEndHeaders, 1, number(2, 4)), kHttp2ProtocolError},
      {frame(kContinuation, kEndHeaders, 1, ""), kHttp2ProtocolError},
      {frame(kHeaders, 0, 1, "") + ping("12345678"), kHttp2ProtocolError},
      {frame(kHeaders, kEndHeaders, 1, "\xff\xff\xff\xff\xff\xff"), kHttp2CompressionError},
      {frame(kHeaders, kEndHeaders | kPadded, 1,
             "\x09"
             "a"),
       kHttp2ProtocolError},
      {frame(kData, 0, 0, "a"), kHttp2ProtocolError},
      {frame(kData, kPadded, 1, ""), kHttp2ProtocolError},
      {headers(1, kRequest, false) + frame(kData, kPadded, 1, "\x01"), kHttp2ProtocolError},
      {headers(1, kRequest, true) + data(1, "a", true), kHttp2StreamClosed},
      {headers(1, kRequest, true) + headers(1, {{"a", "b"}}, true), kHttp2StreamClosed},
      {frame(kHeaders, kEndHeaders, 0, block(kRequest)), kHttp2ProtocolError},
      {frame(kHeaders, kEndHeaders | kWithPriority, 1, "1234"), kHttp2FrameSizeError},
      {frame(kPriority, 0, 1, "1234"), kHttp2FrameSizeError},
      {frame(kRstStream, 0, 1, "123"), kHttp2FrameSizeError},
      {frame(kWindowUpdate, 0, 0, "123"), kHttp2FrameSizeError},
      {frame(kGoaway, 0, 0, "1234567"), kHttp2FrameSizeError},
      {frame(kGoaway, 0, 1, number(0, 8)), kHttp2ProtocolError},
      {goaway(1, 0) + goaway(3, 0), kHttp2ProtocolError},
      {frame(kSettings, kAck, 0, "123456"), kHttp2FrameSizeError},
      {settings_ack() + settings_ack(), kHttp2ProtocolError},
      {frames::settings({{kEnablePush, 2}}), kHttp2ProtocolError},
      {frames::settings({{kMaxFrameSize, 16'383}}), kHttp2ProtocolError},
      {frames::settings({{kMaxFrameSize, 0x1000000}}), kHttp2ProtocolError},
      {headers(1, kRequest, false) + window_update(1, 0x7fffffff - 65'535) +
           frames::settings({{kInitialWindowSize, 65'536}}),
       kHttp2FlowControlError},
      {std::string("\x00\x40\x01\x00\x00\x00\x00\x00\x01", 9), kHttp2FrameSizeError},
  };
  for (const auto& [bytes, error] : cases) {
    for (const bool bytewise : {false, true}) {
      Http2Peer server(Role::server);
      server.feed(opening());
      server.take();
      EXPECT_FALSE(bytewise ? server.feed_bytewise(bytes) : server.feed(bytes))
          << ::testing::PrintToString(bytes);
      const std::vector<Frame> all = server.take_frames();
      ASSERT_FALSE(all.empty());
      EXPECT_EQ(all.back().type, kGoaway);
      EXPECT_EQ(all.back().number(4), error) << server.connection.why();
      EXPECT_TRUE(server.connection.done());
      EXPECT_FALSE(server.feed("more"));
    }
  }
}

TEST(Http2Hostile, SettingsComeFirst) {
  for (const Role role : {Role::server, Role::client}) {
    for (const std::string& first : {frames::ping("12345678"), frames::settings_ack()}) {
      Http2Peer peer(role);
      const bool is_server = role == Role::server;
      EXPECT_FALSE(peer.feed((is_server ? std::string(frames::kPreface) : "") + first));
      // Whatever comes wrong, ours come first, too.
      const std::vector<Frame> all = peer.take_frames();
      EXPECT_EQ(all.front().type, frames::kSettings);
      EXPECT_EQ(all.back().number(4), kHttp2ProtocolError);
    }
  }
}

TEST_F(Http2Server, FramesOfAStreamThatIsOverArePassedOver) {
  EXPECT_TRUE(
      peer.feed(frames::headers(3, frames::kRequest, false) + frames::rst_stream(3, kHttp2Cancel)));
  EXPECT_TRUE(peer.feed(frames::data(3, "late", false) + frames::window_update(3, 1) +
                        frames::headers(3, {{"x-late", "a"}}, true) +
                        frames::rst_stream(3, kHttp2Cancel) +
                        frames::headers(1, frames::kRequest, true)))
      << peer.connection.why();
  EXPECT_EQ(peer.streams.size(), 1u);
  // What was passed over was decoded, so that the tables are as the peer's.
  EXPECT_TRUE(peer.feed(frames::headers(5, frames::kRequest, true)));
  EXPECT_EQ(peer[5].headers, frames::kRequest);
}

TEST_F(Http2Server, ABlockOfAStreamThatIsResetMeanwhileIsDecodedForNobody) {
  peer.feed(frames::headers(1, frames::kRequest, false) +
            frames::frame(frames::kHeaders, frames::kEnd, 1, frames::block({{"a", "b"}})));
  peer.connection.reset(peer.stream(1), kHttp2Cancel);
  peer.take();
  EXPECT_EQ(peer[1].closed, 1);
  EXPECT_TRUE(peer.feed(
      frames::frame(frames::kContinuation, frames::kEndHeaders, 1, frames::block({{"c", "d"}})) +
      frames::headers(3, frames::kRequest, true)));
  EXPECT_EQ(peer[3].headers, frames::kRequest);
}

TEST_F(Http2Server, AWindowOfAStreamThatIsMadeTooLargeEndsTheStream) {
  peer.feed(frames::headers(1, frames::kRequest, false));
  EXPECT_EQ(reset_of(frames::window_update(1, 0x7fffffff)), int{kHttp2FlowControlError});
}

TEST_F(Http2Server, OfSeveralWindowsInOneFrameTheLastCounts) {
  peer.feed(frames::headers(1, frames::kRequest, true));
  peer.respond(1, std::string(100, 'x'), false);
  EXPECT_TRUE(peer.feed(frames::settings(
      {{frames::kInitialWindowSize, 0x7fffffff}, {frames::kInitialWindowSize, 10}})));
  size_t bytes = 0;
  for (const Frame& frame : peer.take_frames()) {
    if (frame.type == frames::kData) bytes += frame.payload.size();
  }
  EXPECT_EQ(bytes, 10u);
}

TEST_F(Http2Server, UnknownFramesAndSettingsArePassedOver) {
  EXPECT_TRUE(peer.feed(frames::frame(99, 0xff, 7, "whatever") +
                        frames::settings({{0x99, 1}, {0x4, 70'000}}) +
                        frames::headers(1, frames::kRequest, true)));
  EXPECT_TRUE(peer[1].has_headers);
}

TEST_F(Http2Server, ItsEndMayComeAtAnyByte) {
  const std::string all = opening() + frames::headers(1, frames::kRequest, false) +
                          frames::data(1, "ping", false) + frames::ping("12345678") +
                          frames::headers(1, {{"a", "b"}}, true);
  for (size_t size = 0; size <= all.size(); ++size) {
    Http2Peer server(Role::server);
    EXPECT_TRUE(server.feed(std::string_view(all).substr(0, size)));
    server.take();
    const bool known = server.streams.contains(1);
    EXPECT_EQ(known && server[1].ended, size == all.size());
    server.connection.end(kHttp2InternalError);
    if (known) {
      EXPECT_EQ(server[1].closed, 1);
    }
    EXPECT_TRUE(server.connection.done());
  }
}

// ---- floods ----

TEST_F(Http2Server, AFloodOfEmptyWorkEndsTheConnection) {
  using namespace frames;
  const std::string kinds[] = {
      data(1, "", false),
      frame(kData, kPadded, 1, std::string(2, '\1')),
      frame(kPriority, 0, 1, std::string("\0\0\0\0\1", 5)),
      window_update(0, 1),
      frames::settings(),
      ping("12345678"),
      frame(99, 0, 0, "what"),
      frame(kHeaders, kEndHeaders | kEnd, 1, block({{"a", "b"}})),  // once it is reset
  };
  for (const std::string& one : kinds) {
    Http2Peer server(Role::server);
    server.feed(opening() + headers(1, kRequest, false));
    if (one[3] == kHeaders) server.feed(rst_stream(1, kHttp2EnhanceYourCalm));
    bool good = true;
    for (uint32_t i = 0; good && i <= kMaxHttp2Unrest; ++i) {
      good = server.feed(one);
      server.take();
    }
    EXPECT_FALSE(good) << ::testing::PrintToString(one);
    EXPECT_EQ(server[1].error, kHttp2EnhanceYourCalm);
  }
}

TEST_F(Http2Server, StreamsThatAreResetAsSoonAsTheyAreOpenAreAFlood) {
  bool good = true;
  uint32_t count = 0;
  for (uint32_t id = 1; good && count <= 2 * kMaxHttp2Unrest; id += 2, ++count) {
    good = peer.feed(frames::headers(id, frames::kRequest, false) +
                     frames::rst_stream(id, kHttp2Cancel));
    peer.take();
  }
  EXPECT_FALSE(good);
  EXPECT_LE(count, kMaxHttp2Unrest + 1);
}

TEST_F(Http2Server, NoFloodIsWhatTakesItsTime) {
  for (int second = 0; second < 5; ++second) {
    for (uint32_t i = 0; i < kMaxHttp2Unrest - 10; ++i) {
      ASSERT_TRUE(peer.feed(frames::ping("12345678")));
      peer.take();
    }
    peer.connection.tick();
  }
}

TEST_F(Http2Server, AnswersThatNobodyTakesAreBounded) {
  bool good = true;
  for (uint32_t i = 0; good && i < 500'000; ++i) {
    good = peer.feed(frames::ping("12345678"));
    if (i % 5000 == 0) peer.connection.tick();
  }
  EXPECT_FALSE(good);
  EXPECT_LE(peer.connection.to_send_bytes(), kMaxHttp2OutputBytes + 1024);
  EXPECT_LE(peer.connection.memory(), 1024u * 1024);
}

TEST_F(Http2Server, WhatIsSentBeyondAWindowIsNotSeen) {
  Http2Peer server(Role::server, {.stream_window = 65'535});
  server.consumes = false;
  server.feed(opening() + frames::headers(1, frames::kRequest, false));
  for (int i = 0; i < 5; ++i) server.feed(frames::data(1, std::string(16'384, 'x'), false));
  EXPECT_LE(server[1].body.size(), 65'535u);
  server.take();
  EXPECT_EQ(server[1].error, kHttp2FlowControlError);
}

TEST_F(Http2Server, BlanksAroundAValueAreTakenAway) {
  peer.feed(frames::headers(1, with(frames::kRequest, {{"a", " words\t "}, {"b", " \t"}}), true));
  EXPECT_EQ(peer[1].headers, with(frames::kRequest, {{"a", "words"}, {"b", ""}}));
}

TEST_F(Http2Server, FaultyStreamsAreAFloodAsResetOnesAre) {
  for (const bool by_length : {false, true}) {
    Http2Peer server(Role::server);
    server.feed(opening());
    bool good = true;
    uint32_t count = 0;
    for (uint32_t id = 1; good && count <= 2 * kMaxHttp2Unrest; id += 2, ++count) {
      const Pairs length = {{"content-length", "1"}};
      good =
          server.feed(by_length ? frames::headers(id, with(frames::kRequest, {length[0]}), false) +
                                      frames::data(id, "ab", false)
                                : frames::headers(id, frames::kRequest, false) +
                                      frames::headers(id, {{"a", "b"}}, false));
      server.take();
    }
    EXPECT_FALSE(good);
    EXPECT_LE(count, kMaxHttp2Unrest + 1);
  }
}

TEST_F(Http2Server, AStreamThatBothHaveEndedHoldsNoPlaceWhileItsResetWaits) {
  Http2Peer server(Role::server, {.max_concurrent_streams = 1});
  server.feed(opening() + frames::settings_ack() + frames::headers(1, frames::kRequest, false));
  server.connection.respond(server.stream(1), headers_of({{":status", "200"}}), true);
  server.take();
  server.connection.reset(server.stream(1), kHttp2NoError);
  EXPECT_TRUE(server.feed(frames::data(1, "", true) + frames::headers(3, frames::kRequest, true)));
  EXPECT_EQ(server[1].closed, 1);
  EXPECT_TRUE(server[3].has_headers);
}

TEST_F(Http2Server, StreamsBeyondThoseThatAreAllowedAreRefused) {
  Http2Peer server(Role::server, {.max_concurrent_streams = 1});
  server.feed(opening() + frames::headers(1, frames::kRequest, false) +
              frames::headers(3, frames::kRequest, false));
  const std::vector<Frame> all = server.take_frames();
  EXPECT_EQ(all.back().type, frames::kRstStream);
  EXPECT_EQ(all.back().number(0), kHttp2RefusedStream);
  EXPECT_EQ(server.streams.size(), 1u);
}

TEST(Http2Hostile, ThousandsOfStreamsAtOnceAreRefusedAndNoFlood) {
  Http2Peer server(Role::server, {.max_concurrent_streams = 100});
  std::string bytes = opening();
  for (uint32_t id = 1; id < 10'000; id += 2) bytes += frames::headers(id, frames::kRequest, true);
  EXPECT_TRUE(server.feed(bytes)) << server.connection.why();
  size_t refused = 0;
  for (const Frame& frame : server.take_frames()) refused += frame.type == frames::kRstStream;
  EXPECT_EQ(refused, 4900u);
  EXPECT_EQ(server.connection.open_streams(), 100u);
}

TEST_F(Http2Server, ALongBlockMayHaveAsManyFramesAsItTakes) {
  Http2Peer server(Role::server, {.max_header_bytes = 300'000});
  server.feed(opening());
  Pairs pairs = frames::kRequest;
  for (int i = 0; i < 4; ++i)
    pairs.emplace_back("x-" + std::to_string(i), std::string(50'000, 'x'));
  const std::string block = frames::block(pairs);
  std::string bytes = frames::frame(frames::kHeaders, frames::kEnd, 1, block.substr(0, 16'000));
  for (size_t at = 16'000; at < block.size(); at += 16'000) {
    const uint8_t last = at + 16'000 >= block.size() ? frames::kEndHeaders : 0;
    bytes += frames::frame(frames::kContinuation, last, 1, block.substr(at, 16'000));
  }
  EXPECT_TRUE(server.feed(bytes)) << server.connection.why();
  EXPECT_EQ(server[1].headers, pairs);
}

// ---- responses ----

TEST_F(Http2Client, MalformedResponsesAreReset) {
  const std::string wrong[] = {
      frames::headers(1, {}, true),
      frames::headers(1, {{":status", "20"}}, true),
      frames::headers(1, {{":status", "abc"}}, true),
      frames::headers(1, {{":status", "099"}}, true),
      frames::headers(1, {{":status", "101"}}, false),
      frames::headers(1, {{":status", "200"}, {":status", "200"}}, true),
      frames::headers(1, {{":method", "GET"}}, true),
      frames::headers(1, {{":status", "100"}}, true),
      frames::headers(1, {{":status", "200"}, {"Upper", "a"}}, true),
      frames::headers(1, {{":status", "200"}, {"content-length", "3"}}, true),
      frames::headers(1, {{":status", "204"}}, false) + frames::data(1, "a", true),
      frames::headers(1, {{":status", "200"}}, false) + frames::headers(1, {{"a", "b"}}, false),
      frames::headers(1, {{":status", "100"}}, false) + frames::data(1, "a", true),
  };
  for (const std::string& bytes : wrong) {
    Http2Peer client(Role::client);
    client.feed(frames::settings());
    client.open(frames::kRequest, false);
    client.take();
    EXPECT_TRUE(client.feed(bytes)) << client.connection.why();
    client.take();
    EXPECT_EQ(client[1].closed, 1) << ::testing::PrintToString(bytes);
    EXPECT_EQ(client[1].error, kHttp2ProtocolError);
    EXPECT_FALSE(client[1].unseen);
  }
}

TEST_F(Http2Client, AResponseToHeadHasALengthAndNoBody) {
  const int32_t head = peer.open({{":method", "HEAD"}, {":scheme", "http"}, {":path", "/"}}, true);
  peer.take();
  peer.feed(frames::headers(static_cast<uint32_t>(head),
                            {{":status", "200"}, {"content-length", "1000"}}, true));
  EXPECT_TRUE(peer[head].ended);
  EXPECT_EQ(peer[head].error, kHttp2NoError);
}

TEST_F(Http2Client, AServerMayAnswerEarlyAndReset) {
  const int32_t early = peer.open(frames::kRequest, false);
  peer.take();
  peer.feed(frames::headers(static_cast<uint32_t>(early), {{":status", "413"}}, true) +
            frames::rst_stream(static_cast<uint32_t>(early), kHttp2NoError));
  EXPECT_TRUE(peer[early].ended);
  EXPECT_EQ(peer[early].closed, 1);
  EXPECT_EQ(peer[early].error, kHttp2NoError);
}

TEST_F(Http2Client, ResponsesThatAreTooLargeEndTheirStream) {
  peer.feed(frames::headers(1, {{":status", "200"}, {"x", std::string(5000, 'x')}}, false));
  peer.take();
  EXPECT_FALSE(peer[1].has_headers);
  EXPECT_EQ(peer[1].error, kHttp2EnhanceYourCalm);
  EXPECT_FALSE(peer[1].unseen);
}

TEST_F(Http2Client, PushesAreRefusedUntilTheyAreAnError) {
  const auto push = [](uint64_t promised) {
    return frames::frame(frames::kPushPromise, frames::kEndHeaders, 1,
                         frames::number(promised, 4) + frames::block(frames::kRequest));
  };
  EXPECT_TRUE(peer.feed(push(2) + frames::headers(2, {{":status", "200"}}, false) +
                        frames::data(2, "pushed", true)));
  const std::vector<Frame> all = peer.take_frames();
  EXPECT_EQ(all.back().type, frames::kRstStream);
  EXPECT_EQ(all.back().stream, 2u);
  EXPECT_EQ(all.back().number(0), kHttp2Cancel);
  EXPECT_EQ(peer.streams.size(), 1u);
  EXPECT_FALSE(peer.feed(frames::settings_ack() + push(4)));
  EXPECT_EQ(peer[1].closed, 1);
}

TEST_F(Http2Client, AnswersThatCrossItsResetsAreNoFlood) {
  Http2Peer client(Role::client, {.max_concurrent_streams = 20'000});
  client.feed(frames::settings());
  std::string answers;
  for (uint32_t i = 0; i < kMaxHttp2Unrest; ++i) {
    const int32_t stream = client.open(frames::kRequest, true);
    client.take();
    client.connection.reset(client.stream(stream), kHttp2Cancel);
    client.take();
    answers += frames::headers(static_cast<uint32_t>(stream), {{":status", "200"}}, false) +
               frames::headers(static_cast<uint32_t>(stream), {{"grpc-status", "0"}}, true);
  }
  EXPECT_TRUE(client.feed(answers)) << client.connection.why();
}

TEST_F(Http2Client, AServerThatCreditsEachPieceThatItReadsIsNoFlood) {
  client_feeds_credit(peer);
  EXPECT_TRUE(peer.connection.why().empty()) << peer.connection.why();
}

TEST_F(Http2Client, FramesOfAStreamThatIsNotSentYetEndTheConnection) {
  const int32_t waiting = peer.post("waits");
  EXPECT_FALSE(peer.feed(frames::rst_stream(static_cast<uint32_t>(waiting), kHttp2Cancel)));
  EXPECT_TRUE(peer[waiting].unseen);
}

TEST_F(Http2Client, AServerMayNotAskForPushes) {
  EXPECT_FALSE(peer.feed(frames::settings({{frames::kEnablePush, 1}})));
  EXPECT_EQ(peer[1].error, kHttp2ProtocolError);
}

TEST_F(Http2Client, AResponseOfNoStreamEndsTheConnection) {
  EXPECT_FALSE(peer.feed(frames::headers(3, {{":status", "200"}}, true)));
}

TEST_F(Http2Client, ABrokenConnectionEndsAllStreamsAndTellsWhy) {
  const int32_t waiting = peer.post("not sent");
  EXPECT_FALSE(peer.feed(frames::window_update(0, 0)));
  EXPECT_EQ(peer[1].error, kHttp2ProtocolError);
  EXPECT_EQ(peer[1].closed, 1);
  EXPECT_TRUE(peer[waiting].unseen);
  EXPECT_NE(peer.connection.why().find("PROTOCOL_ERROR"), std::string::npos);
}

}  // namespace
}  // namespace berth::wire
