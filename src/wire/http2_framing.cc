#include "wire/http2_framing.h"

#include <cstring>

namespace berth::wire {
namespace {

void write_number(char* at, uint32_t value) {
  const uint32_t number = htobe32(value);
  std::memcpy(at, &number, sizeof number);
}

void write_head(char* at, const Http2FrameHead& head) {
  write_number(at, head.length << 8 | static_cast<uint32_t>(head.type));
  at[4] = static_cast<char>(head.flags);
  write_number(at + 5, static_cast<uint32_t>(head.stream));
}

}  // namespace

Http2Fixed<kHttp2HeadBytes> make_http2_head(const Http2FrameHead& head) {
  Http2Fixed<kHttp2HeadBytes> made;
  write_head(made.bytes, head);
  return made;
}

Http2Fixed<kHttp2HeadBytes + 4> make_http2_rst_stream(int32_t stream, uint32_t error) {
  Http2Fixed<kHttp2HeadBytes + 4> made;
  write_head(made.bytes, {.length = 4, .type = Http2FrameType::rst_stream, .stream = stream});
  write_number(made.bytes + kHttp2HeadBytes, error);
  return made;
}

Http2Fixed<kHttp2HeadBytes + 4> make_http2_window_update(int32_t stream, uint32_t increment) {
  Http2Fixed<kHttp2HeadBytes + 4> made;
  write_head(made.bytes, {.length = 4, .type = Http2FrameType::window_update, .stream = stream});
  write_number(made.bytes + kHttp2HeadBytes, increment);
  return made;
}

Http2Fixed<kHttp2HeadBytes + 8> make_http2_ping(std::string_view payload, bool ack) {
  Http2Fixed<kHttp2HeadBytes + 8> made;
  const uint8_t flags = ack ? http2_flag::kAck : 0;
  write_head(made.bytes, {.length = 8, .type = Http2FrameType::ping, .flags = flags});
  std::memcpy(made.bytes + kHttp2HeadBytes, payload.data(), 8);
  return made;
}

Http2Fixed<kHttp2HeadBytes + 8> make_http2_goaway(int32_t last, uint32_t error,
                                                  size_t debug_bytes) {
  Http2Fixed<kHttp2HeadBytes + 8> made;
  const auto length = static_cast<uint32_t>(8 + debug_bytes);
  write_head(made.bytes, {.length = length, .type = Http2FrameType::goaway});
  write_number(made.bytes + kHttp2HeadBytes, static_cast<uint32_t>(last));
  write_number(made.bytes + kHttp2HeadBytes + 4, error);
  return made;
}

Http2Fixed<6> make_http2_setting(Http2Setting setting, uint32_t value) {
  const auto id = static_cast<uint16_t>(setting);
  Http2Fixed<6> made;
  made.bytes[0] = static_cast<char>(id >> 8);
  made.bytes[1] = static_cast<char>(id);
  write_number(made.bytes + 2, value);
  return made;
}

}  // namespace berth::wire
