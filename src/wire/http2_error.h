// The error codes of HTTP/2 (RFC 9113, section 7). What peers send may be any other number, too.
#pragma once

#include <cstdint>
#include <string_view>

namespace berth::wire {

enum Http2Error : uint32_t {
  kHttp2NoError = 0,
  kHttp2ProtocolError = 1,
  kHttp2InternalError = 2,
  kHttp2FlowControlError = 3,
  kHttp2SettingsTimeout = 4,
  kHttp2StreamClosed = 5,
  kHttp2FrameSizeError = 6,
  kHttp2RefusedStream = 7,
  kHttp2Cancel = 8,
  kHttp2CompressionError = 9,
  kHttp2ConnectError = 10,
  kHttp2EnhanceYourCalm = 11,
  kHttp2InadequateSecurity = 12,
  kHttp2Http11Required = 13,
};

// As the specification writes it: "REFUSED_STREAM"; "an unknown error" for other numbers.
std::string_view name_of_http2_error(uint32_t code);

}  // namespace berth::wire
