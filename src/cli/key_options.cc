#include "cli/key_options.h"

#include <cstring>

namespace berth::cli {

bool take_timeout(const Command& self, Words& words, int64_t& timeout_ms) {
  const char* value = words.value();
  const auto parsed = value != nullptr ? parse_duration(value) : std::nullopt;
  if (!parsed) {
    usage_error(self, "--timeout needs a duration with a unit, such as 250ms or 5s");
    return false;
  }
  timeout_ms = *parsed;
  return true;
}

std::optional<int> parse_key_options(const Command& self, Globals& globals, Words& words,
                                     KeyOptions& out) {
  bool options = true;
  while (words.more()) {
    if (options && words.end_of_options()) {
      options = false;
      continue;
    }
    const char* option = options ? words.option() : nullptr;
    if (option == nullptr) {
      if (out.key != nullptr) return usage_error(self, "unexpected argument %s", words.next());
      out.key = words.next();
      continue;
    }
    int exit_code = 0;
    const Taken taken = take_common(self, option, globals, words, exit_code);
    if (taken == Taken::over) return exit_code;
    if (taken == Taken::yes) continue;
    if (std::strcmp(option, "--timeout") != 0) {
      return usage_error(self, "unknown option %s", option);
    }
    if (!take_timeout(self, words, out.timeout_ms)) return kUsage;
  }
  return std::nullopt;
}

}  // namespace berth::cli
