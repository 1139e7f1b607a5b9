#include "net/socket_options.h"

#include <linux/tcp.h>
#include <net/if.h>
#include <sys/time.h>

#include <csignal>

#include "unit/net/sockets.h"

#ifndef SO_BUF_LOCK
#define SO_BUF_LOCK 72
#endif

namespace berth::net {
namespace {

using test::Connection;

bool restore(const Connection& c, Heir heir = Heir::other_user) {
  return restore_options(c.fd.get(), c.address, DialOptions(), heir);
}

// One option that a lessee changes, and what the next holder must find.
struct Changed {
  const char* name;
  const char* url;
  int level, option, lessee, next;
  Heir heir;
};

constexpr const char* kIpv4 = "tcp://127.0.0.1:1";
constexpr const char* kIpv6 = "tcp://[::1]:1";
constexpr const char* kUnix = "unix://@berth-test-options";
constexpr Heir kUsual = Heir::same_user;
constexpr Heir kThorough = Heir::other_user;

class Restored : public testing::TestWithParam<Changed> {};

INSTANTIATE_TEST_SUITE_P(
    SocketOptions, Restored,
    testing::Values(Changed{"nodelay", kIpv4, IPPROTO_TCP, TCP_NODELAY, 0, 1, kUsual},
                    Changed{"cork", kIpv4, IPPROTO_TCP, TCP_CORK, 1, 0, kUsual},
                    Changed{"user_timeout", kIpv4, IPPROTO_TCP, TCP_USER_TIMEOUT, 50, 0, kUsual},
                    Changed{"notsent_lowat", kIpv4, IPPROTO_TCP, TCP_NOTSENT_LOWAT, 1, 0, kUsual},
                    Changed{"keepalive", kIpv4, SOL_SOCKET, SO_KEEPALIVE, 0, 1, kUsual},
                    Changed{"keepidle", kIpv4, IPPROTO_TCP, TCP_KEEPIDLE, 7200, 15, kUsual},
                    Changed{"keepintvl", kIpv4, IPPROTO_TCP, TCP_KEEPINTVL, 75, 5, kUsual},
                    Changed{"keepcnt", kIpv4, IPPROTO_TCP, TCP_KEEPCNT, 9, 3, kUsual},
                    Changed{"rcvlowat", kIpv4, SOL_SOCKET, SO_RCVLOWAT, 1000, 1, kUsual},
                    Changed{"rcvlowat_unix", kUnix, SOL_SOCKET, SO_RCVLOWAT, 1000, 1, kUsual},
                    Changed{"peek_off", kIpv4, SOL_SOCKET, SO_PEEK_OFF, 10, -1, kUsual},
                    Changed{"peek_off_unix", kUnix, SOL_SOCKET, SO_PEEK_OFF, 10, -1, kUsual},
                    Changed{"oobinline", kIpv4, SOL_SOCKET, SO_OOBINLINE, 1, 0, kUsual},
                    Changed{"passcred", kUnix, SOL_SOCKET, SO_PASSCRED, 1, 0, kUsual},
                    Changed{"timestamp", kIpv4, SOL_SOCKET, SO_TIMESTAMP, 1, 0, kThorough},
                    Changed{"timestampns", kIpv4, SOL_SOCKET, SO_TIMESTAMPNS, 1, 0, kThorough},
                    Changed{"timestamping", kIpv4, SOL_SOCKET, SO_TIMESTAMPING, 16, 0, kThorough},
                    Changed{"dontroute", kIpv4, SOL_SOCKET, SO_DONTROUTE, 1, 0, kThorough},
                    Changed{"priority", kIpv4, SOL_SOCKET, SO_PRIORITY, 3, 0, kThorough},
                    Changed{"pacing", kIpv4, SOL_SOCKET, SO_MAX_PACING_RATE, 100, -1, kThorough},
                    Changed{"inq", kIpv4, IPPROTO_TCP, TCP_INQ, 1, 0, kThorough},
                    Changed{"tx_delay", kIpv4, IPPROTO_TCP, TCP_TX_DELAY, 1000, 0, kThorough},
                    Changed{"ttl", kIpv4, IPPROTO_IP, IP_TTL, 1, 64, kThorough},
                    Changed{"minttl", kIpv4, IPPROTO_IP, IP_MINTTL, 255, 0, kThorough},
                    Changed{"recverr", kIpv4, IPPROTO_IP, IP_RECVERR, 1, 0, kThorough},
                    Changed{"tos", kIpv4, IPPROTO_IP, IP_TOS, 0x10, 0, kThorough},
                    Changed{"tos_priority", kIpv4, IPPROTO_IP, IP_TOS, 0x10, 0, kThorough},
                    Changed{"hops", kIpv6, IPPROTO_IPV6, IPV6_UNICAST_HOPS, 1, 64, kThorough},
                    Changed{"minhops", kIpv6, IPPROTO_IPV6, IPV6_MINHOPCOUNT, 255, 0, kThorough},
                    Changed{"recverr6", kIpv6, IPPROTO_IPV6, IPV6_RECVERR, 1, 0, kThorough},
                    Changed{"tclass", kIpv6, IPPROTO_IPV6, IPV6_TCLASS, 0x10, 0, kThorough},
                    Changed{"mapped_ttl", "tcp://[::ffff:127.0.0.1]:1", IPPROTO_IP, IP_TTL, 1, 64,
                            kThorough}),
    [](const auto& test) { return std::string(test.param.name); });

TEST_P(Restored, ForTheNextHolder) {
  const Changed& p = GetParam();
  const Connection c(p.url);
  if (test::set_option(c.fd, p.level, p.option, p.lessee) != 0) {
    GTEST_SKIP() << "no lessee can set it here: " << std::strerror(errno);
  }
  ASSERT_NE(test::get_option(c.fd, p.level, p.option), p.next);
  EXPECT_TRUE(restore(c, p.heir));
  EXPECT_EQ(test::get_option(c.fd, p.level, p.option), p.next);
  EXPECT_EQ(test::get_option(c.fd, SOL_SOCKET, SO_PRIORITY), 0);
}

TEST(SocketOptions, AReadTimeoutOfTheLastHolderIsGone) {
  for (const char* url : {kIpv4, kUnix}) {
    const Connection c(url);
    for (const int name : {SO_RCVTIMEO, SO_SNDTIMEO}) {
      ASSERT_EQ(test::set_option(c.fd, SOL_SOCKET, name, timeval{1, 0}), 0);
      ASSERT_TRUE(restore(c, Heir::same_user));
      const auto left = test::get_option<timeval>(c.fd, SOL_SOCKET, name);
      EXPECT_EQ(left.tv_sec, 0);
      EXPECT_EQ(left.tv_usec, 0);
    }
  }
}

TEST(SocketOptions, LingerIsOff) {
  const Connection c;
  ASSERT_EQ(test::set_option(c.fd, SOL_SOCKET, SO_LINGER, linger{1, 30}), 0);
  ASSERT_TRUE(restore(c));
  EXPECT_EQ(test::get_option<linger>(c.fd, SOL_SOCKET, SO_LINGER).l_onoff, 0);
}

TEST(SocketOptions, LockedBuffersAreUnlockedAndAsLargeAsFreshOnes) {
  for (const char* url : {kIpv4, kIpv6, kUnix}) {
    const Connection c(url);
    const UniqueFd fresh(socket(c.address.family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
    for (const int name : {SO_RCVBUF, SO_SNDBUF}) {
      ASSERT_EQ(test::set_option(c.fd, SOL_SOCKET, name, 1), 0);
      ASSERT_TRUE(restore(c, Heir::same_user));
      EXPECT_EQ(test::get_option(c.fd, SOL_SOCKET, name),
                test::get_option(fresh, SOL_SOCKET, name));
      EXPECT_EQ(test::get_option(c.fd, SOL_SOCKET, SO_BUF_LOCK), 0);
    }
  }
}

TEST(SocketOptions, BuffersThatNobodyLockedStayAsAutotuningLeftThem) {
  const Connection c;
  const int before = test::get_option(c.fd, SOL_SOCKET, SO_SNDBUF);
  ASSERT_TRUE(restore(c));
  EXPECT_EQ(test::get_option(c.fd, SOL_SOCKET, SO_SNDBUF), before);
}

// A lessee's tiny window must not slow the next one down for good.
TEST(SocketOptions, AClampedWindowOpensAgain) {
  const Connection c;
  ASSERT_EQ(test::set_option(c.fd, IPPROTO_TCP, TCP_WINDOW_CLAMP, 1), 0);
  ASSERT_TRUE(restore(c));
  EXPECT_GE(test::get_option(c.fd, IPPROTO_TCP, TCP_WINDOW_CLAMP), 65536);
  const size_t sent = test::fill(c.server);
  EXPECT_TRUE(test::read_all(c.fd, sent));
  EXPECT_GE(test::get_option<tcp_info>(c.fd, IPPROTO_TCP, TCP_INFO).tcpi_rcv_ssthresh, 32768u);
}

TEST(SocketOptions, SourceRoutesAreRemoved) {
  const Connection c;
  const unsigned char record_route[] = {7, 7, 4, 0, 0, 0, 0, 0};  // RFC 791, section 3.1
  ASSERT_EQ(test::set_option(c.fd, IPPROTO_IP, IP_OPTIONS, record_route), 0);
  ASSERT_TRUE(restore(c));
  char left[40];
  socklen_t length = sizeof left;
  ASSERT_EQ(getsockopt(c.fd.get(), IPPROTO_IP, IP_OPTIONS, left, &length), 0);
  EXPECT_EQ(length, 0u);
}

TEST(SocketOptions, NoSignalGoesToTheLastHolder) {
  const Connection c;
  ASSERT_EQ(fcntl(c.fd.get(), F_SETOWN, getpid()), 0);
  ASSERT_EQ(fcntl(c.fd.get(), F_SETSIG, SIGUSR1), 0);
  ASSERT_TRUE(restore(c));
  EXPECT_EQ(fcntl(c.fd.get(), F_GETOWN), 0);
  EXPECT_EQ(fcntl(c.fd.get(), F_GETSIG), 0);
}

TEST(SocketOptions, AnUrgentByteOfTheLastExchangeCannotBeUndone) {
  const Connection c;
  ASSERT_EQ(send(c.server.get(), "!", 1, MSG_OOB), 1);
  ASSERT_TRUE(test::wait_for(c.fd.get(), POLLPRI));
  EXPECT_FALSE(restore(c));
}

TEST(SocketOptions, APendingErrorReportCannotBeUndone) {
  const Connection c;
  // SOF_TIMESTAMPING_TX_SOFTWARE | SOFTWARE | OPT_ID: a report for each send
  ASSERT_EQ(test::set_option(c.fd, SOL_SOCKET, SO_TIMESTAMPING, 2 | 16 | 128), 0);
  test::say(c.fd, "x");
  ASSERT_TRUE(test::wait_for(c.fd.get(), POLLERR));
  EXPECT_FALSE(restore(c));
}

TEST(SocketOptions, ALayerOnTheSocketCannotBeUndone) {
  const Connection c;
  if (setsockopt(c.fd.get(), IPPROTO_TCP, TCP_ULP, "tls", 3) != 0) {
    GTEST_SKIP() << "this kernel has no TLS layer (CONFIG_TLS, module tls)";
  }
  EXPECT_FALSE(restore(c, Heir::same_user));
}

TEST(SocketOptions, AnotherInterfaceCannotBeUndone) {
  const Connection c;
  if (setsockopt(c.fd.get(), SOL_SOCKET, SO_BINDTODEVICE, "lo", 3) != 0) {
    GTEST_SKIP() << "no lessee can bind to an interface here: " << std::strerror(errno);
  }
  EXPECT_FALSE(restore(c));
}

TEST(SocketOptions, IgnoringThePathMtuCannotBeUndone) {
  const Connection v4;
  ASSERT_EQ(test::set_option(v4.fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE), 0);
  EXPECT_FALSE(restore(v4));
  const Connection v6(kIpv6);
  ASSERT_EQ(test::set_option(v6.fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_PROBE), 0);
  EXPECT_FALSE(restore(v6));
}

TEST(SocketOptions, AnUntouchedConnectionIsRestoredAndWorks) {
  for (const char* url : {kIpv4, kIpv6, "tcp://[::ffff:127.0.0.1]:1", kUnix}) {
    const Connection c(url);
    EXPECT_TRUE(restore(c)) << url;
    EXPECT_TRUE(test::say(c.fd, "ping"));
    EXPECT_EQ(test::hear(c.server), "ping");
  }
}

TEST(SocketOptions, AClosedDescriptorIsNotRestored) {
  Connection c;
  c.fd.reset();
  EXPECT_FALSE(restore(c, Heir::same_user));
}

TEST(SocketOptions, OptionsThatCannotBeSetAreAnErrorInWords) {
  DialOptions options;
  options.keepalive.idle = std::chrono::hours(10);
  const UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  EXPECT_EQ(std::string(apply_options(fd.get(), AF_INET, options).message()),
            "set the options of a TCP socket: Invalid argument");
  options = {};
  options.interface = "no-such-one";
  EXPECT_EQ(std::string(apply_options(fd.get(), AF_INET, options).message()),
            "interface \"no-such-one\": No such device");
  options = {};
  options.source_address = "192.0.2.1";
  EXPECT_EQ(std::string(apply_options(fd.get(), AF_INET, options).message()),
            "source_address \"192.0.2.1\": Cannot assign requested address");
  EXPECT_EQ(std::string(apply_options(fd.get(), AF_INET6, options).message()),
            "source_address \"192.0.2.1\" is not of the family of the server's address");
}

TEST(SocketOptions, ADialSetsWhatItsPoolSaysAndARestoreSetsItAgain) {
  DialOptions options = test::dial_options();
  options.keepalive = {std::chrono::seconds(77), std::chrono::seconds(7), 9};
  options.user_timeout = std::chrono::milliseconds(4321);
  options.source_address = "127.0.0.9";
  options.interface = "lo";
  const Connection c("tcp://127.0.0.1:1", options);
  const UniqueFd& fd = c.fd;
  const auto option = [&](int level, int name) {
    int value = 0;
    socklen_t length = sizeof value;
    EXPECT_EQ(getsockopt(fd.get(), level, name, &value, &length), 0);
    return value;
  };
  const auto expect_all = [&] {
    EXPECT_EQ(option(IPPROTO_TCP, TCP_KEEPIDLE), 77);
    EXPECT_EQ(option(IPPROTO_TCP, TCP_KEEPINTVL), 7);
    EXPECT_EQ(option(IPPROTO_TCP, TCP_KEEPCNT), 9);
    EXPECT_EQ(option(IPPROTO_TCP, TCP_USER_TIMEOUT), 4321);
  };
  expect_all();
  EXPECT_TRUE(local_address(fd.get())->text().starts_with("127.0.0.9:"));
  EXPECT_EQ(option(SOL_SOCKET, SO_BINDTOIFINDEX), static_cast<int>(if_nametoindex("lo")));
  for (const int name : {TCP_KEEPIDLE, TCP_USER_TIMEOUT}) {
    const int changed = 5;
    EXPECT_EQ(setsockopt(fd.get(), IPPROTO_TCP, name, &changed, sizeof changed), 0);
  }
  EXPECT_TRUE(restore_options(fd.get(), c.address, options));
  expect_all();
}

}  // namespace
}  // namespace berth::net
