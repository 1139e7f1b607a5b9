// http2_carry: two HTTP/2 engines joined by the plainest carrier, in memory, for valgrind
// --tool=callgrind to count what a request costs beside sockets and policy.
//
//   http2_carry CLIENTS STREAMS REQUESTS [BYTES]
//
// CLIENTS local connections with STREAMS streams at a time share one upstream connection. Requests
// are made beforehand, as h2load makes them: POSTs of BYTES (128) with fields that do not change,
// and the same back. Carries REQUESTS of them, in rounds of CLIENTS x STREAMS.
//
// For the carrier's part alone, give callgrind --toggle-collect='*Carrier::*_round*'.

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/check.h"
#include "wire/http2_connection.h"

namespace {

using berth::wire::Http2Connection;
using berth::wire::Http2Headers;
using berth::wire::Http2Kind;
using berth::wire::Http2Stream;

std::string take(Http2Connection& connection) {
  std::string bytes;
  connection.fill();
  for (const iovec& piece : connection.to_send()) {
    bytes.append(static_cast<const char*>(piece.iov_base), piece.iov_len);
  }
  connection.sent(bytes.size());
  return bytes;
}

// ---- the carrier: what is measured ----

struct Local;

struct Carried {
  Local* local;
  Http2Stream* stream;
  Http2Stream* upstream;
};

class Carrier;

struct Local final : Http2Connection::Events {
  explicit Local(Carrier& its_carrier) : carrier(its_carrier) {}
  void headers(Http2Stream& stream, Http2Headers&& headers, Http2Kind, bool end) override;
  void too_large(Http2Stream&) override {}
  void data(Http2Stream& stream, std::string_view bytes, bool end) override;
  void sent(Http2Stream& stream, size_t bytes) override;
  void closed(Http2Stream& stream, uint32_t, bool) override;
  void settings(uint32_t) override {}
  void goaway(int32_t, uint32_t, std::string_view) override {}
  void pong(uint64_t) override {}

  Carrier& carrier;
  Http2Connection connection{Http2Connection::Role::server, {}, *this};
};

class Carrier final : Http2Connection::Events {
 public:
  explicit Carrier(size_t clients) {
    while (locals.size() < clients) locals.push_back(std::make_unique<Local>(*this));
  }

  // One turn of a loop: what came from each client, and then from the server.
  [[gnu::noinline]] void request_round(const std::vector<std::string>& requests,
                                       std::string& to_server) {
    for (size_t i = 0; i < locals.size(); ++i) locals[i]->connection.feed(requests[i]);
    flush(upstream, to_server);
  }
  [[gnu::noinline]] void response_round(const std::string& responses,
                                        std::vector<std::string>& to_clients) {
    upstream.feed(responses);
    for (size_t i = 0; i < locals.size(); ++i) flush(locals[i]->connection, to_clients[i]);
  }

  std::vector<std::unique_ptr<Local>> locals;
  Http2Connection upstream{
      Http2Connection::Role::client, {.max_concurrent_streams = 10'000}, *this};

 private:
  static void flush(Http2Connection& connection, std::string& out) {
    out.clear();
    connection.fill();
    for (const iovec& piece : connection.to_send()) {
      out.append(static_cast<const char*>(piece.iov_base), piece.iov_len);
    }
    connection.sent(connection.to_send_bytes());
  }

  void headers(Http2Stream& stream, Http2Headers&& headers, Http2Kind kind, bool end) override {
    auto& it = *static_cast<Carried*>(stream.owner);
    Http2Connection& to = it.local->connection;
    if (kind == Http2Kind::trailers) {
      to.send_trailers(*it.stream, std::move(headers));
    } else {
      to.respond(*it.stream, std::move(headers), end);
    }
  }
  void too_large(Http2Stream&) override {}
  void data(Http2Stream& stream, std::string_view bytes, bool end) override {
    auto& it = *static_cast<Carried*>(stream.owner);
    it.local->connection.send_data(*it.stream, bytes, end);
  }
  void sent(Http2Stream& stream, size_t bytes) override {
    auto& it = *static_cast<Carried*>(stream.owner);
    if (it.stream != nullptr) it.local->connection.consume(*it.stream, bytes);
  }
  void closed(Http2Stream& stream, uint32_t error, bool) override {
    auto* it = static_cast<Carried*>(stream.owner);
    BERTH_CHECK(error == 0, "nothing goes wrong");
    it->upstream = nullptr;
    if (it->stream == nullptr) delete it;
  }
  void settings(uint32_t) override {}
  void goaway(int32_t, uint32_t, std::string_view) override {}
  void pong(uint64_t) override {}
};

void Local::headers(Http2Stream& stream, Http2Headers&& headers, Http2Kind, bool end) {
  auto* it = new Carried{this, &stream, nullptr};
  stream.owner = it;
  headers.set(":authority", "pool.test", Http2Headers::Text::outlives);
  headers.set(":scheme", "http", Http2Headers::Text::outlives);
  it->upstream = carrier.upstream.open(std::move(headers), end, it);
  BERTH_CHECK(it->upstream != nullptr, "there is room");
}

void Local::data(Http2Stream& stream, std::string_view bytes, bool end) {
  carrier.upstream.send_data(*static_cast<Carried*>(stream.owner)->upstream, bytes, end);
}

void Local::sent(Http2Stream& stream, size_t bytes) {
  auto& it = *static_cast<Carried*>(stream.owner);
  if (it.upstream != nullptr) carrier.upstream.consume(*it.upstream, bytes);
}

void Local::closed(Http2Stream& stream, uint32_t error, bool) {
  auto* it = static_cast<Carried*>(stream.owner);
  BERTH_CHECK(error == 0, "nothing goes wrong");
  it->stream = nullptr;
  if (it->upstream == nullptr) delete it;
}

// ---- clients and a server, which are not ----

struct Silent : Http2Connection::Events {
  void headers(Http2Stream&, Http2Headers&&, Http2Kind, bool) override {}
  void too_large(Http2Stream&) override {}
  void data(Http2Stream&, std::string_view, bool) override {}
  void sent(Http2Stream&, size_t) override {}
  void closed(Http2Stream&, uint32_t, bool) override { ++finished; }
  void settings(uint32_t) override {}
  void goaway(int32_t, uint32_t, std::string_view) override {}
  void pong(uint64_t) override {}
  size_t finished = 0;
};

struct Client final : Silent {
  Http2Connection connection{Http2Connection::Role::client, {}, *this};

  std::string requests(size_t count, const std::string& body) {
    for (size_t i = 0; i < count; ++i) {
      Http2Headers headers;
      headers.add(":method", "POST");
      headers.add(":scheme", "http");
      headers.add(":authority", "localhost");
      headers.add(":path", "/helloworld.Greeter/SayHello");
      headers.add("content-type", "application/grpc");
      headers.add("te", "trailers");
      headers.add("user-agent", "h2load nghttp2/1.52.0");
      headers.add("content-length", std::to_string(body.size()));
      Http2Stream* stream = connection.open(std::move(headers), false, nullptr);
      BERTH_CHECK(stream != nullptr, "there is room");
      connection.send_data(*stream, body, true);
    }
    return take(connection);
  }
};

struct Server final : Silent {
  explicit Server(std::string its_body) : body(std::move(its_body)) {}
  void data(Http2Stream& stream, std::string_view, bool end) override {
    if (!end) return;
    Http2Headers headers;
    headers.add(":status", "200");
    headers.add("server", "nghttpd nghttp2/1.52.0");
    headers.add("content-type", "application/grpc");
    headers.add("content-length", std::to_string(body.size()));
    connection.respond(stream, std::move(headers), false);
    connection.send_data(stream, body, true);
  }
  const std::string body;
  Http2Connection connection{
      Http2Connection::Role::server, {.max_concurrent_streams = 10'000}, *this};
};

void run(size_t clients, size_t streams, size_t requests, size_t bytes) {
  const std::string body(bytes, 'x');
  Carrier carrier(clients);
  Server server(body);
  std::vector<std::unique_ptr<Client>> all;
  std::vector<std::string> to_carrier(clients);
  std::vector<std::string> to_clients(clients);
  std::string to_server;
  while (all.size() < clients) all.push_back(std::make_unique<Client>());
  carrier.upstream.feed(take(server.connection));
  server.connection.feed(take(carrier.upstream));
  size_t done = 0;
  while (done < requests) {
    for (size_t i = 0; i < clients; ++i) to_carrier[i] = all[i]->requests(streams, body);
    carrier.request_round(to_carrier, to_server);
    server.connection.feed(to_server);
    carrier.response_round(take(server.connection), to_clients);
    for (size_t i = 0; i < clients; ++i) all[i]->connection.feed(to_clients[i]);
    done += clients * streams;
  }
  size_t finished = 0;
  for (const auto& client : all) finished += client->finished;
  BERTH_CHECK(finished == done, "all requests are answered");
  std::printf("{\"requests\": %zu}\n", finished);
}

}  // namespace

int main(int count, char** words) {
  if (count < 4) {
    std::fprintf(stderr, "usage: http2_carry CLIENTS STREAMS REQUESTS [BYTES]\n");
    return 64;
  }
  const auto number = [&](int i) { return std::strtoul(words[i], nullptr, 10); };
  run(number(1), number(2), number(3), count > 4 ? number(4) : 128);
}
