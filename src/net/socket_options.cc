#include "net/socket_options.h"

#include <fcntl.h>
#include <linux/tcp.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/time.h>

#include <cerrno>
#include <cstring>
#include <span>

#include "base/poll_one.h"
#include "base/unique_fd.h"
#include "net/errno_status.h"
#include "net/socket_state.h"

// Of include/uapi; Debian 12's headers are older than some kernels that we meet.
#ifndef SO_BUF_LOCK
#define SO_BUF_LOCK 72
#endif
#ifndef SO_PASSPIDFD
#define SO_PASSPIDFD 76
#endif
#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83
#endif

namespace berth::net {
namespace {

struct Option {
  int level;
  int name;
  int value;
};

// What is not in these tables, and why: TCP_QUICKACK (the kernel sets it anew all the time),
// TCP_CONGESTION (a lessee may choose only what tcp_allowed_congestion_control allows), TCP_MAXSEG
// and TCP_DEFER_ACCEPT (no effect once connected), SO_MARK, SO_BUSY_POLL, TCP_REPAIR and
// TCP_MD5SIG (need CAP_NET_ADMIN), SO_BROADCAST and SO_RXQ_OVFL (datagrams only), SO_ZEROCOPY
// (acts on sends with MSG_ZEROCOPY only), filters (locked by the pin).

// What ordinary programs set on the sockets they use.
constexpr Option kUsual[] = {
    {SOL_SOCKET, SO_RCVLOWAT, 1},   // a blocking read would wait for more than there is
    {SOL_SOCKET, SO_PEEK_OFF, -1},  // MSG_PEEK would skip bytes
    {SOL_SOCKET, SO_OOBINLINE, 0},  // urgent bytes would stand among the data
};

constexpr Option kUsualTcp[] = {
    {IPPROTO_TCP, TCP_CORK, 0},           // the last bytes would wait for 200 ms
    {IPPROTO_TCP, TCP_NOTSENT_LOWAT, 0},  // writability would come late
};

constexpr Option kUsualUnix[] = {
    {SOL_SOCKET, SO_PASSCRED, 0},   // recvmsg would bring credentials,
    {SOL_SOCKET, SO_PASSPIDFD, 0},  // or descriptors that nobody closes
};

// What one program can set to spoil the next, or sets for rare purposes.
constexpr Option kThorough[] = {
    {SOL_SOCKET, SO_TIMESTAMP, 0},     // recvmsg would bring times
    {SOL_SOCKET, SO_TIMESTAMPING, 0},  // the error queue would fill
};

constexpr Option kThoroughTcp[] = {
    {SOL_SOCKET, SO_DONTROUTE, 0},         // packets would not pass the gateway
    {SOL_SOCKET, SO_MAX_PACING_RATE, -1},  // a trickle
    {IPPROTO_TCP, TCP_TX_DELAY, 0},        // each packet late
    {IPPROTO_TCP, TCP_INQ, 0},             // recvmsg would bring sizes
    // A small receive window that autotuning does not widen; beyond any real one there is none.
    {IPPROTO_TCP, TCP_WINDOW_CLAMP, 65535 << 14},
};

constexpr Option kThoroughIpv4[] = {
    {IPPROTO_IP, IP_TTL, -1},      // packets would die on the way
    {IPPROTO_IP, IP_MINTTL, 0},    // the server's packets would be dropped
    {IPPROTO_IP, IP_RECVERR, 0},   // a passing ICMP error would become a broken connection
    {IPPROTO_IP, IP_TOS, 0},       // another class of traffic; it sets SO_PRIORITY too,
    {SOL_SOCKET, SO_PRIORITY, 0},  // so this comes after
};

constexpr Option kThoroughIpv6[] = {
    {IPPROTO_IPV6, IPV6_UNICAST_HOPS, -1}, {IPPROTO_IPV6, IPV6_MINHOPCOUNT, 0},
    {IPPROTO_IPV6, IPV6_RECVERR, 0},       {IPPROTO_IPV6, IPV6_TCLASS, 0},
    {SOL_SOCKET, SO_PRIORITY, 0},
};

constexpr Option kThoroughUnix[] = {
    {SOL_SOCKET, SO_PASSSEC, 0},     // recvmsg would bring security labels
    {SOL_SOCKET, SO_PASSRIGHTS, 1},  // descriptors from the server would be refused
};

// A kernel that does not know an option has let nobody set it.
bool done_or_unknown(int result) {
  return result == 0 || errno == ENOPROTOOPT || errno == EOPNOTSUPP;
}

bool set(int fd, int level, int name, const void* value, size_t size) {
  return done_or_unknown(setsockopt(fd, level, name, value, static_cast<socklen_t>(size)));
}

bool set(int fd, const Option& option) {
  return set(fd, option.level, option.name, &option.value, sizeof option.value);
}

bool set_all(int fd, std::span<const Option> options) {
  for (const Option& option : options) {
    if (!set(fd, option)) return false;
  }
  return true;
}

// What the option is, or `otherwise` where there is no such option.
int get(int fd, int level, int name, int otherwise) {
  int value = 0;
  socklen_t length = sizeof value;
  return getsockopt(fd, level, name, &value, &length) == 0 ? value : otherwise;
}

template <class Unit>
int count_of(Duration duration) {
  return static_cast<int>(std::chrono::duration_cast<Unit>(duration).count());
}

bool set_keepalive(int fd, const Keepalive& keepalive) {
  using std::chrono::seconds;
  if (keepalive.idle == Duration::zero()) return set(fd, {SOL_SOCKET, SO_KEEPALIVE, 0});
  return set(fd, {IPPROTO_TCP, TCP_KEEPIDLE, count_of<seconds>(keepalive.idle)}) &&
         set(fd, {IPPROTO_TCP, TCP_KEEPINTVL, count_of<seconds>(keepalive.interval)}) &&
         set(fd, {IPPROTO_TCP, TCP_KEEPCNT, keepalive.count}) &&
         set(fd, {SOL_SOCKET, SO_KEEPALIVE, 1});
}

bool set_dialled(int fd, const DialOptions& options) {
  const int user_timeout = count_of<std::chrono::milliseconds>(options.user_timeout);
  return set(fd, {IPPROTO_TCP, TCP_NODELAY, options.nodelay ? 1 : 0}) &&
         set(fd, {IPPROTO_TCP, TCP_USER_TIMEOUT, user_timeout}) &&
         set_keepalive(fd, options.keepalive);
}

absl::Status bind_to_interface(int fd, const std::string& name) {
  if (name.empty()) return absl::OkStatus();
  const auto size = static_cast<socklen_t>(name.size());
  if (setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name.data(), size) == 0) return absl::OkStatus();
  return errno_status(errno, "interface \"" + name + "\"");
}

// Of which port the kernel decides when it connects, so that one address serves more connections
// than it has ports.
absl::Status bind_to_address(int fd, int family, const std::string& literal) {
  if (literal.empty()) return absl::OkStatus();
  const std::string what = "source_address \"" + literal + "\"";
  const bool ipv6 = literal.find(':') != literal.npos;
  if (ipv6 != (family == AF_INET6)) {
    return absl::InvalidArgumentError(what + " is not of the family of the server's address");
  }
  const auto address = literal_address({Endpoint::Kind::tcp, literal, 0, {}});
  if (!address) return absl::InvalidArgumentError(what + " is no address");
  if (!set(fd, {IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1}) ||
      bind(fd, address->raw(), address->length) != 0) {
    return errno_status(errno, what);
  }
  return absl::OkStatus();
}

bool clear_timeouts(int fd) {
  const timeval never{};
  return set(fd, SOL_SOCKET, SO_RCVTIMEO, &never, sizeof never) &&
         set(fd, SOL_SOCKET, SO_SNDTIMEO, &never, sizeof never);
}

bool clear_linger(int fd) {
  const linger off{};
  return set(fd, SOL_SOCKET, SO_LINGER, &off, sizeof off);
}

// The kernel doubles what is set and tells the double.
bool copy_size(int from, int to, int name) {
  return set(to, {SOL_SOCKET, name, get(from, SOL_SOCKET, name, 0) / 2});
}

// SO_SNDBUF and SO_RCVBUF lock a size, and TCP's autotuning keeps off. Before Linux 5.14 neither
// the lock nor its absence can be seen, and it stays.
bool restore_buffers(int fd, int family) {
  if (get(fd, SOL_SOCKET, SO_BUF_LOCK, 0) == 0) return true;
  const UniqueFd fresh(socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  return fresh.valid() && copy_size(fresh.get(), fd, SO_SNDBUF) &&
         copy_size(fresh.get(), fd, SO_RCVBUF) && set(fd, {SOL_SOCKET, SO_BUF_LOCK, 0});
}

// Not one that the dial did not bind to: undoing that needs CAP_NET_RAW. A dial to a link-local
// address binds to its scope.
bool on_own_interface(int fd, uint32_t scope, const std::string& wanted) {
  const auto bound = static_cast<uint32_t>(get(fd, SOL_SOCKET, SO_BINDTOIFINDEX, 0));
  if (!wanted.empty()) return bound == if_nametoindex(wanted.c_str());
  return bound == 0 || bound == scope;
}

// IP_PMTUDISC_PROBE and its kin ignore the path's MTU; only fresh sockets have the host's default.
bool heeds_path_mtu(int fd, int level, int name) {
  return get(fd, level, name, IP_PMTUDISC_WANT) <= IP_PMTUDISC_WANT;
}

// Source routes. An empty value removes them.
bool clear_route(int fd, int level, int name) {
  return set(fd, level, name, nullptr, 0);
}

bool restore_ipv4(int fd) {
  return set_all(fd, kThoroughIpv4) && clear_route(fd, IPPROTO_IP, IP_OPTIONS) &&
         heeds_path_mtu(fd, IPPROTO_IP, IP_MTU_DISCOVER);
}

bool restore_ipv6(int fd, const SocketAddress& peer, const DialOptions& options) {
  sockaddr_in6 in;
  std::memcpy(&in, &peer.storage, sizeof in);
  // The packets of a mapped address are IPv4.
  if (IN6_IS_ADDR_V4MAPPED(&in.sin6_addr) && !restore_ipv4(fd)) return false;
  return set_all(fd, kThoroughIpv6) && clear_route(fd, IPPROTO_IPV6, IPV6_RTHDR) &&
         heeds_path_mtu(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER) &&
         on_own_interface(fd, in.sin6_scope_id, options.interface);
}

bool restore_ip(int fd, const SocketAddress& peer, const DialOptions& options) {
  if (peer.family() == AF_INET6) return restore_ipv6(fd, peer, options);
  return restore_ipv4(fd) && on_own_interface(fd, 0, options.interface);
}

// Nobody is sent SIGURG, nor another signal than SIGIO, for a socket that it gave back.
bool clear_signals(int fd) {
  return fcntl(fd, F_SETOWN, 0) == 0 && fcntl(fd, F_SETSIG, 0) == 0;
}

// Reports of zero-copy sends, times, ICMP errors; an urgent byte.
bool nothing_pending(int fd) {
  return poll_one(fd, POLLPRI) == 0;
}

bool restore_usual(int fd, const SocketAddress& peer, const DialOptions& options, Layer layer) {
  if (!set_all(fd, kUsual) || !clear_timeouts(fd) || !restore_buffers(fd, peer.family())) {
    return false;
  }
  if (!peer.is_tcp()) return set_all(fd, kUsualUnix);
  return has_layer(fd, layer) && set_all(fd, kUsualTcp) && set_dialled(fd, options);
}

bool restore_thorough(int fd, const SocketAddress& peer, const DialOptions& options) {
  if (!clear_signals(fd) || !set_all(fd, kThorough) || !nothing_pending(fd)) return false;
  if (!peer.is_tcp()) return set_all(fd, kThoroughUnix);
  return clear_linger(fd) && set_all(fd, kThoroughTcp) && restore_ip(fd, peer, options);
}

}  // namespace

absl::Status apply_options(int fd, int family, const DialOptions& options) {
  if (family == AF_UNIX) return absl::OkStatus();
  if (!set_dialled(fd, options)) return errno_status(errno, "set the options of a TCP socket");
  if (absl::Status bound = bind_to_interface(fd, options.interface); !bound.ok()) return bound;
  return bind_to_address(fd, family, options.source_address);
}

bool restore_options(int fd, const SocketAddress& peer, const DialOptions& options, Heir heir,
                     Layer layer) {
  return restore_usual(fd, peer, options, layer) &&
         (heir == Heir::same_user || restore_thorough(fd, peer, options));
}

}  // namespace berth::net
