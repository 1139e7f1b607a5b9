#include "packet.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#ifndef BERTH_RUNSTATEDIR
#define BERTH_RUNSTATEDIR "/run"
#endif

namespace berth::client {
namespace {

std::chrono::nanoseconds time_left(Deadline deadline) {
  const auto now = Clock::now();
  return deadline <= now ? std::chrono::nanoseconds(0) : deadline - now;
}

// False if the deadline passed first.
bool wait_for(int fd, short events, Deadline deadline) {
  if (deadline == kAtOnce) return false;
  for (;;) {
    timespec timeout{};
    if (deadline != kNoDeadline) {
      const auto left = time_left(deadline).count();
      timeout = {static_cast<time_t>(left / 1000000000), static_cast<long>(left % 1000000000)};
    }
    pollfd poll{fd, events, 0};
    const int ready = ::ppoll(&poll, 1, deadline == kNoDeadline ? nullptr : &timeout, nullptr);
    if (ready != 0 && !(ready < 0 && errno == EINTR)) return true;
    if (ready == 0) return false;
  }
}

void take_fds(msghdr& message, Packet& packet) {
  for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
      packet.fds[packet.fd_count++].reset(fd);  // the control buffer has room for no more
    }
  }
}

// recvmsg's result.
ssize_t receive_now(int fd, int flags, Packet& packet) {
  alignas(cmsghdr) char control[CMSG_SPACE(kMaxBatch * sizeof(int))];
  iovec part{packet.bytes.get(), kMaxFrameBytes};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = CMSG_LEN(kMaxBatch * sizeof(int));
  const ssize_t n = ::recvmsg(fd, &message, flags | MSG_CMSG_CLOEXEC);
  if (n < 0) return n;
  packet.size = static_cast<size_t>(n);
  packet.oversized = (message.msg_flags & MSG_TRUNC) != 0;
  packet.fds_lost = (message.msg_flags & MSG_CTRUNC) != 0;
  take_fds(message, packet);
  return n;
}

bool exists(const std::string& path) {
  return ::access(path.c_str(), F_OK) == 0;
}

Failure no_answer(const std::string& path, int error) {
  const std::string what = with_reason("cannot reach berthd at " + path, error);
  if (error == EACCES) return failed(error, what);
  return failed(error, what +
                           ". Start it with `berthd --user` or `systemctl start berthd`, or let "
                           "BERTH_SOCKET name its lease socket");
}

}  // namespace

void Packet::close_fds() {
  for (size_t i = 0; i < fd_count; ++i) fds[i].reset();
  fd_count = 0;
}

Arrival receive(int fd, Deadline deadline, Packet& packet) {
  packet.close_fds();
  // Without a deadline recvmsg itself may wait, which saves the call to poll.
  const int flags = deadline == kNoDeadline ? 0 : MSG_DONTWAIT;
  if (flags != 0 && deadline != kAtOnce && !wait_for(fd, POLLIN, deadline)) {
    return Arrival::nothing;
  }
  bool reset = false;
  for (;;) {
    const ssize_t n = receive_now(fd, flags, packet);
    if (n > 0) return Arrival::packet;
    if (n == 0) return Arrival::end;
    if (errno == EINTR) continue;
    if (errno == EAGAIN) {
      if (!wait_for(fd, POLLIN, deadline)) return Arrival::nothing;
      continue;
    }
    // A peer that closed without reading everything resets us, but what it said before, its
    // Goodbye, is still in the queue behind that error.
    if (errno != ECONNRESET || reset) return Arrival::end;
    reset = true;
  }
}

int send(int fd, std::string_view bytes, Deadline deadline) {
  for (;;) {
    if (::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT) >= 0) return 0;
    if (errno == EINTR) continue;
    if (errno != EAGAIN) return errno;
    if (!wait_for(fd, POLLOUT, deadline)) return EAGAIN;
  }
}

void bound_connect(int fd, Deadline deadline) {
  const auto us = std::max<int64_t>(
      std::chrono::duration_cast<std::chrono::microseconds>(time_left(deadline)).count(), 1);
  const timeval timeout{static_cast<time_t>(us / 1000000), static_cast<suseconds_t>(us % 1000000)};
  ::setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
}

std::string socket_path(const char* path) {
  if (path != nullptr) return path;
  if (const char* socket = std::getenv("BERTH_SOCKET"); socket != nullptr && *socket != '\0') {
    return socket;
  }
  if (const char* dir = std::getenv("XDG_RUNTIME_DIR"); dir != nullptr && *dir != '\0') {
    std::string user = std::string(dir) + "/berth/lease.sock";
    if (exists(user)) return user;
  }
  return BERTH_RUNSTATEDIR "/berth/lease.sock";
}

std::variant<UniqueFd, Failure> connect(const std::string& path, Deadline deadline) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty()) return invalid("the socket path is empty");
  if (path.size() >= sizeof address.sun_path) {
    return invalid("the socket path has " + std::to_string(path.size()) +
                   " bytes; Unix sockets allow 107: " + path);
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  UniqueFd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return failed(errno, with_reason("cannot make a socket", errno));
  bound_connect(fd.get(), deadline);
  while (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    if (errno == EINTR) continue;
    if (errno == EAGAIN) return failed(ETIMEDOUT, "berthd at " + path + " accepts no connection");
    return no_answer(path, errno);
  }
  return fd;
}

}  // namespace berth::client
