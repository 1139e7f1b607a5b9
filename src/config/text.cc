#include "config/text.h"

#include <array>
#include <charconv>
#include <cstdio>

namespace berth::config {
namespace {

struct Unit {
  std::string_view name;
  Duration length;
};

// From the largest: duration_text() takes the first that divides.
constexpr std::array<Unit, 6> kUnits = {{{"d", std::chrono::hours(24)},
                                         {"h", std::chrono::hours(1)},
                                         {"m", std::chrono::minutes(1)},
                                         {"s", std::chrono::seconds(1)},
                                         {"ms", std::chrono::milliseconds(1)},
                                         {"us", std::chrono::microseconds(1)}}};

constexpr size_t kMostShown = 80;  // bytes of a value in a message

bool is_control(char c) {
  return static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
}

// Does not cut a UTF-8 sequence.
std::string_view shortened(std::string_view text) {
  size_t size = kMostShown;
  while (size > 0 && (static_cast<unsigned char>(text[size]) & 0xc0) == 0x80) --size;
  return text.substr(0, size);
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
    if (!is_control(c)) {
      out += c;
      continue;
    }
    char escape[8];
    std::snprintf(escape, sizeof escape, "\\u%04X", static_cast<unsigned>(c));
    out += escape;
  }
  return out + '"';
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
