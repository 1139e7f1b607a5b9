// The system calls of every lease, without the cancellation points that glibc puts around them: in
// a process of several threads (the log has one) those cost two atomic operations a call, and
// berthd cancels no thread.
//
// Any thread. Results and errno as of the function that the comment names.
#pragma once

#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace berth::net::direct {

// recv(2)
inline ssize_t recv(int fd, void* buffer, size_t size, int flags) {
  return syscall(SYS_recvfrom, fd, buffer, size, flags, nullptr, nullptr);
}

// send(2)
inline ssize_t send(int fd, const void* bytes, size_t size, int flags) {
  return syscall(SYS_sendto, fd, bytes, size, flags, nullptr, 0);
}

// sendmsg(2)
inline ssize_t sendmsg(int fd, const msghdr& message, int flags) {
  return syscall(SYS_sendmsg, fd, &message, flags);
}

// recvmmsg(2), without a timeout
inline int recvmmsg(int fd, mmsghdr* messages, size_t count, int flags) {
  return static_cast<int>(syscall(SYS_recvmmsg, fd, messages, count, flags, nullptr));
}

}  // namespace berth::net::direct
