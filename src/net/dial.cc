#include "net/dial.h"

#include <cerrno>

#include "net/errno_status.h"
#include "net/pin.h"

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

}  // namespace berth::net
