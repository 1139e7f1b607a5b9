#include "net/resolve.h"

#include <algorithm>

#include "unit/net/sockets.h"

namespace berth::net {
namespace {

Answer resolve(const std::string& url) {
  return resolve_blocking(std::get<Endpoint>(parse_endpoint(url)));
}

TEST(Resolve, LocalhostIsALoopbackAddressWithItsPort) {
  const Answer found = resolve("tcp://localhost:6379");
  ASSERT_TRUE(found.good()) << found.error;
  for (const SocketAddress& address : found.targets[0].addresses) {
    EXPECT_TRUE(address.text() == "127.0.0.1:6379" || address.text() == "[::1]:6379")
        << address.text();
  }
}

TEST(Resolve, NoAddressComesTwice) {
  const Answer found = resolve("tcp://localhost:6379");
  ASSERT_TRUE(found.good()) << found.error;
  const std::vector<SocketAddress>& addresses = found.targets[0].addresses;
  for (const SocketAddress& address : addresses) {
    EXPECT_EQ(std::count(addresses.begin(), addresses.end(), address), 1);
  }
  EXPECT_LE(addresses.size(), kMaxResolvedAddresses);
  EXPECT_TRUE(found.complete);
}

TEST(Resolve, LiteralsAndUnixEndpointsResolveToThemselves) {
  for (const char* url : {"tcp://127.0.0.1:80", "tcp://[::1]:80", "unix:///x.sock", "unix://@x"}) {
    const Answer found = resolve(url);
    ASSERT_TRUE(found.good()) << url;
    EXPECT_EQ(found.targets[0].addresses, std::vector{test::address_of(url)}) << url;
  }
}

// RFC 6761: .invalid never resolves. Without a name server the words are others.
TEST(Resolve, AFailureNamesTheHostAndTheReason) {
  const Answer found = resolve("tcp://no-such-host.invalid:80");
  EXPECT_TRUE(found.targets.empty());
  EXPECT_TRUE(found.error.starts_with("cannot resolve \"no-such-host.invalid\": ")) << found.error;
  EXPECT_GT(found.error.size(), std::string("cannot resolve \"no-such-host.invalid\": ").size());
}

TEST(Resolve, AServiceIsNotForTheSystem) {
  EXPECT_EQ(resolve("tcp://_redis._tcp.example.com").error,
            "\"_redis._tcp.example.com\" is a service, which the system does not resolve");
}

TEST(Resolve, ARouteIsKnownWithoutSendingAnything) {
  EXPECT_TRUE(has_route(test::address_of("tcp://127.0.0.1:9")));
  EXPECT_FALSE(has_route(test::address_of("tcp://255.255.255.255:9"))) << "no broadcasts";
}

}  // namespace
}  // namespace berth::net
