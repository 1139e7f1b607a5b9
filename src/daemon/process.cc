#include "daemon/process.h"

#include <sys/resource.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace berth::daemon {
namespace {

// More records than a slab can index would help nobody.
constexpr rlim_t kMostFds = 1u << 20;

}  // namespace

uint32_t raise_fd_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 1024;
  rlimit raised = limit;
  raised.rlim_cur = limit.rlim_max;
  if (setrlimit(RLIMIT_NOFILE, &raised) == 0) limit = raised;
  return static_cast<uint32_t>(std::min(limit.rlim_cur, kMostFds));
}

absl::Status make_runtime_dir(const std::string& dir, bool user) {
  if (mkdir(dir.c_str(), user ? 0700 : 0755) == 0 || errno == EEXIST) return absl::OkStatus();
  return absl::UnavailableError("folder " + dir + " cannot be made: " + std::strerror(errno));
}

}  // namespace berth::daemon
