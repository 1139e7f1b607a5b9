#include "net/socket_state.h"

#include <linux/tcp.h>

#include "support/signals.h"
#include "unit/net/sockets.h"

namespace berth::net {
namespace {

using test::Connection;

Released inspect(const Connection& c) {
  const Released released = inspect_released(c.fd.get(), c.address);
  EXPECT_EQ(released.verdict == Released::clean, std::string(released.why).empty());
  return released;
}

class AnyStream : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(SocketState, AnyStream,
                         testing::Values("tcp://127.0.0.1:1", "tcp://[::1]:1",
                                         "unix://@berth-test-state"));

TEST_P(AnyStream, AConnectionThatWasUsedUpIsClean) {
  const Connection c(GetParam());
  test::say(c.fd, "ping");
  EXPECT_EQ(test::hear(c.server), "ping");
  test::say(c.server, "pong");
  EXPECT_EQ(test::hear(c.fd), "pong");
  EXPECT_EQ(inspect(c).verdict, Released::clean);
  EXPECT_EQ(inspect_released(c.fd.get(), c.address, PeerProof::pinned).verdict, Released::clean);
  EXPECT_EQ(peek(c.fd.get()), Peek::clean);
  EXPECT_TRUE(still_open(c.fd.get()));
}

TEST_P(AnyStream, TheHoldersNonblockingFlagIsCleared) {
  const Connection c(GetParam());
  ASSERT_EQ(fcntl(c.fd.get(), F_SETFL, O_NONBLOCK | O_ASYNC), 0);
  make_blocking(c.fd.get());
  EXPECT_EQ(fcntl(c.fd.get(), F_GETFL) & (O_NONBLOCK | O_ASYNC | O_APPEND), 0);
}

TEST_P(AnyStream, UnreadDataIsDirty) {
  const Connection c(GetParam());
  test::say(c.server, "late reply");
  ASSERT_TRUE(test::wait_readable(c.fd.get()));
  EXPECT_STREQ(inspect(c).why, "unread data");
}

TEST_P(AnyStream, PeekTellsCleanDataAndEndApart) {
  const Connection c(GetParam());
  EXPECT_EQ(peek(c.fd.get()), Peek::clean);
  test::say(c.server, "x");
  ASSERT_TRUE(test::wait_readable(c.fd.get()));
  EXPECT_EQ(peek(c.fd.get()), Peek::has_data);
  shutdown(c.server.get(), SHUT_WR);
  ASSERT_TRUE(test::wait_for(c.fd.get(), POLLRDHUP));
  EXPECT_EQ(peek(c.fd.get()), Peek::closed);
}

TEST_P(AnyStream, PeekNeverWaitsOnABlockingSocket) {
  const Connection c(GetParam());
  make_blocking(c.fd.get());
  EXPECT_EQ(peek(c.fd.get()), Peek::clean);
  EXPECT_EQ(inspect(c).verdict, Released::clean);
}

TEST_P(AnyStream, TheHoldersPeekOffsetDoesNotHideData) {
  const Connection c(GetParam());
  if (test::set_option(c.fd, SOL_SOCKET, SO_PEEK_OFF, 100) != 0) {
    GTEST_SKIP() << "this kernel has no SO_PEEK_OFF here (TCP: before Linux 6.9)";
  }
  test::say(c.server, "short");
  ASSERT_TRUE(test::wait_readable(c.fd.get()));
  char byte;
  ASSERT_EQ(recv(c.fd.get(), &byte, 1, MSG_PEEK | MSG_DONTWAIT), -1) << "the trap: a blind peek";
  EXPECT_EQ(peek(c.fd.get()), Peek::has_data);
  EXPECT_STREQ(inspect(c).why, "unread data");
}

TEST_P(AnyStream, TheHoldersLowWaterMarkDoesNotHideData) {
  const Connection c(GetParam());
  ASSERT_EQ(test::set_option(c.fd, SOL_SOCKET, SO_RCVLOWAT, 1000), 0);
  test::say(c.server, "short");
  EXPECT_EQ(peek(c.fd.get()), Peek::has_data);
  EXPECT_STREQ(inspect(c).why, "unread data");
}

TEST_P(AnyStream, ShutdownForWritingByTheHolderIsDirty) {
  const Connection c(GetParam());
  ASSERT_EQ(shutdown(c.fd.get(), SHUT_WR), 0);
  EXPECT_EQ(peek(c.fd.get()), Peek::clean) << "reading alone does not tell";
  EXPECT_STREQ(inspect(c).why, "closed by its holder for writing, or not connected");
}

TEST_P(AnyStream, ShutdownForReadingByTheHolderIsDirty) {
  const Connection c(GetParam());
  ASSERT_EQ(shutdown(c.fd.get(), SHUT_RD), 0);
  EXPECT_STREQ(inspect(c).why, "closed by the server, or by its holder for reading");
}

TEST_P(AnyStream, TheServersEndIsDirty) {
  Connection c(GetParam());
  c.server.reset();
  ASSERT_TRUE(test::wait_for(c.fd.get(), POLLRDHUP));
  EXPECT_STREQ(inspect(c).why, "closed by the server, or by its holder for reading");
  EXPECT_EQ(peek(c.fd.get()), Peek::closed);
}

TEST_P(AnyStream, AGreetingLeavesAFreshConnectionOpen) {
  const Connection c(GetParam());
  test::say(c.server, "220 ready\r\n");
  ASSERT_TRUE(test::wait_readable(c.fd.get()));
  EXPECT_TRUE(still_open(c.fd.get()));
  EXPECT_EQ(test::hear(c.fd), "220 ready\r\n") << "and not a byte of it is lost";
}

TEST_P(AnyStream, AGreetingAndThenTheEndIsNotOpen) {
  Connection c(GetParam());
  test::say(c.server, "421 too busy\r\n");
  c.server.reset();
  ASSERT_TRUE(test::wait_for(c.fd.get(), POLLRDHUP));
  EXPECT_FALSE(still_open(c.fd.get()));
}

TEST_P(AnyStream, ASignalIsNoEndOfAConnection) {
  const Connection c(GetParam());
  const berth::test::Signals signals;
  for (int i = 0; i < 20'000; ++i) ASSERT_TRUE(still_open(c.fd.get()));
}

TEST(SocketState, AResetIsDirtyAndNotOpen) {
  Connection c;
  test::set_option(c.server, SOL_SOCKET, SO_LINGER, linger{1, 0});
  c.server.reset();
  ASSERT_TRUE(test::wait_for(c.fd.get(), POLLERR));
  EXPECT_FALSE(still_open(c.fd.get()));
  EXPECT_EQ(inspect(c).verdict, Released::dirty);
}

TEST(SocketState, UnsentDataIsAskedForAgainUntilTheServerReads) {
  const Connection c;
  const size_t sent = test::fill(c.fd);
  EXPECT_EQ(inspect(c).verdict, Released::unsent);
  EXPECT_STREQ(inspect(c).why, "the server does not read what its holder sent");
  ASSERT_TRUE(test::read_all(c.server, sent));
  EXPECT_EQ(inspect(c).verdict, Released::clean);
}

TEST(SocketState, ACorkedRestIsUnsent) {
  const Connection c;
  ASSERT_EQ(test::set_option(c.fd, IPPROTO_TCP, TCP_CORK, 1), 0);
  test::say(c.fd, "half a request");
  EXPECT_EQ(inspect(c).verdict, Released::unsent);
  ASSERT_EQ(test::set_option(c.fd, IPPROTO_TCP, TCP_CORK, 0), 0);
  EXPECT_EQ(test::hear(c.server), "half a request");
  EXPECT_EQ(inspect(c).verdict, Released::clean);
}

TEST(SocketState, InspectionSendsNothing) {
  const Connection c;
  for (int i = 0; i < 3; ++i) inspect(c);
  EXPECT_EQ(peek(c.server.get()), Peek::clean);
}

TEST(SocketState, ADisconnectedSocketIsDirty) {
  const Connection c;
  ASSERT_EQ(test::disconnect(c.fd), 0);
  EXPECT_EQ(inspect(c).verdict, Released::dirty);
  EXPECT_EQ(inspect_released(c.fd.get(), c.address, PeerProof::pinned).verdict, Released::dirty);
}

// Why a Unix socket needs no look at its peer: its holder can neither move it nor listen.
TEST(SocketState, AConnectedUnixSocketCannotBeRepointed) {
  const Connection c("unix://@berth-test-repoint");
  EXPECT_EQ(test::disconnect(c.fd), -1);
  EXPECT_EQ(connect(c.fd.get(), c.address.raw(), c.address.length), -1);
  EXPECT_EQ(errno, EISCONN);
  EXPECT_EQ(listen(c.fd.get(), 5), -1);
  EXPECT_EQ(inspect(c).verdict, Released::clean);
}

// A server may have bound its socket by another path than the one that was dialled.
TEST(SocketState, AUnixServersOwnNameDoesNotMatter) {
  const test::Folder folder;
  SocketAddress bound = test::address_of("unix://" + folder.file("real"));
  const UniqueFd listener = test::listen_at(bound);
  ASSERT_EQ(symlink(folder.file("real").c_str(), folder.file("alias").c_str()), 0);
  const SocketAddress alias = test::address_of("unix://" + folder.file("alias"));
  const UniqueFd fd = test::dial(alias);
  ASSERT_NE(*peer_address(fd.get()), alias);
  EXPECT_EQ(inspect_released(fd.get(), alias).verdict, Released::clean);
}

TEST(HasUnread, ConsumesNothing) {
  int pair[2];
  ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
  const UniqueFd ours(pair[0]);
  const UniqueFd theirs(pair[1]);
  EXPECT_FALSE(has_unread(ours.get()));
  ASSERT_EQ(2, send(theirs.get(), "hi", 2, 0));
  EXPECT_TRUE(has_unread(ours.get()));
  char bytes[4];
  EXPECT_EQ(2, recv(ours.get(), bytes, sizeof bytes, 0));
}

}  // namespace
}  // namespace berth::net
