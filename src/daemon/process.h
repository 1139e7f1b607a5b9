// What berthd asks of the process it runs in.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <string>

namespace berth::daemon {

// Raises the soft limit on descriptors to the hard one; the limit that then holds.
uint32_t raise_fd_limit();

// Makes the folder of the sockets if it is missing: mode 0755, or 0700 with `user`.
absl::Status make_runtime_dir(const std::string& dir, bool user);

}  // namespace berth::daemon
