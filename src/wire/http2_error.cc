#include "wire/http2_error.h"

namespace berth::wire {

std::string_view name_of_http2_error(uint32_t code) {
  constexpr std::string_view kNames[] = {
      "NO_ERROR",
      "PROTOCOL_ERROR",
      "INTERNAL_ERROR",
      "FLOW_CONTROL_ERROR",
      "SETTINGS_TIMEOUT",
      "STREAM_CLOSED",
      "FRAME_SIZE_ERROR",
      "REFUSED_STREAM",
      "CANCEL",
      "COMPRESSION_ERROR",
      "CONNECT_ERROR",
      "ENHANCE_YOUR_CALM",
      "INADEQUATE_SECURITY",
      "HTTP_1_1_REQUIRED",
  };
  constexpr size_t kCount = sizeof kNames / sizeof kNames[0];
  return code < kCount ? kNames[code] : "an unknown error";
}

}  // namespace berth::wire
