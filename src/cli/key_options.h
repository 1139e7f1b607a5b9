// The command line that pipe and ping share: a key and a timeout.
#pragma once

#include "cli/command.h"

namespace berth::cli {

struct KeyOptions {
  const char* key = nullptr;
  int64_t timeout_ms = -1;
};

// An exit code if the command is over.
std::optional<int> parse_key_options(const Command& self, Globals& globals, Words& words,
                                     KeyOptions& out);
// --timeout's value; false, with the error told, if it is no duration.
bool take_timeout(const Command& self, Words& words, int64_t& timeout_ms);

}  // namespace berth::cli
