#include "net/address.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <sys/un.h>

#include "unit/net/sockets.h"

namespace berth::net {
namespace {

using test::address_of;

TEST(SocketAddress, TextIsWhatAUserWouldWrite) {
  EXPECT_EQ(address_of("tcp://127.0.0.1:6379").text(), "127.0.0.1:6379");
  EXPECT_EQ(address_of("tcp://[::1]:80").text(), "[::1]:80");
  EXPECT_EQ(address_of("unix:///run/x.sock").text(), "/run/x.sock");
  EXPECT_EQ(address_of("unix://@name").text(), "@name");
  EXPECT_EQ(SocketAddress().text(), "(no address)");
}

TEST(SocketAddress, AHostNameIsNoLiteral) {
  EXPECT_FALSE(literal_address(std::get<Endpoint>(parse_endpoint("tcp://localhost:80"))));
}

TEST(SocketAddress, ALinkLocalLiteralKeepsItsScope) {
  const unsigned lo = if_nametoindex("lo");
  ASSERT_NE(lo, 0u);
  EXPECT_EQ(address_of("tcp://[fe80::1%lo]:80").text(), "[fe80::1%" + std::to_string(lo) + "]:80");
  EXPECT_NE(address_of("tcp://[fe80::1%lo]:80"), address_of("tcp://[fe80::1]:80"));
}

TEST(SocketAddress, EqualityIsOfFamilyAddressAndPort) {
  EXPECT_EQ(address_of("tcp://127.0.0.1:80"), address_of("tcp://127.0.0.1:80"));
  EXPECT_NE(address_of("tcp://127.0.0.1:80"), address_of("tcp://127.0.0.1:81"));
  EXPECT_NE(address_of("tcp://127.0.0.1:80"), address_of("tcp://127.0.0.2:80"));
  EXPECT_NE(address_of("tcp://127.0.0.1:80"), address_of("tcp://[::ffff:127.0.0.1]:80"));
  EXPECT_NE(address_of("unix:///x"), address_of("unix://@x"));
  EXPECT_EQ(SocketAddress(), SocketAddress());
}

TEST(SocketAddress, PaddingAndFlowLabelDoNotMatter) {
  SocketAddress padded = address_of("tcp://127.0.0.1:80");
  reinterpret_cast<sockaddr_in*>(&padded.storage)->sin_zero[3] = 7;
  EXPECT_EQ(padded, address_of("tcp://127.0.0.1:80"));
  SocketAddress labelled = address_of("tcp://[::1]:80");
  reinterpret_cast<sockaddr_in6*>(&labelled.storage)->sin6_flowinfo = 7;
  EXPECT_EQ(labelled, address_of("tcp://[::1]:80"));
}

TEST(SocketAddress, APathIsTheSameWithAndWithoutItsTrailingZero) {
  SocketAddress path = address_of("unix:///run/x.sock");
  SocketAddress longer = path;
  longer.length = sizeof(sockaddr_un);
  EXPECT_EQ(path, longer);
  EXPECT_EQ(longer.text(), "/run/x.sock");
}

TEST(SocketAddress, TheLongestPathFitsAndHasItsZero) {
  const std::string path = "/" + std::string(106, 'p');
  EXPECT_EQ(address_of("unix://" + path).text(), path);
  EXPECT_EQ(address_of("unix://" + path).length, sizeof(sockaddr_un));
}

TEST(SocketAddress, AnUnnamedUnixSocketHasNoAddress) {
  int fds[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
  const UniqueFd a(fds[0]), b(fds[1]);
  EXPECT_EQ(peer_address(a.get())->text(), "(no address)");
}

TEST(SocketAddress, ASocketWithoutPeerHasNoPeerAddress) {
  const UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  EXPECT_FALSE(peer_address(fd.get()));
}

}  // namespace
}  // namespace berth::net
