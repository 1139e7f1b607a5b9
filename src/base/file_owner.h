// FileOwner: to whom a file is given; what is not set stays what it is.
#pragma once

#include <cstdint>
#include <optional>

namespace berth {

struct FileOwner {
  std::optional<uint32_t> uid;
  std::optional<uint32_t> gid;

  friend bool operator==(const FileOwner&, const FileOwner&) = default;
};

}  // namespace berth
