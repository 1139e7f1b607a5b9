// Frames of HTTP/2 as bytes, right and wrong ones (RFC 9113, section 4; RFC 7541, section 6).
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace berth::wire::frames {

enum Type : uint8_t {
  kData,
  kHeaders,
  kPriority,
  kRstStream,
  kSettings,
  kPushPromise,
  kPing,
  kGoaway,
  kWindowUpdate,
  kContinuation,
};

inline constexpr uint8_t kEnd = 1;
inline constexpr uint8_t kAck = 1;
inline constexpr uint8_t kEndHeaders = 4;
inline constexpr uint8_t kPadded = 8;
inline constexpr uint8_t kWithPriority = 0x20;

inline constexpr std::string_view kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

inline constexpr uint16_t kEnablePush = 2;
inline constexpr uint16_t kMaxConcurrentStreams = 3;
inline constexpr uint16_t kInitialWindowSize = 4;
inline constexpr uint16_t kMaxFrameSize = 5;

inline std::string number(uint64_t value, int bytes) {
  std::string text;
  while (bytes-- > 0) text += static_cast<char>(value >> (8 * bytes));
  return text;
}

inline std::string frame(uint8_t type, uint8_t flags, uint32_t stream, std::string_view payload) {
  return number(payload.size(), 3) + number(type, 1) + number(flags, 1) + number(stream, 4) +
         std::string(payload);
}

// A length with a prefix of seven bits.
inline std::string length(size_t value) {
  if (value < 127) return number(value, 1);
  std::string text(1, '\x7f');
  for (value -= 127; value >= 128; value >>= 7) text += static_cast<char>(value % 128 + 128);
  return text + static_cast<char>(value);
}

using Pairs = std::vector<std::pair<std::string, std::string>>;

// Literal fields that no table remembers.
inline std::string block(const Pairs& pairs) {
  std::string text;
  for (const auto& [name, value] : pairs) {
    text += '\0' + length(name.size()) + name + length(value.size()) + value;
  }
  return text;
}

inline std::string headers(uint32_t stream, const Pairs& pairs, bool end) {
  return frame(kHeaders, kEndHeaders | (end ? kEnd : 0), stream, block(pairs));
}

inline std::string data(uint32_t stream, std::string_view bytes, bool end) {
  return frame(kData, end ? kEnd : 0, stream, bytes);
}

inline std::string settings(std::initializer_list<std::pair<uint16_t, uint32_t>> values = {}) {
  std::string payload;
  for (const auto& [id, value] : values) payload += number(id, 2) + number(value, 4);
  return frame(kSettings, 0, 0, payload);
}

inline std::string settings_ack() {
  return frame(kSettings, kAck, 0, "");
}
inline std::string rst_stream(uint32_t stream, uint32_t error) {
  return frame(kRstStream, 0, stream, number(error, 4));
}
inline std::string window_update(uint32_t stream, uint32_t size) {
  return frame(kWindowUpdate, 0, stream, number(size, 4));
}
inline std::string ping(std::string_view payload) {
  return frame(kPing, 0, 0, payload);
}
inline std::string goaway(uint32_t last, uint32_t error, std::string_view debug = {}) {
  return frame(kGoaway, 0, 0, number(last, 4) + number(error, 4) + std::string(debug));
}

inline const Pairs kRequest = {
    {":method", "POST"}, {":scheme", "http"}, {":path", "/a"}, {":authority", "x"}};

struct Frame {
  uint8_t type;
  uint8_t flags;
  uint32_t stream;
  std::string payload;

  // The big-endian number at `at`.
  uint32_t number(size_t at) const {
    uint32_t value = 0;
    for (size_t i = at; i < at + 4; ++i) {
      value = value << 8 | static_cast<unsigned char>(payload.at(i));
    }
    return value;
  }
};

// What a side has sent, but for a frame that is not whole; a preface is passed over.
inline std::vector<Frame> parse(std::string_view bytes) {
  if (bytes.starts_with(kPreface)) bytes.remove_prefix(kPreface.size());
  const auto byte = [&](size_t at) { return size_t{static_cast<unsigned char>(bytes[at])}; };
  std::vector<Frame> all;
  while (bytes.size() >= 9) {
    const size_t size = byte(0) << 16 | byte(1) << 8 | byte(2);
    if (bytes.size() < 9 + size) break;
    const auto stream =
        static_cast<uint32_t>(byte(5) << 24 | byte(6) << 16 | byte(7) << 8 | byte(8));
    all.push_back({static_cast<uint8_t>(byte(3)), static_cast<uint8_t>(byte(4)), stream,
                   std::string(bytes.substr(9, size))});
    bytes.remove_prefix(9 + size);
  }
  return all;
}

}  // namespace berth::wire::frames
