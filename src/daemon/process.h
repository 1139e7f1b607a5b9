// What berthd asks of the process it runs in.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <string>

namespace berth::daemon {

// What this process has inherited goes no further: the programs that berthd runs get neither
// descriptors nor capabilities of whoever has started it. First of all, before there are threads.
void keep_inheritance();

// Raises the soft limit on descriptors to the hard one; the limit that then holds.
uint32_t raise_fd_limit();

// Makes a folder of sockets if it is missing: mode 0755 whatever the umask, or 0700 with `user`.
absl::Status make_runtime_dir(const std::string& dir, bool user);

}  // namespace berth::daemon
