// berth slot: CMD with the right to descriptors of its own.
#include <array>
#include <cerrno>
#include <cstring>

#include "cli/key_options.h"
#include "cli/program.h"

namespace berth::cli {
namespace {

struct SlotOptions {
  const char* key = "slot";
  int count = 1;
  int64_t timeout_ms = -1;
};

// An exit code if the option is wrong.
std::optional<int> take_option(const Command& self, const char* option, Words& words,
                               SlotOptions& out) {
  if (std::strcmp(option, "--timeout") == 0) {
    return take_timeout(self, words, out.timeout_ms) ? std::nullopt : std::optional(kUsage);
  }
  if (std::strcmp(option, "--key") == 0) {
    out.key = words.value();
    return out.key != nullptr ? std::nullopt
                              : std::optional(usage_error(self, "--key needs a pool of slots"));
  }
  if (std::strcmp(option, "--count") == 0) {
    const char* value = words.value();
    const auto count = value != nullptr ? parse_number(value, 1, BERTH_MAX_COUNT) : std::nullopt;
    if (!count) return usage_error(self, "--count needs a number from 1 to %d", BERTH_MAX_COUNT);
    out.count = *count;
    return std::nullopt;
  }
  return usage_error(self, "unknown option %s", option);
}

std::optional<int> parse(const Command& self, Globals& globals, Words& words, SlotOptions& out) {
  while (!words.end_of_options()) {
    const char* option = words.option();
    if (option == nullptr) break;
    int exit_code = 0;
    const Taken taken = take_common(self, option, globals, words, exit_code);
    if (taken == Taken::over) return exit_code;
    if (taken == Taken::yes) continue;
    if (const auto wrong = take_option(self, option, words, out)) return wrong;
  }
  if (!words.more()) return usage_error(self, "which CMD?");
  return std::nullopt;
}

}  // namespace

int run_slot(const Command& self, Globals globals, Words words) {
  SlotOptions options;
  if (const auto over = parse(self, globals, words, options)) return *over;
  const std::optional<Program> program = Program::find(words.rest());
  if (!program) return cannot_run(words.rest()[0], errno);
  const SessionPtr session = open_session(globals, program->session_name("slot").c_str());
  if (session == nullptr) return fail();
  std::array<berth_grant, BERTH_MAX_COUNT> grants;
  berth_options how = BERTH_OPTIONS_INIT;
  how.timeout_ms = options.timeout_ms;
  const auto count = static_cast<unsigned>(options.count);
  if (berth_lease_many(session.get(), options.key, count, &how, grants.data()) < 0) return fail();
  if (grants[0].fd >= 0) {
    return usage_error(self, "%s is no pool of slots; use berth exec", options.key);
  }
  if (const int error = keep_session_open(session.get(), kOutOfTheWay, -1); error != 0) {
    return fail("cannot keep the session open", error);
  }
  return program->become();
}

}  // namespace berth::cli
