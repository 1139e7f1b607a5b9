// Our connections against nghttp2's sessions, which check everything that a peer may get wrong:
// random traffic in pieces of random size.
#include <nghttp2/nghttp2.h>

#include <algorithm>

#include "base/random.h"
#include "unit/wire/http2_peer.h"
#include "wire/http2_connection.h"

namespace berth::wire {
namespace {

using frames::Pairs;

std::string text(Random& random, size_t most) {
  std::string text(random.below(most + 1), 'x');
  for (char& c : text) c = static_cast<char>('a' + random.below(26));
  return text;
}

// One side by nghttp2. It echoes, or asks to be echoed.
class Session {
 public:
  struct Stream {
    std::string to_send;
    size_t sent = 0;
    Pairs trailers;
    Pairs headers;  // that came, those of trailers too
    std::string body;
    bool ended = false;
    int closed = 0;
    uint32_t error = 0;
  };

  Session(Role role, Random& random) : role_(role), random_(random) {
    nghttp2_session_callbacks* all = nullptr;
    nghttp2_session_callbacks_new(&all);
    nghttp2_session_callbacks_set_on_header_callback(
        all, [](nghttp2_session*, const nghttp2_frame* frame, const uint8_t* name, size_t name_size,
                const uint8_t* value, size_t value_size, uint8_t, void* it) {
          of(it)[frame->hd.stream_id].headers.emplace_back(
              std::string(reinterpret_cast<const char*>(name), name_size),
              std::string(reinterpret_cast<const char*>(value), value_size));
          return 0;
        });
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(
        all,
        [](nghttp2_session*, uint8_t, int32_t id, const uint8_t* bytes, size_t size, void* it) {
          of(it)[id].body.append(reinterpret_cast<const char*>(bytes), size);
          return 0;
        });
    nghttp2_session_callbacks_set_on_frame_recv_callback(
        all, [](nghttp2_session*, const nghttp2_frame* frame, void* it) {
          of(it).take(*frame);
          return 0;
        });
    nghttp2_session_callbacks_set_on_stream_close_callback(
        all, [](nghttp2_session*, int32_t id, uint32_t error, void* it) {
          ++of(it)[id].closed;
          of(it)[id].error = error;
          return 0;
        });
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(
        all, [](nghttp2_session*, const nghttp2_frame* frame, int error, void*) {
          ADD_FAILURE() << "a frame of type " << int{frame->hd.type}
                        << " is wrong: " << nghttp2_strerror(error);
          return 0;
        });
    const auto make =
        role == Role::server ? nghttp2_session_server_new : nghttp2_session_client_new;
    make(&session_, all, this);
    nghttp2_session_callbacks_del(all);
    settings();
  }
  ~Session() { nghttp2_session_del(session_); }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  Stream& operator[](int32_t id) { return streams[id]; }

  // Any that are allowed.
  void settings() {
    const nghttp2_settings_entry entries[] = {
        {NGHTTP2_SETTINGS_HEADER_TABLE_SIZE, static_cast<uint32_t>(random_.below(8192))},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, static_cast<uint32_t>(1 + random_.below(200'000))},
        {NGHTTP2_SETTINGS_MAX_FRAME_SIZE, static_cast<uint32_t>(16'384 + random_.below(100'000))},
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 100},
    };
    EXPECT_EQ(nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, entries, std::size(entries)), 0);
  }
  void ping() { nghttp2_submit_ping(session_, NGHTTP2_FLAG_NONE, nullptr); }
  void reset(int32_t id) {
    nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, id, NGHTTP2_CANCEL);
  }

  int32_t post(const Pairs& headers, std::string body, Pairs trailers) {
    const auto pairs = pairs_of(headers);
    const nghttp2_data_provider provider = body_provider();
    const int32_t id =
        nghttp2_submit_request(session_, nullptr, pairs.data(), pairs.size(), &provider, nullptr);
    EXPECT_GT(id, 0);
    streams[id].to_send = std::move(body);
    streams[id].trailers = std::move(trailers);
    return id;
  }

  std::string take(size_t most) {
    std::string bytes;
    while (bytes.size() < most) {
      const uint8_t* some = nullptr;
      const ssize_t size = nghttp2_session_mem_send(session_, &some);
      EXPECT_GE(size, 0);
      if (size <= 0) break;
      bytes.append(reinterpret_cast<const char*>(some), static_cast<size_t>(size));
    }
    return bytes;
  }
  void feed(std::string_view bytes) {
    const ssize_t taken = nghttp2_session_mem_recv(
        session_, reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
    EXPECT_EQ(taken, static_cast<ssize_t>(bytes.size()))
        << nghttp2_strerror(static_cast<int>(taken));
  }

  std::map<int32_t, Stream> streams;
  bool goaway = false;

 private:
  static Session& of(void* it) { return *static_cast<Session*>(it); }
  static std::vector<nghttp2_nv> pairs_of(const Pairs& headers) {
    std::vector<nghttp2_nv> pairs;
    const auto bytes = [](const std::string& text) {
      return const_cast<uint8_t*>(reinterpret_cast<const uint8_t*>(text.data()));
    };
    for (const auto& [name, value] : headers) {
      pairs.push_back({bytes(name), bytes(value), name.size(), value.size(), NGHTTP2_NV_FLAG_NONE});
    }
    return pairs;
  }

  void take(const nghttp2_frame& frame) {
    const int32_t id = frame.hd.stream_id;
    goaway = goaway || frame.hd.type == NGHTTP2_GOAWAY;
    const bool is_message = frame.hd.type == NGHTTP2_DATA || frame.hd.type == NGHTTP2_HEADERS;
    if (!is_message || (frame.hd.flags & NGHTTP2_FLAG_END_STREAM) == 0) return;
    Stream& stream = streams[id];
    stream.ended = true;
    if (role_ == Role::client) return;
    stream.to_send = stream.body;
    stream.trailers = {{"grpc-status", "0"}};
    const nghttp2_data_provider provider = body_provider();
    const Pairs ok = {{":status", "200"}};
    const auto pairs = pairs_of(ok);
    EXPECT_EQ(nghttp2_submit_response(session_, id, pairs.data(), pairs.size(), &provider), 0);
  }

  nghttp2_data_provider body_provider() {
    return {.source = {.ptr = this},
            .read_callback = [](nghttp2_session*, int32_t id, uint8_t* to, size_t size,
                                uint32_t* flags, nghttp2_data_source*,
                                void* it) { return of(it).read(id, to, size, *flags); }};
  }
  ssize_t read(int32_t id, uint8_t* to, size_t size, uint32_t& flags) {
    Stream& stream = streams[id];
    const size_t part = std::min(size, stream.to_send.size() - stream.sent);
    std::copy_n(stream.to_send.data() + stream.sent, part, to);
    stream.sent += part;
    if (stream.sent < stream.to_send.size()) return static_cast<ssize_t>(part);
    flags |= NGHTTP2_DATA_FLAG_EOF;
    if (!stream.trailers.empty()) {
      flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
      const auto pairs = pairs_of(stream.trailers);
      EXPECT_EQ(nghttp2_submit_trailer(session_, id, pairs.data(), pairs.size()), 0);
    }
    return static_cast<ssize_t>(part);
  }

  const Role role_;
  Random& random_;
  nghttp2_session* session_ = nullptr;
};

class Http2AndNghttp2 : public ::testing::TestWithParam<uint64_t> {
 protected:
  bool one_in(size_t bound) { return random.below(bound) == 0; }

  // A piece each way. Whether there was any.
  bool exchange(Http2Peer& ours, Session& theirs) {
    const size_t most = 1 + random.below(one_in(3) ? 100 : 100'000);
    const std::string out = ours.take(most);
    theirs.feed(out);
    const std::string in = theirs.take(most);
    for (std::string_view bytes = in; !bytes.empty();) {
      const size_t piece = std::min(bytes.size(), 1 + random.below(one_in(3) ? 20 : 50'000));
      EXPECT_TRUE(ours.feed(bytes.substr(0, piece))) << ours.connection.why();
      bytes.remove_prefix(piece);
    }
    ours.connection.tick();
    if (one_in(50)) theirs.settings();
    if (one_in(20)) theirs.ping();
    return !out.empty() || !in.empty();
  }
  void join(Http2Peer& ours, Session& theirs) {
    for (int quiet = 0; quiet < 5;) quiet = exchange(ours, theirs) ? 0 : quiet + 1;
    EXPECT_FALSE(theirs.goaway);
    EXPECT_TRUE(ours.goaways.empty());
    EXPECT_EQ(ours.connection.open_streams(), 0u);
  }

  struct Call {
    Pairs headers = frames::kRequest;
    std::string body;
    Pairs trailers;
    bool is_reset = false;
  };
  Call call() {
    Call call;
    for (size_t count = random.below(6); count > 0; --count) {
      call.headers.emplace_back("x-" + text(random, 12), text(random, one_in(10) ? 3000 : 30));
    }
    // Mostly short, now and then beyond every window.
    call.body = text(random, one_in(8) ? 700'000 : one_in(2) ? 20'000 : 100);
    if (one_in(3)) call.trailers = {{"x-sum", text(random, 10)}};
    call.is_reset = one_in(8);
    return call;
  }

  static constexpr int kCalls = 150;
  static constexpr Http2Connection::Settings kSettings{
      .max_concurrent_streams = 40, .stream_window = 70'000, .connection_window = 200'000};
  static inline const Pairs kOk = {{":status", "200"}};
  static inline const Pairs kTrailers = {{"grpc-status", "0"}};

  Random random{GetParam()};
};

TEST_P(Http2AndNghttp2, WhatWeAskComesBackWhole) {
  Session server(Role::server, random);
  Http2Peer client(Role::client, kSettings);
  std::map<int32_t, Call> calls;
  while (calls.size() < kCalls) {
    exchange(client, server);
    if (!client.connection.can_open()) continue;
    Call it = call();
    const int32_t id = client.open(it.headers, false);
    Http2Stream& stream = client.stream(id);
    const size_t half = it.body.size() / 2;
    client.connection.send_data(stream, it.body.substr(0, half), false);
    if (one_in(2)) exchange(client, server);
    client.connection.send_data(stream, it.body.substr(half), it.trailers.empty());
    if (!it.trailers.empty()) client.connection.send_trailers(stream, headers_of(it.trailers));
    if (it.is_reset) client.connection.reset(stream, kHttp2Cancel);
    calls[id] = std::move(it);
  }
  join(client, server);
  for (const auto& [id, it] : calls) {
    EXPECT_EQ(client[id].closed, 1);
    if (it.is_reset) {
      EXPECT_EQ(client[id].error, kHttp2Cancel);
      continue;
    }
    EXPECT_EQ(client[id].error, kHttp2NoError);
    Pairs fields = it.headers;
    fields.insert(fields.end(), it.trailers.begin(), it.trailers.end());
    EXPECT_EQ(server[id].headers, fields);
    EXPECT_EQ(client[id].headers, kOk);
    EXPECT_EQ(client[id].trailers, kTrailers);
    EXPECT_TRUE(client[id].body == it.body);
  }
}

TEST_P(Http2AndNghttp2, WhatWeAreAskedGoesBackWhole) {
  Session client(Role::client, random);
  Http2Peer server(Role::server, kSettings);
  server.on_headers = [&](Http2Stream& stream, Http2Headers&&, Http2Kind kind, bool) {
    if (kind == Http2Kind::trailers) {
      return server.connection.send_trailers(stream, headers_of(kTrailers));
    }
    if (one_in(3)) server.connection.inform(stream, headers_of({{":status", "103"}}));
    server.connection.respond(stream, headers_of(kOk), false);
  };
  server.on_data = [&](Http2Stream& stream, std::string_view bytes, bool end) {
    server.connection.send_data(stream, bytes, false);
    if (end) server.connection.send_trailers(stream, headers_of(kTrailers));
  };
  std::map<int32_t, Call> calls;
  while (calls.size() < kCalls) {
    Call it = call();
    const int32_t id = client.post(it.headers, it.body, it.trailers);
    exchange(server, client);
    if (it.is_reset) client.reset(id);
    calls[id] = std::move(it);
  }
  join(server, client);
  for (const auto& [id, it] : calls) {
    EXPECT_EQ(client[id].closed, 1);
    if (client[id].error != kHttp2NoError) {
      EXPECT_TRUE(it.is_reset);
      continue;
    }
    EXPECT_EQ(server[id].headers, it.headers);
    EXPECT_EQ(server[id].trailers, it.trailers);
    Pairs fields = kOk;
    fields.insert(fields.end(), kTrailers.begin(), kTrailers.end());
    std::erase(client[id].headers, std::pair<std::string, std::string>{":status", "103"});
    EXPECT_EQ(client[id].headers, fields);
    EXPECT_TRUE(client[id].body == it.body);
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, Http2AndNghttp2, ::testing::Range(uint64_t{1}, uint64_t{9}));

}  // namespace
}  // namespace berth::wire
