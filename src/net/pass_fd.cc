#include "net/pass_fd.h"

#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "base/check.h"
#include "base/limits.h"

namespace berth::net {
namespace {

struct FdMessage {
  alignas(cmsghdr) char bytes[CMSG_SPACE(kMaxBatch * sizeof(int))];
};

void attach(msghdr& message, FdMessage& control, std::span<const int> fds) {
  message.msg_control = control.bytes;
  message.msg_controllen = CMSG_SPACE(fds.size_bytes());
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(fds.size_bytes());
  std::memcpy(CMSG_DATA(header), fds.data(), fds.size_bytes());
}

Sent failed(int error_number) {
  BERTH_CHECK(error_number != EBADF, "only open descriptors are sent");
  switch (error_number) {
    case EAGAIN:
    case ENOBUFS:
    case ENOMEM: return Sent::would_block;
    case ETOOMANYREFS: return Sent::too_many_refs;
    default: return Sent::gone;
  }
}

bool hung_up(int fd) {
  pollfd watch{fd, POLLRDHUP, 0};
  return poll(&watch, 1, 0) > 0;
}

}  // namespace

Sent send_frame(int fd, std::string_view frame, std::span<const int> fds) {
  BERTH_CHECK(fds.size() <= kMaxBatch, "a frame carries at most kMaxBatch descriptors");
  iovec data{const_cast<char*>(frame.data()), frame.size()};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  FdMessage control;
  if (!fds.empty()) attach(message, control, fds);
  const ssize_t sent = sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
  return sent >= 0 ? Sent::sent : failed(errno);
}

void send_last_frame(int fd, std::string_view frame, std::span<char> scratch) {
  send_frame(fd, frame, {});
  for (int i = 0; i < kMaxFramesDrained; ++i) {
    const Received::Kind kind = receive_frame(fd, scratch).kind;
    if (kind == Received::would_block || kind == Received::closed) return;
  }
}

// Without a control buffer the kernel installs no descriptor here and drops what came with the
// message, which MSG_CTRUNC reports. So none can be leaked, nor the fd limit be hit.
Received receive_frame(int fd, std::span<char> buffer) {
  iovec data{buffer.data(), buffer.size()};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  // MSG_TRUNC as an argument: the result is the frame's real size.
  const ssize_t got = recvmsg(fd, &message, MSG_DONTWAIT | MSG_TRUNC);
  if (got < 0)
    return {errno == EAGAIN || errno == EINTR ? Received::would_block : Received::closed, 0};
  const auto size = static_cast<size_t>(got);
  if ((message.msg_flags & MSG_CTRUNC) != 0) return {Received::has_fds, size};
  if (size > buffer.size()) return {Received::too_large, size};
  if (size == 0 && hung_up(fd)) return {Received::closed, 0};
  return {Received::frame, size};
}

}  // namespace berth::net
