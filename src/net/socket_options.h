// The options of a pooled socket: what a dial sets, and what a hand-over to another session
// restores after a lessee had the socket.
//
// Loop thread; borrows the fd. Which options are restored and why is the table in
// socket_options.cc. Sources: socket(7), tcp(7), ip(7), ipv6(7), unix(7), fcntl(2).
#pragma once

#include <string>

#include "absl/status/status.h"
#include "base/keepalive.h"
#include "net/address.h"
#include "net/layer.h"

namespace berth::net {

struct DialOptions {
  bool nodelay = true;
  Keepalive keepalive;
  Duration user_timeout{};  // TCP_USER_TIMEOUT, whole milliseconds; 0: the kernel's own
  // What packets come from; empty: what the route says. A literal of the address's family.
  std::string source_address;
  std::string interface;
  // Lock TCP sockets to their peer (net/pin.h); a dial that cannot, fails. Off where can_pin() says
  // no, and where packets come from another address than the one dialled, as with a load balancer
  // inside connect(2) (cgroup connect4 hooks).
  bool pin = true;

  friend bool operator==(const DialOptions&, const DialOptions&) = default;
};

// Sets what `options` asks for on a fresh TCP socket; nothing to do for AF_UNIX. An error names the
// setting: an interface that is not there, an address that is not this host's, or of another
// family.
absl::Status apply_options(int fd, int family, const DialOptions& options);

// Who gets the connection next. Of the same user, it is spared what only a program that means
// harm, or has unusual needs, would set: 15 system calls for TCP (2.8 us) instead of 34 (6.4 us).
enum class Heir { same_user, other_user };

// Before a connection goes to another session: the options that its lessee may have set, and that
// would surprise the next holder, are what they were after the dial. F_SETFL flags are not among
// them: make_blocking() sees to those before every grant.
// False: something cannot be undone (another layer than `layer`, bound to another interface, error
// queue or urgent byte pending, its fd closed); the connection is then closed as `dirty`.
[[nodiscard]] bool restore_options(int fd, const SocketAddress& peer, const DialOptions& options,
                                   Heir heir = Heir::other_user, Layer layer = Layer::none);

}  // namespace berth::net
