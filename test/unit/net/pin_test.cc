#include "net/pin.h"

#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>

#include "net/socket_state.h"
#include "unit/net/sockets.h"

namespace berth::net {
namespace {

using test::Connection;

enum State { established = 1, syn_sent = 2 };  // of include/net/tcp_states.h

int tcp_state(const UniqueFd& fd) {
  return test::get_option<tcp_info>(fd, IPPROTO_TCP, TCP_INFO).tcpi_state;
}

DialOptions unpinned() {
  DialOptions options;
  options.pin = false;
  return options;
}

// Loopback delivers within connect(2): once it returns, the answer was taken or dropped.
void connect_elsewhere(const UniqueFd& fd, const SocketAddress& address) {
  ASSERT_EQ(test::disconnect(fd), 0);
  ASSERT_NE(fcntl(fd.get(), F_SETFL, O_NONBLOCK), -1);
  (void)connect(fd.get(), address.raw(), address.length);
}

#define SKIP_WITHOUT_PIN() \
  if (const absl::Status status = can_pin(); !status.ok()) GTEST_SKIP() << status

class PinnedFamily : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override { SKIP_WITHOUT_PIN(); }
};
INSTANTIATE_TEST_SUITE_P(Pin, PinnedFamily,
                         testing::Values("tcp://127.0.0.1:1", "tcp://[::1]:1",
                                         "tcp://[::ffff:127.0.0.1]:1"));

class UnpinnedFamily : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Pin, UnpinnedFamily,
                         testing::Values("tcp://127.0.0.1:1", "tcp://[::1]:1",
                                         "tcp://[::ffff:127.0.0.1]:1"));

TEST_P(PinnedFamily, CarriesAMebibyteBothWaysAndItsEnd) {
  const Connection c(GetParam());
  size_t sent = 0;
  while (sent < (1 << 20)) {
    const size_t part = test::fill(c.fd);
    ASSERT_TRUE(test::read_all(c.server, part));
    sent += part;
  }
  EXPECT_TRUE(test::say(c.server, "thanks"));
  EXPECT_EQ(test::hear(c.fd), "thanks");
  shutdown(c.server.get(), SHUT_WR);
  EXPECT_EQ(test::hear(c.fd), "");
}

TEST_P(PinnedFamily, NeverConnectsElsewhere) {
  const Connection c(GetParam());
  SocketAddress elsewhere = test::address_of(GetParam());
  const UniqueFd listener = test::listen_at(elsewhere);
  connect_elsewhere(c.fd, elsewhere);
  EXPECT_EQ(tcp_state(c.fd), syn_sent) << "the answer to its SYN was dropped";
  EXPECT_EQ(inspect_released(c.fd.get(), c.address, PeerProof::pinned).verdict, Released::dirty);
  EXPECT_EQ(inspect_released(c.fd.get(), c.address, PeerProof::compare).verdict, Released::dirty);
}

TEST_P(UnpinnedFamily, ConnectsElsewhereAndIsFoundDirty) {
  const Connection c(GetParam(), unpinned());
  SocketAddress elsewhere = test::address_of(GetParam());
  const UniqueFd listener = test::listen_at(elsewhere);
  connect_elsewhere(c.fd, elsewhere);
  ASSERT_TRUE(test::wait_writable(c.fd.get()));
  EXPECT_EQ(tcp_state(c.fd), established);
  EXPECT_STREQ(inspect_released(c.fd.get(), c.address).why, "its holder connected it elsewhere");
}

TEST_P(PinnedFamily, HearsNoStrangerWhenItsHolderListens) {
  const Connection c(GetParam());
  ASSERT_EQ(test::disconnect(c.fd), 0);
  ASSERT_EQ(listen(c.fd.get(), 5), 0);
  EXPECT_EQ(inspect_released(c.fd.get(), c.address, PeerProof::pinned).verdict, Released::dirty);
  const SocketAddress bait = *local_address(c.fd.get());
  auto stranger = start_connect(bait, unpinned());
  ASSERT_TRUE(stranger.ok()) << stranger.status();
  EXPECT_EQ(tcp_state(*stranger), syn_sent) << "nothing answers";
}

TEST(Pin, WithoutThePinAStrangerGetsIn) {
  const Connection c("tcp://127.0.0.1:1", unpinned());
  ASSERT_EQ(test::disconnect(c.fd), 0);
  ASSERT_EQ(listen(c.fd.get(), 5), 0);
  const auto stranger = start_connect(*local_address(c.fd.get()), unpinned());
  ASSERT_TRUE(stranger.ok());
  ASSERT_TRUE(test::wait_writable(stranger->get()));
  EXPECT_EQ(tcp_state(*stranger), established);
  EXPECT_EQ(inspect_released(c.fd.get(), c.address).verdict, Released::dirty);
}

TEST(Pin, ItsHolderMayConnectToTheSamePeerAgain) {
  const Connection c;
  connect_elsewhere(c.fd, c.address);
  ASSERT_TRUE(test::wait_writable(c.fd.get()));
  EXPECT_EQ(tcp_state(c.fd), established);
}

TEST(Pin, AnotherPortOfTheSameHostIsElsewhere) {
  SKIP_WITHOUT_PIN();
  const Connection c;
  SocketAddress neighbour = c.address;
  const UniqueFd listener = test::listen_at(neighbour);
  connect_elsewhere(c.fd, neighbour);
  EXPECT_EQ(tcp_state(c.fd), syn_sent);
}

TEST(Pin, TheSamePortOfAnotherHostIsElsewhere) {
  SKIP_WITHOUT_PIN();
  const Connection c;
  SocketAddress twin = c.address;
  reinterpret_cast<sockaddr_in*>(&twin.storage)->sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1);
  const UniqueFd listener(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(bind(listener.get(), twin.raw(), twin.length), 0);
  ASSERT_EQ(listen(listener.get(), 5), 0);
  connect_elsewhere(c.fd, twin);
  EXPECT_EQ(tcp_state(c.fd), syn_sent);
}

bool bring_up_loopback_with_ipv6_twin() {
  const UniqueFd fd(socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq up{};
  std::strcpy(up.ifr_name, "lo");
  up.ifr_flags = IFF_UP | IFF_RUNNING;
  in6_ifreq twin{};
  twin.ifr6_addr.s6_addr[15] = 2;
  twin.ifr6_prefixlen = 128;
  twin.ifr6_ifindex = 1;  // lo is the first of every namespace
  return ioctl(fd.get(), SIOCSIFFLAGS, &up) == 0 && ioctl(fd.get(), SIOCSIFADDR, &twin) == 0;
}

// A new IPv6 address is tentative until a worker of the kernel has seen it; nothing tells when.
bool bind_when_it_may(const UniqueFd& fd, const SocketAddress& address) {
  for (int i = 0; i < test::kDeadlineMs; ++i) {
    if (bind(fd.get(), address.raw(), address.length) == 0) return true;
    if (errno != EADDRNOTAVAIL) return false;
    poll(nullptr, 0, 1);
  }
  return false;
}

// ::2 beside ::1, in a network namespace of the child's own.
TEST(Pin, TheSamePortOfAnotherIpv6HostIsElsewhere) {
  SKIP_WITHOUT_PIN();
  if (geteuid() != 0) GTEST_SKIP() << "only root can make a network namespace";
  test::Child child([] {
    if (unshare(CLONE_NEWNET) != 0 || !bring_up_loopback_with_ipv6_twin()) return 1;
    const Connection c("tcp://[::1]:1");
    SocketAddress twin = c.address;
    reinterpret_cast<sockaddr_in6*>(&twin.storage)->sin6_addr.s6_addr[15] = 2;
    const UniqueFd listener(socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!bind_when_it_may(listener, twin)) return 2;
    if (listen(listener.get(), 5) != 0) return 3;
    const auto control = start_connect(twin, unpinned());
    if (!control.ok() || !test::wait_writable(control->get())) return 4;
    if (tcp_state(*control) != established) return 4;
    connect_elsewhere(c.fd, twin);
    return tcp_state(c.fd) == syn_sent ? 0 : 5;
  });
  EXPECT_EQ(child.join(), 0);
}

TEST(Pin, CannotBeTakenOffNotEvenByRoot) {
  SKIP_WITHOUT_PIN();
  const Connection c;
  EXPECT_EQ(test::set_option(c.fd, SOL_SOCKET, SO_DETACH_FILTER, 0), -1);
  EXPECT_EQ(errno, EPERM);
  EXPECT_EQ(test::set_option(c.fd, SOL_SOCKET, SO_LOCK_FILTER, 0), -1);
  EXPECT_EQ(errno, EPERM);
}

TEST_P(PinnedFamily, MayBePinnedToTheSamePeerAgain) {
  const Connection c(GetParam());
  EXPECT_TRUE(pin_to_peer(c.fd.get(), c.address).ok());
}

TEST(Pin, ASecondPinToAnotherPeerIsRefusedInWords) {
  SKIP_WITHOUT_PIN();
  const Connection c;
  const Connection other;
  EXPECT_EQ(std::string(pin_to_peer(c.fd.get(), other.address).message()),
            "pin the socket to " + other.address.text() +
                ": it is pinned to another, or filtered otherwise");
}

// The mode of berthd --user, on the kernels that want the capability.
TEST(Pin, WithoutThePrivilegeItIsRefusedInWords) {
  SKIP_WITHOUT_PIN();
  if (geteuid() != 0) GTEST_SKIP() << "only root can give up its capabilities here";
  test::Child child([] {
    if (setresuid(65534, 65534, 65534) != 0) return 1;
    const absl::Status status = can_pin();
    if (status.ok()) return 77;
    return status.message() == "pin the socket to 0.0.0.0:0: this kernel wants CAP_NET_ADMIN" ? 0
                                                                                              : 2;
  });
  const int status = child.join();
  if (status == 77) GTEST_SKIP() << "anyone may pin on this kernel";
  EXPECT_EQ(status, 0);
}

// A proxy would lead it elsewhere.
TEST_P(PinnedFamily, OneThatIsPinnedForGoodIsNeverConnectedAgain) {
  const Connection c(GetParam(), unpinned());
  ASSERT_TRUE(pin_connected(c.fd.get(), c.address).ok());
  EXPECT_TRUE(test::say(c.server, "still there"));
  EXPECT_EQ(test::hear(c.fd), "still there");
  connect_elsewhere(c.fd, c.address);
  EXPECT_EQ(tcp_state(c.fd), syn_sent);
  EXPECT_EQ(inspect_released(c.fd.get(), c.address, PeerProof::pinned).verdict, Released::dirty);
}

TEST(Pin, AConnectedSocketCanBePinnedToo) {
  SKIP_WITHOUT_PIN();
  const Connection c("tcp://127.0.0.1:1", unpinned());
  ASSERT_TRUE(pin_to_peer(c.fd.get(), c.address).ok());
  EXPECT_TRUE(test::say(c.server, "still there"));
  EXPECT_EQ(test::hear(c.fd), "still there");
}

}  // namespace
}  // namespace berth::net
