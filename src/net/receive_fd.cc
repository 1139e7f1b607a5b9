#include "net/receive_fd.h"

#include <sys/socket.h>
#include <sys/uio.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

namespace berth::net {
namespace {

// One is right; room for more shows how many there are of the few that a mistake would bring.
constexpr size_t kRoom = 8;

std::vector<UniqueFd> take(msghdr& message) {
  std::vector<UniqueFd> fds;
  for (cmsghdr* each = CMSG_FIRSTHDR(&message); each; each = CMSG_NXTHDR(&message, each)) {
    if (each->cmsg_level != SOL_SOCKET || each->cmsg_type != SCM_RIGHTS) continue;
    for (size_t at = CMSG_LEN(0); at + sizeof(int) <= each->cmsg_len; at += sizeof(int)) {
      int fd = -1;
      std::memcpy(&fd, reinterpret_cast<const char*>(each) + at, sizeof fd);
      fds.emplace_back(fd);
    }
  }
  return fds;
}

PassedFd judge(std::vector<UniqueFd> fds, bool cut_short) {
  if (fds.empty() && cut_short) {
    return {PassedFd::wrong, {}, "a descriptor for which berthd has none left"};
  }
  if (cut_short) {
    return {PassedFd::wrong, {}, "more than " + std::to_string(fds.size()) + " descriptors"};
  }
  if (fds.empty()) return {PassedFd::wrong, {}, "bytes instead of a descriptor"};
  if (fds.size() == 1) return {PassedFd::passed, std::move(fds.front())};
  return {PassedFd::wrong, {}, std::to_string(fds.size()) + " descriptors"};
}

}  // namespace

PassedFd receive_fd(int socket) {
  std::array<char, 64> bytes;  // which mean nothing; a message has at least one
  iovec data{bytes.data(), bytes.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(kRoom * sizeof(int))];
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  const ssize_t got = recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return {PassedFd::nothing_yet};
  if (got <= 0) return {PassedFd::ended};
  return judge(take(message), (message.msg_flags & MSG_CTRUNC) != 0);
}

}  // namespace berth::net
