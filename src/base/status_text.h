// text_of(): the message of a status as a std::string (Debian's absl::string_view is another type
// than std::string_view).
#pragma once

#include <absl/status/status.h>

#include <string>

namespace berth {

inline std::string text_of(const absl::Status& status) {
  return std::string(status.message());
}

}  // namespace berth
