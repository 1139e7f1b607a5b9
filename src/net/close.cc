#include "net/close.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

#include "net/errno_status.h"
#include "net/socket_state.h"

namespace berth::net {
namespace {

bool is_tcp(int fd) {
  int protocol = 0;
  socklen_t length = sizeof protocol;
  return getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &length) == 0 &&
         protocol == IPPROTO_TCP;
}

}  // namespace

absl::Status close_pooled(UniqueFd fd, bool handed_out) {
  absl::Status status;
  if (handed_out) {
    status = shutdown_pooled(fd.get());
    // Last, so that a lessee who sets it again has no time to.
    const linger off{};
    setsockopt(fd.get(), SOL_SOCKET, SO_LINGER, &off, sizeof off);
  }
  if (close(fd.release()) != 0) status.Update(errno_status(errno, "close a connection"));
  return status;
}

absl::Status shutdown_pooled(int fd) {
  if (shutdown(fd, SHUT_RDWR) == 0 || errno == ENOTCONN) return absl::OkStatus();
  return errno_status(errno, "shut down a connection");
}

absl::Status reset_peer(int fd) {
  if (!is_tcp(fd)) return absl::FailedPreconditionError("reset a connection: it is not TCP");
  if (has_upper_layer(fd)) {
    return absl::FailedPreconditionError("reset a connection: kernel TLS is on it");
  }
  sockaddr nobody{};
  nobody.sa_family = AF_UNSPEC;
  if (connect(fd, &nobody, sizeof nobody) == 0) return absl::OkStatus();
  return errno_status(errno, "reset a connection");
}

}  // namespace berth::net
