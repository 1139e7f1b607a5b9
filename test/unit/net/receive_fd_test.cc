#include "net/receive_fd.h"

#include <sys/eventfd.h>
#include <sys/uio.h>

#include <vector>

#include "net/socket_state.h"
#include "unit/net/sockets.h"

namespace berth::net {
namespace {

struct Channel {
  Channel() {
    int fds[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    near.reset(fds[0]);
    far.reset(fds[1]);
  }

  // As a program does it.
  void pass(const std::vector<int>& fds, std::string bytes = "x") const {
    std::vector<char> control(CMSG_SPACE(fds.size() * sizeof(int)));
    iovec data{bytes.data(), bytes.size()};
    msghdr message{};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    if (!fds.empty()) {
      message.msg_control = control.data();
      message.msg_controllen = control.size();
      cmsghdr* header = CMSG_FIRSTHDR(&message);
      header->cmsg_level = SOL_SOCKET;
      header->cmsg_type = SCM_RIGHTS;
      header->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
      std::memcpy(CMSG_DATA(header), fds.data(), fds.size() * sizeof(int));
    }
    ASSERT_EQ(sendmsg(far.get(), &message, MSG_NOSIGNAL), static_cast<ssize_t>(bytes.size()));
  }

  UniqueFd near, far;
};

size_t open_fds() {
  size_t count = 0;
  for (int fd = 0; fd < 1024; ++fd) count += fcntl(fd, F_GETFD) >= 0 ? 1 : 0;
  return count;
}

TEST(ReceiveFd, OneDescriptorIsTakenAndClosesOnExec) {
  const Channel channel;
  EXPECT_EQ(receive_fd(channel.near.get()).kind, PassedFd::nothing_yet);
  const test::Pipe pipe;
  channel.pass({pipe.in.get()});
  const PassedFd got = receive_fd(channel.near.get());
  ASSERT_EQ(got.kind, PassedFd::passed);
  EXPECT_EQ(fcntl(got.fd.get(), F_GETFD), FD_CLOEXEC);
  EXPECT_EQ(write(got.fd.get(), "x", 1), 1);
  char byte;
  EXPECT_EQ(read(pipe.out.get(), &byte, 1), 1);
}

TEST(ReceiveFd, ItMayComeWithMoreThanOneByte) {
  const Channel channel;
  channel.pass({0}, std::string(64, 'x'));
  EXPECT_EQ(receive_fd(channel.near.get()).kind, PassedFd::passed);
}

TEST(ReceiveFd, SeveralAreClosedAgain) {
  const Channel channel;
  const size_t before = open_fds();
  for (const size_t count : {2u, 8u, 9u, 100u}) {
    channel.pass(std::vector<int>(count, 0));
    const PassedFd got = receive_fd(channel.near.get());
    EXPECT_EQ(got.kind, PassedFd::wrong);
    EXPECT_EQ(got.what,
              count > 8 ? "more than 8 descriptors" : std::to_string(count) + " descriptors");
    EXPECT_EQ(open_fds(), before);
  }
}

TEST(ReceiveFd, BytesAloneAreWrong) {
  const Channel channel;
  channel.pass({}, "connected!\n");
  const PassedFd got = receive_fd(channel.near.get());
  EXPECT_EQ(got.kind, PassedFd::wrong);
  EXPECT_EQ(got.what, "bytes instead of a descriptor");
}

TEST(ReceiveFd, TheEndIsTold) {
  Channel channel;
  channel.far.reset();
  EXPECT_EQ(receive_fd(channel.near.get()).kind, PassedFd::ended);
}

TEST(ReceiveFd, WhatCameBeforeTheEndIsStillThere) {
  Channel channel;
  channel.pass({0});
  channel.far.reset();
  EXPECT_EQ(receive_fd(channel.near.get()).kind, PassedFd::passed);
  EXPECT_EQ(receive_fd(channel.near.get()).kind, PassedFd::ended);
}

TEST(ReceiveFd, WithoutAFreeDescriptorItSaysSo) {
  const Channel channel;
  channel.pass({0});
  const test::NoFdsLeft limit;
  const PassedFd got = receive_fd(channel.near.get());
  EXPECT_EQ(got.kind, PassedFd::wrong);
  EXPECT_EQ(got.what, "a descriptor for which berthd has none left");
}

// --- adopt() ---

std::string fault(const UniqueFd& fd) {
  const auto peer = adopt(fd.get(), test::dial_options());
  return peer.ok() ? "" : std::string(peer.status().message());
}

DialOptions nothing_set() {
  DialOptions options;
  options.nodelay = options.pin = false;
  options.keepalive.idle = {};
  return options;
}

TEST(Adopt, AConnectionIsAsIfItHadBeenDialledHere) {
  const test::Connection c("tcp://127.0.0.1:1", nothing_set());
  fcntl(c.fd.get(), F_SETFL, O_RDWR);
  const auto peer = adopt(c.fd.get(), test::dial_options());
  ASSERT_TRUE(peer.ok()) << peer.status();
  EXPECT_EQ(*peer, c.address);
  EXPECT_NE(fcntl(c.fd.get(), F_GETFL) & O_NONBLOCK, 0);
  EXPECT_EQ(test::get_option(c.fd, IPPROTO_TCP, 1 /* TCP_NODELAY */), 1);
  EXPECT_EQ(test::get_option(c.fd, SOL_SOCKET, SO_KEEPALIVE), 1);
  if (!can_pin().ok()) GTEST_SKIP() << "no pins here";
  EXPECT_EQ(test::get_option(c.fd, SOL_SOCKET, SO_LOCK_FILTER), 1);
}

// Its peer may be a proxy, which would lead it elsewhere.
TEST(Adopt, ItCannotBeConnectedAgainNotEvenToItsPeer) {
  if (!can_pin().ok()) GTEST_SKIP() << "no pins here";
  const test::Connection c("tcp://127.0.0.1:1", nothing_set());
  ASSERT_TRUE(adopt(c.fd.get(), test::dial_options()).ok());
  ASSERT_EQ(test::disconnect(c.fd), 0);
  ASSERT_NE(fcntl(c.fd.get(), F_SETFL, O_NONBLOCK), -1);
  (void)connect(c.fd.get(), c.address.raw(), c.address.length);
  EXPECT_EQ(inspect_released(c.fd.get(), c.address, PeerProof::pinned).verdict, Released::dirty);
}

TEST(Adopt, OneThatAnotherBerthdHasPinnedIsAdopted) {
  const test::Connection dialled;
  EXPECT_EQ(fault(dialled.fd), "");
  EXPECT_EQ(fault(dialled.fd), "") << "and once more";
}

TEST(Adopt, TheOtherFamiliesAreAdoptedToo) {
  const test::Folder folder;
  for (const std::string& url : {std::string("tcp://[::1]:1"), "unix://" + folder.file("s")}) {
    const test::Connection c(url, nothing_set());
    const auto peer = adopt(c.fd.get(), test::dial_options());
    ASSERT_TRUE(peer.ok()) << peer.status();
    EXPECT_EQ(*peer, c.address);
  }
  const Channel pair;
  EXPECT_EQ(fault(pair.near), "");
}

TEST(Adopt, WhatIsNoSocketIsNamed) {
  const test::Pipe pipe;
  EXPECT_EQ(fault(UniqueFd(open(__FILE__, O_RDONLY | O_CLOEXEC))), "a regular file, not a socket");
  EXPECT_EQ(fault(UniqueFd(open("/", O_RDONLY | O_CLOEXEC))), "a folder, not a socket");
  EXPECT_EQ(fault(UniqueFd(open("/dev/null", O_RDWR | O_CLOEXEC))), "a device, not a socket");
  EXPECT_EQ(fault(UniqueFd(dup(pipe.in.get()))), "a pipe, not a socket");
  EXPECT_EQ(fault(UniqueFd(eventfd(0, EFD_CLOEXEC))), "something, not a socket");
}

TEST(Adopt, AnotherKindOfSocketIsNamed) {
  int fds[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
  const UniqueFd one(fds[0]), other(fds[1]);
  EXPECT_EQ(fault(one), "a socket that is no stream");
  EXPECT_EQ(fault(UniqueFd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0))), "a datagram socket");
  EXPECT_EQ(fault(UniqueFd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0))),
            "a socket that is not connected");
  EXPECT_EQ(fault(UniqueFd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0))),
            "a socket that is not connected");
  for (const char* url : {"tcp://127.0.0.1:1", "unix://@berth-adopt-test"}) {
    SocketAddress address = test::address_of(url);
    EXPECT_EQ(fault(test::listen_at(address)), "a listening socket");
  }
  if (const UniqueFd mptcp(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 262)); mptcp.valid()) {
    EXPECT_EQ(fault(mptcp), "a socket of another protocol than TCP");
  }
}

TEST(Adopt, AConnectionThatHasEndedIsRefused) {
  test::Connection closed;
  closed.server.reset();
  ASSERT_TRUE(test::wait_readable(closed.fd.get()));
  EXPECT_EQ(fault(closed.fd), "a connection that is closed already");
  test::Connection reset;
  const linger at_once{1, 0};
  test::set_option(reset.server, SOL_SOCKET, SO_LINGER, at_once);
  reset.server.reset();
  ASSERT_TRUE(test::wait_readable(reset.fd.get()));
  EXPECT_EQ(fault(reset.fd), "a connection that has failed: Connection reset by peer");
}

TEST(Adopt, ASocketThatMetItselfIsNoConnection) {
  SocketAddress address = test::address_of("tcp://127.0.0.1:1");
  reinterpret_cast<sockaddr_in*>(&address.storage)->sin_port = 0;
  const UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(bind(fd.get(), address.raw(), address.length), 0);
  address = *local_address(fd.get());
  ASSERT_EQ(connect(fd.get(), address.raw(), address.length), 0) << "Linux connects it to itself";
  EXPECT_EQ(fault(fd), "a socket that is connected to itself");
}

}  // namespace
}  // namespace berth::net
