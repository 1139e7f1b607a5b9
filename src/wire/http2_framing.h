// The frames of HTTP/2 as bytes: their heads, and those that are of one size (RFC 9113, sections 4
// and 6). Pure.
#pragma once

#include <endian.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace berth::wire {

enum class Http2FrameType : uint8_t {
  data = 0,
  headers = 1,
  priority = 2,
  rst_stream = 3,
  settings = 4,
  push_promise = 5,
  ping = 6,
  goaway = 7,
  window_update = 8,
  continuation = 9,
};

namespace http2_flag {
inline constexpr uint8_t kEndStream = 0x1;  // data, headers
inline constexpr uint8_t kAck = 0x1;        // settings, ping
inline constexpr uint8_t kEndHeaders = 0x4;
inline constexpr uint8_t kPadded = 0x8;
inline constexpr uint8_t kPriority = 0x20;
}  // namespace http2_flag

// RFC 9113, section 6.5.2; RFC 9218, section 2.1.
enum class Http2Setting : uint16_t {
  header_table_size = 1,
  enable_push = 2,
  max_concurrent_streams = 3,
  initial_window_size = 4,
  max_frame_size = 5,
  max_header_list_size = 6,
  no_rfc7540_priorities = 9,
};

inline constexpr std::string_view kHttp2Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
inline constexpr size_t kHttp2HeadBytes = 9;
// Of a payload, unless SETTINGS allow more, as ours do not.
inline constexpr uint32_t kHttp2FrameBytes = 16'384;
// Of a connection and its streams before SETTINGS and WINDOW_UPDATE.
inline constexpr uint32_t kHttp2FirstWindow = 65'535;
inline constexpr uint32_t kHttp2LargestWindow = 0x7fffffff;
inline constexpr int32_t kHttp2LastStream = 0x7fffffff;

// Big-endian.
inline uint32_t parse_http2_number(const char* bytes) {
  uint32_t number = 0;
  std::memcpy(&number, bytes, sizeof number);
  return be32toh(number);
}

struct Http2FrameHead {
  uint32_t length = 0;
  Http2FrameType type{};  // perhaps none of those
  uint8_t flags = 0;
  int32_t stream = 0;

  bool has(uint8_t flag) const { return (flags & flag) != 0; }

  // Reads kHttp2HeadBytes. The first bit of a stream's number means nothing.
  static Http2FrameHead parse(const char* bytes) {
    const uint32_t first = parse_http2_number(bytes);
    return {.length = first >> 8,
            .type = static_cast<Http2FrameType>(first & 0xff),
            .flags = static_cast<uint8_t>(bytes[4]),
            .stream = static_cast<int32_t>(parse_http2_number(bytes + 5) & 0x7fffffff)};
  }
};

// Bytes of a frame, or of its beginning.
template <size_t kSize>
struct Http2Fixed {
  char bytes[kSize];
  operator std::string_view() const { return {bytes, kSize}; }
};

Http2Fixed<kHttp2HeadBytes> make_http2_head(const Http2FrameHead& head);
Http2Fixed<kHttp2HeadBytes + 4> make_http2_rst_stream(int32_t stream, uint32_t error);
Http2Fixed<kHttp2HeadBytes + 4> make_http2_window_update(int32_t stream, uint32_t increment);
// `payload` has 8 bytes.
Http2Fixed<kHttp2HeadBytes + 8> make_http2_ping(std::string_view payload, bool ack);
// Followed by `debug_bytes` bytes of text.
Http2Fixed<kHttp2HeadBytes + 8> make_http2_goaway(int32_t last, uint32_t error, size_t debug_bytes);
// One of SETTINGS.
Http2Fixed<6> make_http2_setting(Http2Setting setting, uint32_t value);

}  // namespace berth::wire
