// Values between their text in the configuration and what they mean: durations, sizes, file modes,
// TOML strings. Pure.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/time.h"

namespace berth::config {

// A whole number and one unit: us, ms, s, m, h or d, without a space, as "250ms". Nothing else.
std::optional<Duration> parse_duration(std::string_view text);

// The same in the largest unit that is exact: "90s", "10m". Parts below 1 us are dropped.
std::string duration_text(Duration duration);

// Bytes: a whole number and one unit, B, KiB, MiB or GiB, without a space, as "64KiB".
std::optional<uint64_t> parse_size(std::string_view text);

// The same in the largest unit that is exact.
std::string size_text(uint64_t bytes);

// Octal digits of permission bits, "0666"; no more than 0777.
std::optional<mode_t> parse_mode(std::string_view text);
std::string mode_text(mode_t mode);

// A TOML string with its quotes, exact.
std::string toml_string(std::string_view text);

// Bytes as a text in UTF-8: "\xHH" is the byte with these two hexadecimal digits, "\\" a
// backslash; there is no other escape. escape() only writes what no text could hold in itself.
struct BadEscape {
  std::string text;  // for its writer
};
std::variant<std::string, BadEscape> unescape(std::string_view text);
std::string escape(std::string_view bytes);

// For messages: in quotes, one line, shortened if long.
std::string shown(std::string_view text);

// `"a"`, `"a" or "b"`, `"a", "b" or "c"`; requires at least one word.
std::string alternatives(const std::vector<std::string_view>& words);

}  // namespace berth::config
