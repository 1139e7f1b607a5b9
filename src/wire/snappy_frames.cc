#include "wire/snappy_frames.h"

#include <fmt/format.h>
#include <snappy.h>

#include <algorithm>
#include <cstdint>

#include "wire/crc32c.h"

namespace berth::wire {
namespace {

using namespace std::string_view_literals;

enum Chunk : uint8_t {
  kCompressed = 0x00,
  kUncompressed = 0x01,
  kFirstSkippable = 0x80,  // those before it that are unknown are not; kPadding is one of these
  kIdentifier = 0xff,
};

constexpr size_t kHead = 4;  // type, and the length of what follows
constexpr size_t kSum = 4;
constexpr size_t kMostData = 65536;
constexpr std::string_view kName = "sNaPpY";
constexpr std::string_view kBeginning = "\xff\x06\x00\x00sNaPpY"sv;

uint32_t masked_sum(std::string_view data) {
  const uint32_t sum = crc32c(data);
  return (sum >> 15 | sum << 17) + 0xa282ead8;
}

// Little-endian.
uint32_t number_in(std::string_view bytes) {
  uint32_t number = 0;
  for (size_t i = bytes.size(); i-- > 0;) number = number << 8 | static_cast<uint8_t>(bytes[i]);
  return number;
}

void put_number(uint32_t number, size_t bytes, char* at) {
  for (size_t i = 0; i < bytes; ++i) at[i] = static_cast<char>(number >> (8 * i));
}

void append_chunk(std::string_view data, std::string& out) {
  const size_t begin = out.size();
  out.resize(begin + kHead + kSum + snappy::MaxCompressedLength(data.size()));
  char* const body = out.data() + begin + kHead + kSum;
  size_t size = 0;
  snappy::RawCompress(data.data(), data.size(), body, &size);
  const bool gains = size < data.size();
  if (!gains) size = data.copy(body, data.size());
  out[begin] = static_cast<char>(gains ? kCompressed : kUncompressed);
  put_number(static_cast<uint32_t>(kSum + size), 3, out.data() + begin + 1);
  put_number(masked_sum(data), kSum, out.data() + begin + kHead);
  out.resize(begin + kHead + kSum + size);
}

absl::Status broken(std::string_view why) {
  return absl::InternalError(fmt::format("its snappy frames are broken: {}", why));
}

absl::Status too_much(size_t most) {
  return absl::ResourceExhaustedError(fmt::format("it is more than {} bytes when decoded", most));
}

// Appends the data of a chunk, `body` without its sum.
absl::Status append_data(uint8_t type, std::string_view body, size_t room, std::string& out) {
  size_t size = body.size();
  if (type == kCompressed && !snappy::GetUncompressedLength(body.data(), body.size(), &size)) {
    return broken("a chunk does not say how long it is");
  }
  if (size > kMostData) return broken("a chunk has more than 65536 bytes");
  if (size > room) return absl::ResourceExhaustedError("");
  const size_t begin = out.size();
  if (type == kUncompressed) {
    out.append(body);
    return absl::OkStatus();
  }
  out.resize(begin + size);
  if (!snappy::RawUncompress(body.data(), body.size(), out.data() + begin)) {
    return broken("a chunk cannot be decompressed");
  }
  return absl::OkStatus();
}

absl::Status read_data(uint8_t type, std::string_view body, size_t room, std::string& out) {
  if (body.size() < kSum) return broken("a chunk is too short for its checksum");
  const size_t begin = out.size();
  absl::Status read = append_data(type, body.substr(kSum), room, out);
  if (!read.ok()) return read;
  const bool same =
      number_in(body.substr(0, kSum)) == masked_sum(std::string_view(out).substr(begin));
  return same ? absl::OkStatus() : broken("a checksum is not that of the data");
}

}  // namespace

void append_snappy_frames(std::string_view data, std::string& out) {
  out += kBeginning;
  for (; !data.empty(); data.remove_prefix(std::min(data.size(), kMostData))) {
    append_chunk(data.substr(0, kMostData), out);
  }
}

absl::Status read_snappy_frames(std::string_view stream, size_t most, std::string& out) {
  const size_t begin = out.size();
  if (!stream.empty() && !stream.starts_with(kBeginning)) {
    return broken("they do not begin with the stream identifier");
  }
  while (!stream.empty()) {
    if (stream.size() < kHead) return broken("the last chunk is cut off");
    const auto type = static_cast<uint8_t>(stream[0]);
    const uint32_t length = number_in(stream.substr(1, 3));
    if (stream.size() - kHead < length) return broken("the last chunk is cut off");
    const std::string_view body = stream.substr(kHead, length);
    stream.remove_prefix(kHead + length);
    if (type == kCompressed || type == kUncompressed) {
      absl::Status read = read_data(type, body, most - (out.size() - begin), out);
      if (absl::IsResourceExhausted(read)) return too_much(most);
      if (!read.ok()) return read;
    } else if (type == kIdentifier && body != kName) {
      return broken("a stream identifier is wrong");
    } else if (type < kFirstSkippable) {
      return broken(fmt::format("a chunk has the unknown type {:#04x}", type));
    }
  }
  return absl::OkStatus();
}

}  // namespace berth::wire
