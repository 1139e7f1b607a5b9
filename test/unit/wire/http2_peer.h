// One side of an HTTP/2 connection in a test, that remembers what happened to it; and two of them,
// joined.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "unit/wire/http2_frames.h"
#include "wire/http2_connection.h"

namespace berth::wire {

using Role = Http2Connection::Role;

inline Http2Headers headers_of(const frames::Pairs& pairs) {
  Http2Headers headers;
  for (const auto& [name, value] : pairs) headers.add(name, value);
  return headers;
}

inline frames::Pairs pairs_of(const Http2Headers& headers) {
  frames::Pairs pairs;
  for (const Http2Field& field : headers.fields()) pairs.emplace_back(field.name, field.value);
  return pairs;
}

class Http2Peer final : public Http2Connection::Events {
 public:
  struct Seen {
    Http2Stream* stream = nullptr;  // until it is closed
    frames::Pairs headers;          // of the request or the response
    std::vector<frames::Pairs> informational;
    frames::Pairs trailers;
    std::string body;
    bool has_headers = false;
    bool too_large = false;
    bool ended = false;
    size_t sent = 0;
    int closed = 0;
    uint32_t error = 0;
    bool unseen = false;
  };

  explicit Http2Peer(Role role, Http2Connection::Settings settings = {})
      : connection(role, settings, *this) {}

  Seen& operator[](int32_t id) { return streams[id]; }
  Http2Stream& stream(int32_t id) { return *streams.at(id).stream; }

  // Client.
  int32_t open(const frames::Pairs& pairs, bool end) {
    Http2Stream* stream = connection.open(headers_of(pairs), end, nullptr);
    if (stream == nullptr) return 0;
    streams[stream->id].stream = stream;
    return stream->id;
  }
  int32_t post(std::string_view body) {
    const int32_t id = open(frames::kRequest, false);
    connection.send_data(stream(id), body, true);
    return id;
  }
  // Server.
  void respond(int32_t id, std::string_view body, bool end = true) {
    connection.respond(stream(id), headers_of({{":status", "200"}}), false);
    connection.send_data(stream(id), body, end);
  }

  // All that it has to send, at most so many bytes.
  std::string take(size_t most = SIZE_MAX) {
    std::string bytes;
    connection.fill();
    for (const iovec& piece : connection.to_send()) {
      bytes.append(static_cast<const char*>(piece.iov_base), piece.iov_len);
    }
    if (bytes.size() > most) bytes.resize(most);
    connection.sent(bytes.size());
    return bytes;
  }
  std::vector<frames::Frame> take_frames() { return frames::parse(take()); }
  bool feed(std::string_view bytes) { return connection.feed(bytes); }
  // As if each byte came by itself.
  bool feed_bytewise(std::string_view bytes) {
    bool good = true;
    for (size_t i = 0; i < bytes.size() && good; ++i) good = feed(bytes.substr(i, 1));
    return good;
  }

  void headers(Http2Stream& stream, Http2Headers&& headers, Http2Kind kind, bool end) override {
    Seen& it = seen(stream);
    switch (kind) {
      case Http2Kind::informational: it.informational.push_back(pairs_of(headers)); break;
      case Http2Kind::trailers: it.trailers = pairs_of(headers); break;
      default:
        EXPECT_FALSE(it.has_headers) << "a message has headers once";
        it.headers = pairs_of(headers);
        it.has_headers = true;
    }
    note_end(it, end);
    if (on_headers) on_headers(stream, std::move(headers), kind, end);
  }
  void too_large(Http2Stream& stream) override {
    seen(stream).too_large = true;
    if (on_too_large) on_too_large(stream);
  }
  void data(Http2Stream& stream, std::string_view bytes, bool end) override {
    Seen& it = seen(stream);
    EXPECT_TRUE(end || !bytes.empty());
    it.body += bytes;
    note_end(it, end);
    if (consumes) connection.consume(stream, bytes.size());
    if (on_data) on_data(stream, bytes, end);
  }
  void sent(Http2Stream& stream, size_t bytes) override { seen(stream).sent += bytes; }
  void closed(Http2Stream& stream, uint32_t error, bool unseen) override {
    Seen& it = seen(stream);
    it.stream = nullptr;
    it.error = error;
    it.unseen = unseen;
    ++it.closed;
    ++closed_streams;
    if (on_closed) on_closed(stream);
  }
  void settings(uint32_t most) override { max_concurrent_streams = most; }
  void goaway(int32_t last, uint32_t error, std::string_view debug) override {
    goaways.emplace_back(last, error);
    goaway_debug = debug;
  }
  void pong(uint64_t payload) override { pongs.push_back(payload); }

  std::map<int32_t, Seen> streams;
  uint32_t max_concurrent_streams = 0;
  std::vector<std::pair<int32_t, uint32_t>> goaways;
  std::string goaway_debug;
  std::vector<uint64_t> pongs;
  size_t closed_streams = 0;
  bool consumes = true;

  std::function<void(Http2Stream&, Http2Headers&&, Http2Kind, bool)> on_headers;
  std::function<void(Http2Stream&, std::string_view, bool)> on_data;
  std::function<void(Http2Stream&)> on_too_large;
  std::function<void(Http2Stream&)> on_closed;

  Http2Connection connection;  // the last, since its events want all else

 private:
  Seen& seen(Http2Stream& stream) {
    Seen& it = streams[stream.id];
    EXPECT_EQ(it.closed, 0) << "nothing comes behind the end of a stream";
    EXPECT_TRUE(it.stream == nullptr || it.stream == &stream);
    it.stream = &stream;
    return it;
  }
  static void note_end(Seen& it, bool end) {
    EXPECT_FALSE(it.ended) << "nothing comes behind the end of a message";
    it.ended = end;
  }
};

class Http2Pair : public ::testing::Test {
 protected:
  // Until neither has anything to say. Answers how many bytes went.
  size_t join(size_t piece = SIZE_MAX) {
    size_t all = 0;
    for (;;) {
      const std::string to_server = client.take(piece);
      server.feed(to_server);
      const std::string to_client = server.take(piece);
      client.feed(to_client);
      all += to_server.size() + to_client.size();
      if (to_server.empty() && to_client.empty()) return all;
    }
  }

  Http2Peer client{Role::client};
  Http2Peer server{Role::server};
};

}  // namespace berth::wire
