#include "net/dial.h"

#include <linux/tcp.h>

#include "unit/net/sockets.h"

namespace berth::net {
namespace {

using test::Connection;

std::string words(const absl::Status& status) {
  return std::string(status.message());
}

TEST(Dial, ConnectsNonblockingAndCloseOnExec) {
  const Connection c;
  EXPECT_NE(fcntl(c.fd.get(), F_GETFL) & O_NONBLOCK, 0);
  EXPECT_NE(fcntl(c.fd.get(), F_GETFD) & FD_CLOEXEC, 0);
  EXPECT_TRUE(test::say(c.fd, "ping"));
  EXPECT_EQ(test::hear(c.server), "ping");
  EXPECT_TRUE(test::say(c.server, "pong"));
  EXPECT_EQ(test::hear(c.fd), "pong");
}

TEST(Dial, SetsNodelayAndKeepaliveByDefault) {
  const Connection c;
  EXPECT_EQ(test::get_option(c.fd, IPPROTO_TCP, TCP_NODELAY), 1);
  EXPECT_EQ(test::get_option(c.fd, SOL_SOCKET, SO_KEEPALIVE), 1);
  EXPECT_EQ(test::get_option(c.fd, IPPROTO_TCP, TCP_KEEPIDLE), 15);
  EXPECT_EQ(test::get_option(c.fd, IPPROTO_TCP, TCP_KEEPINTVL), 5);
  EXPECT_EQ(test::get_option(c.fd, IPPROTO_TCP, TCP_KEEPCNT), 3);
}

TEST(Dial, LeavesOutWhatIsSwitchedOff) {
  DialOptions options = test::dial_options();
  options.nodelay = false;
  options.keepalive.idle = {};
  const Connection c("tcp://127.0.0.1:1", options);
  EXPECT_EQ(test::get_option(c.fd, IPPROTO_TCP, TCP_NODELAY), 0);
  EXPECT_EQ(test::get_option(c.fd, SOL_SOCKET, SO_KEEPALIVE), 0);
}

TEST(Dial, ReachesIpv6UnixPathAndAbstractName) {
  const test::Folder folder;
  for (const std::string& url : {std::string("tcp://[::1]:1"), "unix://" + folder.file("s"),
                                 "unix://@berth-test-" + std::to_string(getpid())}) {
    const Connection c(url);
    EXPECT_TRUE(test::say(c.fd, "ping")) << url;
    EXPECT_EQ(test::hear(c.server), "ping") << url;
  }
}

TEST(Dial, ARefusalSaysWhereAndWhy) {
  SocketAddress address = test::address_of("tcp://127.0.0.1:1");
  { const UniqueFd gone = test::listen_at(address); }
  auto fd = start_connect(address, test::dial_options());
  ASSERT_TRUE(fd.ok()) << fd.status();
  ASSERT_TRUE(test::wait_writable(fd->get()));
  EXPECT_EQ(words(finish_connect(fd->get(), address)),
            "connect to " + address.text() + ": Connection refused");
}

TEST(Dial, AMissingUnixSocketSaysWhereAndWhy) {
  const test::Folder folder;
  const auto fd = start_connect(test::address_of("unix://" + folder.file("none")), {});
  EXPECT_EQ(words(fd.status()),
            "connect to " + folder.file("none") + ": No such file or directory");
}

TEST(Dial, AFullUnixBacklogIsAnErrorThatSaysSo) {
  const test::Folder folder;
  SocketAddress address = test::address_of("unix://" + folder.file("s"));
  const UniqueFd listener = test::listen_at(address, 0);
  const UniqueFd first = test::dial(address);
  const auto second = start_connect(address, test::dial_options());
  EXPECT_EQ(words(second.status()),
            "connect to " + address.text() + ": its backlog is full, the server does not accept");
}

TEST(Dial, WithoutAFreeDescriptorItIsNotTheServersFault) {
  const test::NoFdsLeft limit;
  const auto fd = start_connect(test::address_of("tcp://127.0.0.1:80"), test::dial_options());
  EXPECT_EQ(fd.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(words(fd.status()), "open a socket for 127.0.0.1:80: Too many open files");
}

TEST(Dial, ASocketThatMetItselfIsNoConnection) {
  SocketAddress address = test::address_of("tcp://127.0.0.1:1");
  reinterpret_cast<sockaddr_in*>(&address.storage)->sin_port = 0;
  const UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(bind(fd.get(), address.raw(), address.length), 0);
  address = *local_address(fd.get());
  ASSERT_EQ(connect(fd.get(), address.raw(), address.length), 0) << "Linux connects it to itself";
  EXPECT_EQ(words(finish_connect(fd.get(), address)),
            "connect to " + address.text() + ": nobody listens there, the socket met itself");
}

TEST(Dial, AnUnfinishedConnectIsNotTakenForAConnection) {
  SocketAddress address = test::address_of("tcp://127.0.0.1:1");
  const UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  EXPECT_EQ(words(finish_connect(fd.get(), address)), "connect to 127.0.0.1:1: not connected");
}

}  // namespace
}  // namespace berth::net
