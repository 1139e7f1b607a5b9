// A failed system call as a status in words: "connect to 127.0.0.1:1: Connection refused".
#pragma once

#include <string_view>

#include "absl/status/status.h"

namespace berth::net {

// `what` says what was attempted, on which address or file. The code is absl's for that errno.
inline absl::Status errno_status(int error_number, std::string_view what) {
  return absl::ErrnoToStatus(error_number, absl::string_view(what.data(), what.size()));
}

}  // namespace berth::net
