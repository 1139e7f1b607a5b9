#include "net/dial.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "base/status_text.h"
#include "net/errno_status.h"
#include "net/pin.h"
#include "net/socket_state.h"

namespace berth::net {
namespace {

std::string attempt(const SocketAddress& address) {
  return "connect to " + address.text();
}

// Where the kernel's words would mislead, ours.
absl::Status connect_error(int error_number, const SocketAddress& address) {
  if (error_number == EAGAIN && address.family() == AF_UNIX) {
    return absl::UnavailableError(attempt(address) +
                                  ": its backlog is full, the server does not accept");
  }
  if (error_number == EADDRNOTAVAIL && address.is_tcp()) {
    return absl::UnavailableError(attempt(address) +
                                  ": no free local port, or no such address on this host");
  }
  return errno_status(error_number, attempt(address));
}

absl::Status prepare(int fd, const SocketAddress& address, const DialOptions& options) {
  absl::Status status = apply_options(fd, address.family(), options);
  if (!status.ok() || !address.is_tcp() || !options.pin) return status;
  return pin_to_peer(fd, address);
}

// A program may have come through a proxy, which would lead a new connection elsewhere. What
// another berthd has dialled and passed on is pinned for good, if less closely.
absl::Status prepare_connected(int fd, const SocketAddress& peer, const DialOptions& options) {
  absl::Status status = apply_options(fd, peer.family(), options);
  if (!status.ok() || !peer.is_tcp() || !options.pin) return status;
  status = pin_connected(fd, peer);
  return status.ok() ? status : pin_to_peer(fd, peer);
}

const char* kind_of_file(mode_t mode) {
  switch (mode & S_IFMT) {
    case S_IFREG: return "a regular file";
    case S_IFDIR: return "a folder";
    case S_IFIFO: return "a pipe";
    case S_IFCHR:
    case S_IFBLK: return "a device";
    default: return "something";
  }
}

int socket_option(int fd, int name) {
  int value = 0;
  socklen_t length = sizeof value;
  return getsockopt(fd, SOL_SOCKET, name, &value, &length) == 0 ? value : -1;
}

// What kind of socket it is, if it is another than those that are dialled; else "".
std::string wrong_socket(int fd) {
  const int domain = socket_option(fd, SO_DOMAIN);
  const int type = socket_option(fd, SO_TYPE);
  if (type == SOCK_DGRAM) return "a datagram socket";
  if (type != SOCK_STREAM) return "a socket that is no stream";
  if (domain != AF_UNIX && domain != AF_INET && domain != AF_INET6) {
    return "a socket of family " + std::to_string(domain) + ", neither Unix nor IP";
  }
  if (domain != AF_UNIX && socket_option(fd, SO_PROTOCOL) != IPPROTO_TCP) {
    return "a socket of another protocol than TCP";
  }
  return socket_option(fd, SO_ACCEPTCONN) == 1 ? "a listening socket" : "";
}

// In which state it is, if that is not the one after a dial; else "".
std::string wrong_state(int fd, const std::optional<SocketAddress>& peer) {
  if (const int error = socket_option(fd, SO_ERROR); error != 0) {
    return "a connection that has failed: " + std::string(strerrordesc_np(error));
  }
  if (!peer) return "a socket that is not connected";
  if (!still_open(fd)) return "a connection that is closed already";
  if (!peer->is_tcp()) return "";
  if (local_address(fd) == peer) return "a socket that is connected to itself";
  return !has_layer(fd, Layer::none) ? "a connection with a layer such as TLS on it" : "";
}

}  // namespace

absl::StatusOr<UniqueFd> start_connect(const SocketAddress& address, const DialOptions& options) {
  UniqueFd fd(socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.valid()) return errno_status(errno, "open a socket for " + address.text());
  if (absl::Status status = prepare(fd.get(), address, options); !status.ok()) return status;
  if (connect(fd.get(), address.raw(), address.length) != 0 && errno != EINPROGRESS) {
    return connect_error(errno, address);
  }
  return fd;
}

absl::Status finish_connect(int fd, const SocketAddress& address) {
  int error_number = 0;
  socklen_t length = sizeof error_number;
  if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error_number, &length) != 0) error_number = errno;
  if (error_number != 0) return connect_error(error_number, address);
  const auto peer = peer_address(fd);
  if (!peer) return absl::UnavailableError(attempt(address) + ": not connected");
  if (address.is_tcp() && local_address(fd) == peer) {
    return absl::UnavailableError(attempt(address) +
                                  ": nobody listens there, the socket met itself");
  }
  return absl::OkStatus();
}

absl::StatusOr<SocketAddress> adopt(int fd, const DialOptions& options) {
  struct stat file {};
  if (fstat(fd, &file) != 0) return errno_status(errno, "a descriptor that cannot be examined");
  if (!S_ISSOCK(file.st_mode)) {
    return absl::InvalidArgumentError(std::string(kind_of_file(file.st_mode)) + ", not a socket");
  }
  if (const std::string wrong = wrong_socket(fd); !wrong.empty()) {
    return absl::InvalidArgumentError(wrong);
  }
  const std::optional<SocketAddress> peer = peer_address(fd);
  if (const std::string wrong = wrong_state(fd, peer); !wrong.empty()) {
    return absl::UnavailableError(wrong);
  }
  fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK);
  const absl::Status prepared = prepare_connected(fd, *peer, options);
  if (prepared.ok()) return *peer;
  return absl::Status(prepared.code(), "a connection that cannot be used: " + text_of(prepared));
}

}  // namespace berth::net
