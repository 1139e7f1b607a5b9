#include "net/close.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "net/errno_status.h"
#include "net/ktls.h"
#include "net/socket_state.h"

namespace berth::net {
namespace {

bool is_tcp(int fd) {
  int protocol = 0;
  socklen_t length = sizeof protocol;
  return getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &length) == 0 &&
         protocol == IPPROTO_TCP;
}

absl::Status close_now(UniqueFd fd) {
  if (close(fd.release()) == 0) return absl::OkStatus();
  return errno_status(errno, "close a connection");
}

void stop_lingering(int fd) {
  const linger off{};
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &off, sizeof off);
}

bool lingers(int fd) {
  linger set{};
  socklen_t length = sizeof set;
  return getsockopt(fd, SOL_SOCKET, SO_LINGER, &set, &length) == 0 && set.l_onoff != 0 &&
         set.l_linger > 0;
}

}  // namespace

absl::Status close_pooled(UniqueFd fd, bool handed_out, Layer layer) {
  absl::Status status;
  if (layer == Layer::kernel_tls && !handed_out) send_close_notify(fd.get());
  if (handed_out) {
    status = shutdown_pooled(fd.get());
    // Last, so that a lessee who sets it again has no time to.
    stop_lingering(fd.get());
  }
  status.Update(close_now(std::move(fd)));
  return status;
}

absl::Status let_go(UniqueFd fd) {
  if (lingers(fd.get())) stop_lingering(fd.get());
  return close_now(std::move(fd));
}

absl::Status shutdown_pooled(int fd) {
  if (shutdown(fd, SHUT_RDWR) == 0 || errno == ENOTCONN) return absl::OkStatus();
  return errno_status(errno, "shut down a connection");
}

absl::Status reset_peer(int fd) {
  if (!is_tcp(fd)) return absl::FailedPreconditionError("reset a connection: it is not TCP");
  if (!has_layer(fd, Layer::none)) {
    return absl::FailedPreconditionError("reset a connection: kernel TLS is on it");
  }
  sockaddr nobody{};
  nobody.sa_family = AF_UNSPEC;
  if (connect(fd, &nobody, sizeof nobody) == 0) return absl::OkStatus();
  return errno_status(errno, "reset a connection");
}

}  // namespace berth::net
