// http2_hold: a client that keeps many HTTP/2 streams open, for the others to be measured
// meanwhile.
//
//   http2_hold requests ADDRESS STREAMS PATH   begins so many POSTs and does not end them
//   http2_hold stall ADDRESS STREAMS PATH      gets PATH so many times and reads nothing of it
//
// ADDRESS is the path of a Unix socket, or a port of 127.0.0.1. Opens as many connections as the
// server's limit of streams demands. Prints "connected", waits for a line, prints "open" once
// the streams have reached the server, and keeps them until standard input ends.
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "wire/http2_connection.h"

namespace {

using berth::wire::Http2Connection;
using berth::wire::Http2Headers;
using berth::wire::Http2Kind;
using berth::wire::Http2Stream;

[[noreturn]] void fail(const std::string& what) {
  std::perror(("http2_hold: " + what).c_str());
  std::exit(1);
}

int connect_to(const std::string& address) {
  const bool local = address.front() == '/';
  const int fd = socket(local ? AF_UNIX : AF_INET, SOCK_STREAM, 0);
  sockaddr_un path{};
  path.sun_family = AF_UNIX;
  address.copy(path.sun_path, sizeof(path.sun_path) - 1);
  sockaddr_in port{};
  port.sin_family = AF_INET;
  port.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  port.sin_port = htons(static_cast<uint16_t>(std::atoi(address.c_str())));
  const auto* where =
      local ? reinterpret_cast<sockaddr*>(&path) : reinterpret_cast<sockaddr*>(&port);
  const socklen_t size = local ? sizeof(path) : sizeof(port);
  if (fd < 0 || connect(fd, where, size) != 0) fail("cannot connect to " + address);
  return fd;
}

class Client final : Http2Connection::Events {
 public:
  explicit Client(const std::string& address) : fd_(connect_to(address)) {
    flush();
    while (!knows_limit_) receive();
    flush();
  }
  ~Client() { close(fd_); }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  uint32_t room() const { return http2_.room(); }

  void open(std::string_view method, std::string_view path, bool end) {
    Http2Headers headers;
    headers.add(":method", method);
    headers.add(":scheme", "http");
    headers.add(":authority", "localhost");
    headers.add(":path", path);
    headers.add("content-type", "application/grpc");
    headers.add("te", "trailers");
    if (http2_.open(std::move(headers), end, nullptr) == nullptr) fail("no stream may be opened");
  }

  void flush() {
    for (http2_.fill(); !http2_.to_send().empty(); http2_.fill()) {
      const iovec& piece = http2_.to_send().front();
      const ssize_t sent = send(fd_, piece.iov_base, piece.iov_len, MSG_NOSIGNAL);
      if (sent <= 0) fail("the connection has ended");
      http2_.sent(static_cast<size_t>(sent));
    }
  }

  // Until the server has seen all that was sent.
  void settle() {
    http2_.ping(1);
    flush();
    for (ponged_ = false; !ponged_;) receive();
  }

 private:
  void receive() {
    std::array<char, 64 * 1024> bytes;
    const ssize_t got = recv(fd_, bytes.data(), bytes.size(), 0);
    if (got <= 0 || !http2_.feed({bytes.data(), static_cast<size_t>(got)})) {
      fail("the connection has ended");
    }
  }

  void headers(Http2Stream&, Http2Headers&&, Http2Kind, bool) override {}
  void too_large(Http2Stream&) override {}
  void data(Http2Stream&, std::string_view, bool) override {}
  void sent(Http2Stream&, size_t) override {}
  void closed(Http2Stream&, uint32_t, bool) override { fail("a stream was closed"); }
  void settings(uint32_t) override { knows_limit_ = true; }
  void goaway(int32_t, uint32_t, std::string_view) override {}
  void pong(uint64_t) override { ponged_ = true; }

  const int fd_;
  bool knows_limit_ = false;
  bool ponged_ = false;
  Http2Connection http2_{Http2Connection::Role::client,
                         {.max_concurrent_streams = UINT32_MAX, .stream_window = 16 * 1024 * 1024},
                         *this};
};

void wait_for_line() {
  for (int byte = 0; byte != '\n' && byte != EOF;) byte = std::getchar();
}

void say(const char* what) {
  std::puts(what);
  std::fflush(stdout);
}

void hold(bool stalls, const std::string& address, size_t streams, std::string_view path) {
  std::vector<std::unique_ptr<Client>> clients;
  for (size_t room = 0; room < streams; room += clients.back()->room()) {
    clients.push_back(std::make_unique<Client>(address));
    if (clients.back()->room() == 0) fail("the server allows no streams");
  }
  say("connected");
  wait_for_line();
  for (size_t opened = 0; const auto& client : clients) {
    const size_t most = std::min<size_t>(client->room(), streams - opened);
    for (size_t i = 0; i < most; ++i) client->open(stalls ? "GET" : "POST", path, stalls);
    opened += most;
    client->flush();
    if (!stalls) client->settle();
  }
  say("open");
  wait_for_line();
}

}  // namespace

int main(int count, char** words) {
  const std::string_view how = count == 5 ? words[1] : "";
  if (how != "requests" && how != "stall") {
    std::fprintf(stderr, "usage: http2_hold requests|stall ADDRESS STREAMS PATH\n");
    return 64;
  }
  hold(how == "stall", words[2], std::strtoul(words[3], nullptr, 10), words[4]);
}
