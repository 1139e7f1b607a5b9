// print(): the effective configuration as TOML, which berthd --check-config shows.
#pragma once

#include <string>

#include "config/settings.h"

namespace berth::config {

// Every setting with its value. Loading the text again, with the same options, gives equal
// Settings. Requires: the settings were loaded without a problem, or are default_settings().
std::string print(const Settings& settings);

}  // namespace berth::config
