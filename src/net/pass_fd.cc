#include "net/pass_fd.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/check.h"
#include "base/poll_one.h"
#include "net/direct_calls.h"

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
  return poll_one(fd, POLLRDHUP) != 0;
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
  const ssize_t sent = direct::sendmsg(fd, message, MSG_DONTWAIT | MSG_NOSIGNAL);
  return sent >= 0 ? Sent::sent : failed(errno);
}

void send_last_frame(int fd, std::string_view frame) {
  send_frame(fd, frame, {});
  char byte;  // the kernel drops the rest of a frame
  for (size_t i = 0; i < kMaxFramesDrained; ++i) {
    const ssize_t got = recv(fd, &byte, 1, MSG_DONTWAIT);
    if (got < 0 || (got == 0 && hung_up(fd))) return;
  }
}

// Without a control buffer the kernel installs no descriptor here and drops what came with the
// message, which MSG_CTRUNC reports. So none can be leaked, nor the fd limit be hit.
FrameReader::FrameReader() : buffers_(std::make_unique_for_overwrite<Buffer[]>(kMaxFramesPerTurn)) {
  for (size_t i = 0; i < messages_.size(); ++i) {
    parts_[i] = {buffers_[i].bytes, kMaxFrameBytes};
    messages_[i].msg_hdr.msg_iov = &parts_[i];
    messages_[i].msg_hdr.msg_iovlen = 1;
  }
}

std::span<const Received> FrameReader::read(int fd) {
  // MSG_TRUNC as an argument: each length is the frame's real size.
  const int got =
      direct::recvmmsg(fd, messages_.data(), messages_.size(), MSG_DONTWAIT | MSG_TRUNC);
  if (got < 0) {
    if (errno == EAGAIN || errno == EINTR) return {};
    received_[0] = {Received::closed, 0, {}};
    return std::span(received_).first(1);
  }
  const auto count = static_cast<size_t>(got);
  for (size_t i = 0; i < count; ++i) {
    const size_t size = messages_[i].msg_len;
    received_[i] = {Received::frame, size, {buffers_[i].bytes, std::min(size, kMaxFrameBytes)}};
    if ((messages_[i].msg_hdr.msg_flags & MSG_CTRUNC) != 0) {
      received_[i].kind = Received::has_fds;
    } else if (size > kMaxFrameBytes) {
      received_[i].kind = Received::too_large;
    } else if (size == 0 && hung_up(fd)) {
      received_[i].kind = Received::closed;
      return std::span(received_).first(i + 1);
    }
  }
  return std::span(received_).first(count);
}

}  // namespace berth::net
