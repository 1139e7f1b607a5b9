#include "net/close.h"

#include <linux/tcp.h>

#include <chrono>
#include <thread>

#include "net/socket_state.h"
#include "unit/net/sockets.h"

namespace berth::net {
namespace {

using test::Connection;

std::string words(const absl::Status& status) {
  return std::string(status.message());
}

UniqueFd duplicate(const UniqueFd& fd) {
  return UniqueFd(fcntl(fd.get(), F_DUPFD_CLOEXEC, 0));
}

TEST(ClosePooled, TheServerSeesTheEnd) {
  for (const char* url : {"tcp://127.0.0.1:1", "unix://@berth-test-close"}) {
    for (const bool handed_out : {false, true}) {
      Connection c(url);
      EXPECT_TRUE(close_pooled(std::move(c.fd), handed_out).ok());
      EXPECT_EQ(test::hear(c.server), "") << url;
    }
  }
}

// The trap: close(2) of a lingering socket with unsent data waits, here for a minute.
TEST(ClosePooled, TheHoldersLingerDoesNotBlockTheLoop) {
  Connection c;
  ASSERT_EQ(test::set_option(c.fd, SOL_SOCKET, SO_LINGER, linger{1, 60}), 0);
  test::fill(c.fd);
  const auto start = std::chrono::steady_clock::now();
  EXPECT_TRUE(close_pooled(std::move(c.fd), true).ok());
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
}

// The other trap: SO_LINGER with 0 s makes close(2) reset, and the server lose what was sent.
TEST(ClosePooled, TheHoldersZeroLingerDoesNotReset) {
  Connection c;
  ASSERT_EQ(test::set_option(c.fd, SOL_SOCKET, SO_LINGER, linger{1, 0}), 0);
  test::say(c.fd, "goodbye");
  EXPECT_TRUE(close_pooled(std::move(c.fd), true).ok());
  EXPECT_EQ(test::hear(c.server), "goodbye");
  EXPECT_EQ(test::hear(c.server), "");
}

TEST(LetGo, TheNewOwnersSocketIsAsItWas) {
  for (const char* url : {"tcp://127.0.0.1:1", "unix://@berth-test-close"}) {
    Connection c(url);
    const UniqueFd kept = duplicate(c.fd);
    EXPECT_TRUE(let_go(std::move(c.fd)).ok());
    test::say(kept, "hello");
    EXPECT_EQ(test::hear(c.server), "hello") << url;
    test::say(c.server, "yes?");
    EXPECT_EQ(test::hear(kept), "yes?") << url;
  }
}

TEST(LetGo, ANewOwnerThatHasGoneAndLeftALingerDoesNotBlockTheLoop) {
  Connection c;
  ASSERT_EQ(test::set_option(c.fd, SOL_SOCKET, SO_LINGER, linger{1, 60}), 0);
  test::fill(c.fd);
  const auto start = std::chrono::steady_clock::now();
  EXPECT_TRUE(let_go(std::move(c.fd)).ok());
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
}

TEST(LetGo, TheNewOwnersWishToResetStands) {
  Connection c;
  const UniqueFd kept = duplicate(c.fd);
  ASSERT_EQ(test::set_option(kept, SOL_SOCKET, SO_LINGER, linger{1, 0}), 0);
  EXPECT_TRUE(let_go(std::move(c.fd)).ok());
  linger left{};
  socklen_t size = sizeof left;
  ASSERT_EQ(getsockopt(kept.get(), SOL_SOCKET, SO_LINGER, &left, &size), 0);
  EXPECT_EQ(left.l_onoff, 1);
}

TEST(ClosePooled, AKeptDuplicateIsShutDownToo) {
  for (const char* url : {"tcp://127.0.0.1:1", "unix://@berth-test-close"}) {
    Connection c(url);
    const UniqueFd kept = duplicate(c.fd);
    EXPECT_TRUE(close_pooled(std::move(c.fd), true).ok());
    EXPECT_EQ(test::hear(c.server), "") << "the server sees the end";
    EXPECT_EQ(test::hear(kept), "") << "and so does the other holder";
    EXPECT_FALSE(test::say(kept, "more"));
  }
}

TEST(ClosePooled, AConnectionThatTheServerResetIsClosedWithoutError) {
  Connection c;
  test::set_option(c.server, SOL_SOCKET, SO_LINGER, linger{1, 0});
  c.server.reset();
  ASSERT_TRUE(test::wait_for(c.fd.get(), POLLERR));
  EXPECT_TRUE(close_pooled(std::move(c.fd), true).ok());
}

TEST(ClosePooled, AnUnfinishedDialIsClosedWithoutError) {
  UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  EXPECT_TRUE(close_pooled(std::move(fd), true).ok());
}

TEST(ClosePooled, ADescriptorThatIsNotOpenIsReportedInWords) {
  EXPECT_EQ(words(close_pooled(UniqueFd(1'000'000), false)),
            "close a connection: Bad file descriptor");
}

TEST(ResetPeer, BothEndsSeeTheReset) {
  for (const char* url : {"tcp://127.0.0.1:1", "tcp://[::1]:1"}) {
    const Connection c(url);
    const UniqueFd kept = duplicate(c.fd);
    ASSERT_TRUE(shutdown_pooled(c.fd.get()).ok());
    EXPECT_EQ(test::hear(c.server), "");
    EXPECT_EQ(test::hear(kept), "") << "its holder reads the end";
    EXPECT_TRUE(reset_peer(c.fd.get()).ok());
    EXPECT_FALSE(test::say(c.server, "more"));
    EXPECT_EQ(test::hear(kept), "(Connection reset by peer)");
  }
}

TEST(ResetPeer, WorksWithoutAShutdownBefore) {
  const Connection c;
  EXPECT_TRUE(reset_peer(c.fd.get()).ok());
  EXPECT_EQ(test::hear(c.server), "(Connection reset by peer)");
}

TEST(ResetPeer, AHolderWhoWaitsForBytesIsWoken) {
  const Connection c;
  make_blocking(c.fd.get());
  std::thread holder([&] {
    char byte;
    EXPECT_EQ(recv(c.fd.get(), &byte, 1, 0), 0) << std::strerror(errno);
  });
  ASSERT_TRUE(shutdown_pooled(c.fd.get()).ok());
  holder.join();
  EXPECT_TRUE(reset_peer(c.fd.get()).ok());
}

TEST(ResetPeer, ALayerIsLeftAlone) {
  const Connection c;
  if (setsockopt(c.fd.get(), IPPROTO_TCP, TCP_ULP, "tls", 3) != 0) {
    GTEST_SKIP() << "this kernel has no TLS layer (CONFIG_TLS, module tls)";
  }
  EXPECT_EQ(words(reset_peer(c.fd.get())), "reset a connection: kernel TLS is on it");
}

TEST(ResetPeer, AUnixConnectionCannotBeReset) {
  const Connection c("unix://@berth-test-reset");
  EXPECT_EQ(words(reset_peer(c.fd.get())), "reset a connection: it is not TCP");
}

}  // namespace
}  // namespace berth::net
