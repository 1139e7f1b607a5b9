#include "net/peer.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <memory>
#include <string>

#include "base/poll_one.h"
#include "net/errno_status.h"

// Of include/uapi/asm-generic/socket.h; Debian 12's headers are older than the kernels we meet.
#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif
#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

namespace berth::net {
namespace {

template <class Value>
int get_option(int fd, int name, Value& value) {
  socklen_t length = sizeof value;
  return getsockopt(fd, SOL_SOCKET, name, &value, &length) == 0 ? 0 : errno;
}

absl::Status opener_exited() {
  return absl::UnavailableError("identify a session: the process that opened it has exited");
}

absl::Status cannot_identify(int error_number, const char* what) {
  return errno_status(error_number, std::string("identify a session: ") + what);
}

absl::StatusOr<std::vector<uint32_t>> supplementary_groups(int fd) {
  std::vector<gid_t> groups(32);  // enough for most; ERANGE tells how many there are
  for (;;) {
    auto length = static_cast<socklen_t>(groups.size() * sizeof(gid_t));
    const int failed = getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups.data(), &length);
    const int error = failed != 0 ? errno : 0;
    if (error != 0 && error != ERANGE) return cannot_identify(error, "SO_PEERGROUPS");
    groups.resize(length / sizeof(gid_t));
    if (error != 0) continue;
    std::sort(groups.begin(), groups.end());
    return groups;
  }
}

// 0 before Linux 5.14: then no namespace can be told from another.
absl::StatusOr<uint64_t> netns_cookie(int fd) {
  uint64_t cookie = 0;
  const int error = get_option(fd, SO_NETNS_COOKIE, cookie);
  if (error == ENOPROTOOPT) return uint64_t{0};
  if (error != 0) return cannot_identify(error, "SO_NETNS_COOKIE");
  return cookie;
}

absl::StatusOr<UniqueFd> opener_pidfd(int fd, int32_t pid, uint32_t uid) {
  int pidfd = -1;
  const int error = get_option(fd, SO_PEERPIDFD, pidfd);
  if (error == 0) return UniqueFd(pidfd);
  if (error == ENOPROTOOPT) return pidfd_by_number(fd, pid, uid);
  // A process that was waited for has no pidfd any more (EINVAL or ESRCH, before Linux 6.16).
  if (error == EINVAL || error == ESRCH) return opener_exited();
  return cannot_identify(error, "SO_PEERPIDFD");
}

// The effective uid, the second number of the Uid line of proc(5)'s status.
bool runs_as(int32_t pid, uint32_t uid) {
  const std::string path = "/proc/" + std::to_string(pid) + "/status";
  const std::unique_ptr<FILE, int (*)(FILE*)> file(std::fopen(path.c_str(), "re"), std::fclose);
  char line[256];
  unsigned effective = 0;
  while (file && std::fgets(line, sizeof line, file.get()) != nullptr) {
    if (std::sscanf(line, "Uid: %*u %u", &effective) == 1) return effective == uid;
  }
  return false;
}

bool hung_up(int fd) {
  return poll_one(fd, 0) != 0;
}

}  // namespace

absl::StatusOr<PeerIdentity> identify_caller(int fd) {
  ucred opener{};
  if (const int error = get_option(fd, SO_PEERCRED, opener); error != 0) {
    return cannot_identify(error, "SO_PEERCRED");
  }
  auto groups = supplementary_groups(fd);
  if (!groups.ok()) return groups.status();
  auto cookie = netns_cookie(fd);
  if (!cookie.ok()) return cookie.status();
  return PeerIdentity{opener.uid, opener.gid, *std::move(groups), opener.pid, {}, *cookie};
}

absl::StatusOr<PeerIdentity> identify_peer(int session_fd) {
  auto peer = identify_caller(session_fd);
  if (!peer.ok()) return peer;
  auto pidfd = opener_pidfd(session_fd, peer->pid, peer->uid);
  if (!pidfd.ok()) return pidfd.status();
  if (pidfd->valid() && has_exited(pidfd->get())) return opener_exited();
  peer->pidfd = *std::move(pidfd);
  return peer;
}

absl::StatusOr<UniqueFd> pidfd_by_number(int session_fd, int32_t pid, uint32_t uid) {
  if (pid == 0) return UniqueFd();
  UniqueFd pidfd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  if (!pidfd.valid() && errno == ESRCH) return opener_exited();
  if (!pidfd.valid()) return cannot_identify(errno, "pidfd_open");
  // From here on the number cannot be reused unseen; until here it could.
  if (hung_up(session_fd) || has_exited(pidfd.get()) || !runs_as(pid, uid)) return opener_exited();
  return pidfd;
}

absl::StatusOr<uint64_t> own_netns_cookie() {
  const UniqueFd fd(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return errno_status(errno, "read the network namespace's cookie");
  return netns_cookie(fd.get());
}

bool has_exited(int pidfd) {
  return poll_one(pidfd, POLLIN) != 0;
}

}  // namespace berth::net
