// Values between their text in the configuration and what they mean: durations, file modes, TOML
// strings. Pure.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/time.h"

namespace berth::config {

// A whole number and one unit: us, ms, s, m, h or d, without a space, as "250ms". Nothing else.
std::optional<Duration> parse_duration(std::string_view text);

// The same in the largest unit that is exact: "90s", "10m". Parts below 1 us are dropped.
std::string duration_text(Duration duration);

// Octal digits of permission bits, "0666"; no more than 0777.
std::optional<mode_t> parse_mode(std::string_view text);
std::string mode_text(mode_t mode);

// A TOML string with its quotes, exact.
std::string toml_string(std::string_view text);

// For messages: in quotes, one line, shortened if long.
std::string shown(std::string_view text);

// `"a"`, `"a" or "b"`, `"a", "b" or "c"`; requires at least one word.
std::string alternatives(const std::vector<std::string_view>& words);

}  // namespace berth::config
