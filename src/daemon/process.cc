#include "daemon/process.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace berth::daemon {
namespace {

// More records than a slab can index would help nobody.
constexpr rlim_t kMostFds = 1u << 20;

// Kernels before 5.11 cannot mark a range. What is below the limit now is all that there can be.
void mark_one_by_one() {
  const long limit = sysconf(_SC_OPEN_MAX);
  for (int fd = 3; fd < limit; ++fd) fcntl(fd, F_SETFD, FD_CLOEXEC);
}

}  // namespace

void keep_inheritance() {
  // Sockets that systemd has passed are among them, and have to be marked in any case.
  if (close_range(3, ~0u, CLOSE_RANGE_CLOEXEC) != 0) mark_one_by_one();
  // Ambient ones outlast execve(2); this process keeps what it has.
  prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
}

uint32_t raise_fd_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 1024;
  rlimit raised = limit;
  raised.rlim_cur = limit.rlim_max;
  if (setrlimit(RLIMIT_NOFILE, &raised) == 0) limit = raised;
  return static_cast<uint32_t>(std::min(limit.rlim_cur, kMostFds));
}

absl::Status make_runtime_dir(const std::string& dir, bool user) {
  const mode_t mode = user ? 0700 : 0755;
  const bool made = mkdir(dir.c_str(), mode) == 0;
  if (made ? chmod(dir.c_str(), mode) == 0 : errno == EEXIST) return absl::OkStatus();
  return absl::UnavailableError("folder " + dir + " cannot be made: " + std::strerror(errno));
}

}  // namespace berth::daemon
