// What berth's design names and this version does not have yet. Who writes it into a file is told
// so, instead of being told that it is unknown. A setting that arrives leaves the list and enters
// config/catalogue.cc.
#pragma once

#include <algorithm>
#include <array>
#include <string_view>

namespace berth::config {

inline constexpr const char* kNotYet = " is not available in this version of berth";

inline constexpr std::array kLaterSettings = std::to_array<std::string_view>({
    "metrics",
    "traces",
});

constexpr bool is_later_setting(std::string_view name) {
  return std::find(kLaterSettings.begin(), kLaterSettings.end(), name) != kLaterSettings.end();
}

}  // namespace berth::config
