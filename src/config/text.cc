#include "config/text.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>

#include "base/utf8.h"

namespace berth::config {
namespace {

struct Unit {
  std::string_view name;
  Duration length;
};

struct SizeUnit {
  std::string_view name;
  uint64_t bytes;
};

// From the largest: duration_text() takes the first that divides.
constexpr std::array<Unit, 6> kUnits = {{{"d", std::chrono::hours(24)},
                                         {"h", std::chrono::hours(1)},
                                         {"m", std::chrono::minutes(1)},
                                         {"s", std::chrono::seconds(1)},
                                         {"ms", std::chrono::milliseconds(1)},
                                         {"us", std::chrono::microseconds(1)}}};

// Likewise.
constexpr std::array<SizeUnit, 4> kSizeUnits = {
    {{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}};

constexpr size_t kMostShown = 80;  // bytes of a value in a message

bool is_control(char c) {
  return static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
}

std::string control_escape(char c) {
  switch (c) {
    case '\n': return "\\n";
    case '\r': return "\\r";
    case '\t': return "\\t";
    default: break;
  }
  char escape[8];
  std::snprintf(escape, sizeof escape, "\\u%04X", static_cast<unsigned>(c));
  return escape;
}

// Does not cut a UTF-8 sequence.
std::string_view shortened(std::string_view text) {
  size_t size = kMostShown;
  while (size > 0 && (static_cast<unsigned char>(text[size]) & 0xc0) == 0x80) --size;
  return text.substr(0, size);
}

// The byte that two hexadecimal digits at the beginning of `text` mean.
std::optional<char> hex_byte(std::string_view text) {
  unsigned byte = 0;
  const char* end = text.data() + std::min<size_t>(text.size(), 2);
  const auto [rest, error] = std::from_chars(text.data(), end, byte, 16);
  if (error != std::errc{} || rest != text.data() + 2) return std::nullopt;
  return static_cast<char>(byte);
}

}  // namespace

std::optional<Duration> parse_duration(std::string_view text) {
  int64_t count = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, count);
  if (error != std::errc{} || count < 0 || text.starts_with('-')) return std::nullopt;
  const std::string_view name(rest, static_cast<size_t>(end - rest));
  for (const Unit& unit : kUnits) {
    if (unit.name != name) continue;
    if (count > Duration::max() / unit.length) return std::nullopt;
    return unit.length * count;
  }
  return std::nullopt;
}

std::string duration_text(Duration duration) {
  if (duration == Duration::zero()) return "0s";
  for (const Unit& unit : kUnits) {
    if (duration % unit.length == Duration::zero()) {
      return std::to_string(duration / unit.length).append(unit.name);
    }
  }
  return std::to_string(duration / std::chrono::microseconds(1)) + "us";
}

std::optional<uint64_t> parse_size(std::string_view text) {
  uint64_t count = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, count);
  if (error != std::errc{}) return std::nullopt;
  const std::string_view name(rest, static_cast<size_t>(end - rest));
  for (const SizeUnit& unit : kSizeUnits) {
    if (unit.name != name) continue;
    if (count > UINT64_MAX / unit.bytes) return std::nullopt;
    return unit.bytes * count;
  }
  return std::nullopt;
}

std::string size_text(uint64_t bytes) {
  for (const SizeUnit& unit : kSizeUnits) {
    if (bytes >= unit.bytes && bytes % unit.bytes == 0) {
      return std::to_string(bytes / unit.bytes).append(unit.name);
    }
  }
  return "0B";
}

std::optional<mode_t> parse_mode(std::string_view text) {
  mode_t mode = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, mode, 8);
  if (error != std::errc{} || rest != end || text.size() < 3 || mode > 0777) return std::nullopt;
  return mode;
}

std::string mode_text(mode_t mode) {
  char text[16];
  std::snprintf(text, sizeof text, "%04o", mode);
  return text;
}

std::string toml_string(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += is_control(c) ? control_escape(c) : std::string(1, c);
  }
  return out + '"';
}

std::variant<std::string, BadEscape> unescape(std::string_view text) {
  std::string bytes;
  while (!text.empty()) {
    const size_t plain = std::min(text.find('\\'), text.size());
    bytes += text.substr(0, plain);
    text.remove_prefix(plain);
    const std::optional<char> byte =
        text.starts_with("\\x") ? hex_byte(text.substr(2)) : std::nullopt;
    if (byte) {
      bytes += *byte;
      text.remove_prefix(4);
    } else if (text.starts_with("\\\\")) {
      bytes += '\\';
      text.remove_prefix(2);
    } else if (!text.empty()) {
      const size_t next = utf8_sequence(text.substr(1));
      return BadEscape{std::string(text.substr(0, 1 + next)) +
                       " is no escape; after TOML's own, \\xHH is a byte and \\\\ a backslash"};
    }
  }
  return bytes;
}

std::string escape(std::string_view bytes) {
  std::string out;
  while (!bytes.empty()) {
    const size_t size = utf8_sequence(bytes);
    if (size == 0) {
      char hex[8];
      std::snprintf(hex, sizeof hex, "\\x%02x",
                    static_cast<unsigned>(static_cast<unsigned char>(bytes[0])));
      out += hex;
    } else {
      out += bytes[0] == '\\' ? "\\\\" : bytes.substr(0, size);
    }
    bytes.remove_prefix(size == 0 ? 1 : size);
  }
  return out;
}

std::string shown(std::string_view text) {
  if (text.size() <= kMostShown) return toml_string(text);
  return toml_string(std::string(shortened(text)) + "…");
}

std::string alternatives(const std::vector<std::string_view>& words) {
  std::string out;
  for (size_t i = 0; i < words.size(); ++i) {
    if (i > 0) out += i + 1 == words.size() ? " or " : ", ";
    out += toml_string(words[i]);
  }
  return out;
}

}  // namespace berth::config
