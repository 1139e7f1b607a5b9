#include "net/resolve.h"

#include <algorithm>

#include "unit/net/sockets.h"

namespace berth::net {
namespace {

Resolved resolve(const std::string& url) {
  return resolve_blocking(std::get<Endpoint>(parse_endpoint(url)));
}

TEST(Resolve, LocalhostIsALoopbackAddressWithItsPort) {
  const Resolved found = resolve("tcp://localhost:6379");
  ASSERT_FALSE(found.addresses.empty()) << found.error;
  for (const SocketAddress& address : found.addresses) {
    EXPECT_TRUE(address.text() == "127.0.0.1:6379" || address.text() == "[::1]:6379")
        << address.text();
  }
}

TEST(Resolve, NoAddressComesTwice) {
  const Resolved found = resolve("tcp://localhost:6379");
  for (const SocketAddress& address : found.addresses) {
    EXPECT_EQ(std::count(found.addresses.begin(), found.addresses.end(), address), 1);
  }
  EXPECT_LE(found.addresses.size(), kMaxResolvedAddresses);
}

TEST(Resolve, LiteralsAndUnixEndpointsResolveToThemselves) {
  for (const char* url : {"tcp://127.0.0.1:80", "tcp://[::1]:80", "unix:///x.sock", "unix://@x"}) {
    const Resolved found = resolve(url);
    ASSERT_EQ(found.addresses.size(), 1u) << url;
    EXPECT_EQ(found.addresses[0], test::address_of(url));
    EXPECT_EQ(found.error, "");
  }
}

// RFC 6761: .invalid never resolves. Without a name server the words are others.
TEST(Resolve, AFailureNamesTheHostAndTheReason) {
  const Resolved found = resolve("tcp://no-such-host.invalid:80");
  EXPECT_TRUE(found.addresses.empty());
  EXPECT_TRUE(found.error.starts_with("cannot resolve \"no-such-host.invalid\": ")) << found.error;
  EXPECT_GT(found.error.size(), std::string("cannot resolve \"no-such-host.invalid\": ").size());
}

}  // namespace
}  // namespace berth::net
