// Counts and times as the messages of berth.v1 have them.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>

#include "base/limits.h"
#include "base/time.h"
#include "base/utf8.h"

namespace berth::control {

inline uint64_t ms_of(Duration duration) {
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(duration).count();
  return static_cast<uint64_t>(std::max<int64_t>(0, ms));
}

inline uint32_t u32(size_t count) {
  return static_cast<uint32_t>(count);
}

// An error, cut to what may be sent.
inline std::string shown(std::string text) {
  text.resize(utf8_prefix(text, kMaxMessageBytes));
  return text;
}

}  // namespace berth::control
