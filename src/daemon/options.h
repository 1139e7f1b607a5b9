// Options: berthd's command line, and the places that follow from it and the environment.
#pragma once

#include <string>
#include <variant>

#include "config/load.h"

namespace berth::daemon {

struct Options {
  config::LoadOptions load;
  bool check_config = false;
};

// Either what to do, or the exit code after help, version or a usage error has been printed.
std::variant<Options, int> parse_options(int argc, char** argv, const char* version);

}  // namespace berth::daemon
