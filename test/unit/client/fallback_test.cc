// libberth without berthd: what a request with a fallback comes to.
#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <string>

#include "berth/berth.hpp"
#include "support/session_server.h"

namespace berth::client {
namespace {

using test::Peer;
using test::SessionServer;

class Listener {
 public:
  explicit Listener(int backlog = 16) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    EXPECT_EQ(::bind(fd_.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(::getsockname(fd_.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
    EXPECT_EQ(::listen(fd_.get(), backlog), 0);
    port_ = ntohs(address.sin_port);
  }

  std::string url(const char* host = "127.0.0.1") const {
    return std::string("tcp://") + host + ":" + std::to_string(port_);
  }
  UniqueFd accept() { return UniqueFd(::accept4(fd_.get(), nullptr, nullptr, SOCK_CLOEXEC)); }
  void close() { fd_.reset(); }

 private:
  UniqueFd fd_;
  uint16_t port_ = 0;
};

// Borrows the text.
berth_options with_fallback(const std::string& url) {
  berth_options options = BERTH_OPTIONS_INIT;
  options.fallback = url.c_str();
  return options;
}

// A session whose berthd has gone.
berth_session* ended_session(Code code) {
  SessionServer server([code](Peer& peer) {
    peer.welcome();
    peer.send(wire::Goodbye{code, "the end"});
  });
  berth_session* session = nullptr;
  EXPECT_EQ(berth_session_open(server.path().c_str(), &session), 0);
  return session;
}

void talks(int fd, Listener& server) {
  const UniqueFd far = server.accept();
  ASSERT_EQ(::write(fd, "hi", 2), 2);
  char bytes[3] = "";
  EXPECT_EQ(::read(far.get(), bytes, sizeof bytes), 2);
}

TEST(Fallback, AProgramGoesOnThoughNoBerthdRunsWhenItStarts) {
  berth_session* session = nullptr;
  ASSERT_LT(berth_session_open("/nonexistent/lease.sock", &session), 0);
  EXPECT_EQ(berth_absent(), 1);
  Listener server;
  const std::string url = server.url();
  const berth_options options = with_fallback(url);
  const uint64_t before = berth_fallbacks();
  berth_grant grant;
  ASSERT_EQ(berth_lease(session, "redis", &options, &grant), 0) << berth_error();
  EXPECT_EQ(grant.id, BERTH_FALLBACK);
  EXPECT_EQ(grant.reused, 0u);
  EXPECT_EQ(berth_fallbacks(), before + 1);
  EXPECT_EQ(berth_error(), "there is no session with berthd; " + url + " was dialled instead");
  EXPECT_NE(::fcntl(grant.fd, F_GETFD) & FD_CLOEXEC, 0);
  EXPECT_EQ(::fcntl(grant.fd, F_GETFL) & O_NONBLOCK, 0);
  int on = 0;
  timeval timeout{1, 1};
  socklen_t size = sizeof on, long_size = sizeof timeout;
  ASSERT_EQ(::getsockopt(grant.fd, IPPROTO_TCP, TCP_NODELAY, &on, &size), 0);
  EXPECT_EQ(on, 1);
  ASSERT_EQ(::getsockopt(grant.fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, &long_size), 0);
  EXPECT_EQ(timeout.tv_sec + timeout.tv_usec, 0);
  talks(grant.fd, server);
  EXPECT_EQ(berth_release(session, &grant, BERTH_REUSE), 0);
  EXPECT_EQ(grant.fd, -1);
  EXPECT_EQ(grant.id, 0u);
  EXPECT_EQ(berth_release(session, &grant, BERTH_REUSE), -EINVAL);
}

TEST(Fallback, AProgramGoesOnWhenBerthdGoesAway) {
  Listener server;
  const std::string url = server.url();
  const berth_options options = with_fallback(url);
  for (const Code code : {Code::kOk, Code::kShuttingDown}) {
    berth_session* session = ended_session(code);
    for (int i = 0; i < 2; ++i) {
      berth_grant grant;
      ASSERT_EQ(berth_lease(session, "redis", &options, &grant), 0) << berth_error();
      EXPECT_EQ(grant.id, BERTH_FALLBACK);
      EXPECT_NE(std::string(berth_error()).find("berthd ended the session"), std::string::npos);
      EXPECT_EQ(berth_release(session, &grant, BERTH_DISCARD), 0);
    }
    berth_session_close(session);
  }
}

TEST(Fallback, OneWhoIsEndedForAnotherReasonIsNotLetOff) {
  Listener server;
  const std::string url = server.url();
  const berth_options options = with_fallback(url);
  for (const Code code : {Code::kInvalid, Code::kRevoked, Code::kNotPermitted}) {
    berth_session* session = ended_session(code);
    berth_grant grant;
    EXPECT_EQ(berth_lease(session, "redis", &options, &grant), -ECONNRESET);
    EXPECT_EQ(berth_absent(), 0);
    berth_session_close(session);
  }
}

TEST(Fallback, WhatBerthdRefusesIsNotDialled) {
  Listener listener;
  const std::string url = listener.url();
  const berth_options options = with_fallback(url);
  const struct {
    Code code;
    int result;
  } refusals[] = {{Code::kNotPermitted, -EACCES}, {Code::kTimedOut, -ETIMEDOUT},
                  {Code::kNoSuchKey, -ENOENT},    {Code::kUpstreamDown, -EHOSTDOWN},
                  {Code::kDisabled, -ENXIO},      {Code::kQueueFull, -EAGAIN},
                  {Code::kShuttingDown, 0}};
  SessionServer server([&](Peer& peer) {
    peer.welcome();
    for (const auto& each : refusals) {
      peer.refuse(peer.expect<wire::LeaseRequest>().request_id, each.code, "no");
    }
  });
  berth_session* session = nullptr;
  ASSERT_EQ(berth_session_open(server.path().c_str(), &session), 0);
  for (const auto& each : refusals) {
    berth_grant grant;
    EXPECT_EQ(berth_lease(session, "redis", &options, &grant), each.result);
    EXPECT_EQ(berth_absent(), each.result == 0 ? 1 : 0) << "who stops is as good as absent";
    if (each.result == 0) {
      EXPECT_EQ(berth_release(session, &grant, BERTH_REUSE), 0);
    }
  }
  berth_session_close(session);
}

TEST(Fallback, WhereBerthdIsThereIsNotUsed) {
  SessionServer server([](Peer& peer) {
    peer.welcome();
    peer.grant(peer.expect<wire::LeaseRequest>(), 5);
    EXPECT_EQ(peer.expect<wire::Release>().lease_id, 5u);
  });
  berth_session* session = nullptr;
  ASSERT_EQ(berth_session_open(server.path().c_str(), &session), 0);
  const uint64_t before = berth_fallbacks();
  const std::string url = "tcp://127.0.0.1:1";
  const berth_options options = with_fallback(url);
  berth_grant grant;
  ASSERT_EQ(berth_lease(session, "redis", &options, &grant), 0) << berth_error();
  EXPECT_EQ(grant.id, 5u);
  EXPECT_EQ(berth_release(session, &grant, BERTH_REUSE), 0);
  EXPECT_EQ(berth_fallbacks(), before);
  berth_session_close(session);
}

TEST(Fallback, NamesAndUnixSocketsAreDialled) {
  Listener server;
  const std::string by_name = server.url("localhost");
  berth_options options = with_fallback(by_name);
  berth_grant grant;
  ASSERT_EQ(berth_lease(nullptr, "redis", &options, &grant), 0) << berth_error();
  talks(grant.fd, server);
  EXPECT_EQ(berth_release(nullptr, &grant, BERTH_REUSE), 0);

  const std::string name = "berth-test-fallback-" + std::to_string(::getpid());
  UniqueFd local(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  name.copy(address.sun_path + 1, name.size());
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  ASSERT_EQ(::bind(local.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(::listen(local.get(), 1), 0);
  const std::string url = "unix://@" + name;
  options.fallback = url.c_str();
  ASSERT_EQ(berth_lease(nullptr, "redis", &options, &grant), 0) << berth_error();
  EXPECT_EQ(berth_release(nullptr, &grant, BERTH_REUSE), 0);
}

TEST(Fallback, ABatchIsDialledWholeOrNotAtAll) {
  Listener server;
  const std::string url = server.url();
  const berth_options options = with_fallback(url);
  std::array<berth_grant, 3> grants;
  ASSERT_EQ(berth_lease_many(nullptr, "db", 3, &options, grants.data()), 0) << berth_error();
  for (berth_grant& grant : grants) EXPECT_EQ(berth_release(nullptr, &grant, BERTH_REUSE), 0);
  server.close();
  const size_t open = test::count_open_fds();
  EXPECT_EQ(berth_lease_many(nullptr, "db", 3, &options, grants.data()), -EHOSTDOWN);
  EXPECT_EQ(grants[0].fd, -1);
  EXPECT_EQ(test::count_open_fds(), open);
}

TEST(Fallback, AServerThatIsDownTooIsToldWithBothReasons) {
  Listener server;
  const std::string url = server.url();
  server.close();
  const berth_options options = with_fallback(url);
  berth_grant grant;
  EXPECT_EQ(berth_lease(nullptr, "redis", &options, &grant), -EHOSTDOWN);
  EXPECT_EQ(berth_error(), url +
                               ": Connection refused; it was dialled because berthd is absent: "
                               "there is no session with berthd");
  EXPECT_EQ(berth_absent(), 0) << "the server's failure is told";
}

TEST(Fallback, TheTimeoutBoundsTheDial) {
  Listener deaf(0);  // the kernel answers no more once its queue is full
  const std::string url = deaf.url();
  std::array<UniqueFd, 4> fillers;
  for (UniqueFd& filler : fillers) {
    filler.reset(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<uint16_t>(std::stoi(url.substr(url.rfind(':') + 1))));
    (void)::connect(filler.get(), reinterpret_cast<sockaddr*>(&address), sizeof address);
  }
  berth_options options = with_fallback(url);
  options.timeout_ms = 50;
  berth_grant grant;
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(berth_lease(nullptr, "redis", &options, &grant), -ETIMEDOUT);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(3));
  EXPECT_NE(std::string(berth_error()).find("timed out"), std::string::npos) << berth_error();
}

TEST(Fallback, WhatIsAskedForForGoodIsTheCallersAtOnce) {
  Listener server;
  const std::string url = server.url();
  berth_options options = with_fallback(url);
  options.detach = 1;
  berth_grant grant;
  ASSERT_EQ(berth_lease(nullptr, "ssh", &options, &grant), 0) << berth_error();
  EXPECT_EQ(grant.id, 0u);
  EXPECT_EQ(::close(grant.fd), 0);
}

TEST(Fallback, WhatIsNoServerIsRefusedWhetherBerthdIsThereOrNot) {
  berth_grant grant;
  for (const char* url :
       {"", "redis", "tcp://127.0.0.1", "slot:", "tcp://_redis._tcp.example.org", "unix://relative",
        "http://127.0.0.1:80", "tls://127.0.0.1:443", "grpc://127.0.0.1:443"}) {
    berth_options options = BERTH_OPTIONS_INIT;
    options.fallback = url;
    EXPECT_EQ(berth_lease(nullptr, "redis", &options, &grant), -EINVAL) << url;
    EXPECT_EQ(std::string(berth_error()).rfind("fallback ", 0), 0u) << berth_error();
  }
}

TEST(Fallback, TheFormThatDoesNotWaitHasNone) {
  SessionServer server([](Peer& peer) {
    peer.welcome();
    peer.expect_end();
  });
  berth_session* session = nullptr;
  ASSERT_EQ(berth_session_open(server.path().c_str(), &session), 0);
  Listener listener;
  const std::string url = listener.url();
  const berth_options options = with_fallback(url);
  uint64_t id = 0;
  EXPECT_EQ(berth_submit(session, "redis", 1, &options, &id), -EINVAL);
  berth_grant grant;
  ASSERT_EQ(berth_lease(nullptr, "redis", &options, &grant), 0);
  EXPECT_EQ(berth_submit_release(session, &grant, BERTH_REUSE, &id), -EINVAL);
  EXPECT_EQ(berth_release(session, &grant, BERTH_REUSE), 0);
  berth_session_close(session);
}

TEST(Fallback, WithoutOneASessionIsNeeded) {
  berth_grant grant{1, 2, 3};
  EXPECT_EQ(berth_lease(nullptr, "redis", nullptr, &grant), -EINVAL);
  EXPECT_EQ(grant.fd, 2) << "nothing is written";
  EXPECT_EQ(berth_release(nullptr, &grant, BERTH_REUSE), -EINVAL);
}

TEST(Fallback, TheCppLayerGoesOnToo) {
  Listener server;
  auto session = berth::Session::open_if_there("/nonexistent/lease.sock");
  ASSERT_TRUE(session);
  EXPECT_EQ(session->get(), nullptr);
  berth::LeaseOptions options;
  options.fallback = server.url();
  {
    auto lease = session->lease("redis", options);
    ASSERT_TRUE(lease) << lease.error().words;
    EXPECT_TRUE(lease->is_fallback());
    talks(lease->fd(), server);
  }
  auto socket = session->take("redis", options);
  ASSERT_TRUE(socket) << socket.error().words;
  talks(socket->fd(), server);
  EXPECT_EQ(session->lease("redis").error().error, -EINVAL);
  const std::string too_long(200, 'x');
  EXPECT_EQ(berth::Session::open_if_there(too_long).error().error, -EINVAL);
}

}  // namespace
}  // namespace berth::client
