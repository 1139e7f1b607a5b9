#include "cli/command.h"

#include <charconv>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <string_view>

#include "base/code.h"

namespace berth::cli {

int usage_error(const Command& self, const char* format, ...) {
  std::fprintf(stderr, "berth %s: ", self.name);
  va_list arguments;
  va_start(arguments, format);
  std::vfprintf(stderr, format, arguments);
  va_end(arguments);
  std::fprintf(stderr, "\nusage: berth %s\n", self.usage);
  return kUsage;
}

int fail() {
  std::fprintf(stderr, "berth: %s\n", berth_error());
  return code_exit(static_cast<Code>(berth_error_code()));
}

int fail(const char* what, int error) {
  return fail(what, std::strerror(error));
}

int fail(const char* what, const char* why) {
  std::fprintf(stderr, "berth: %s: %s\n", what, why);
  return kUnavailable;
}

Taken take_common(const Command& self, const char* option, Globals& globals, Words& words,
                  int& exit_code) {
  if (std::strcmp(option, "--help") == 0 || std::strcmp(option, "-h") == 0) {
    std::printf("usage: berth %s\n\n%s", self.usage, self.help);
    exit_code = 0;
    return Taken::over;
  }
  if (std::strcmp(option, "--socket") != 0) return Taken::no;
  globals.socket = words.value();
  if (globals.socket != nullptr) return Taken::yes;
  exit_code = usage_error(self, "--socket needs a path");
  return Taken::over;
}

int only_a_slot(const Command& self, const char* key) {
  return usage_error(self, "%s is a pool of slots, which carry no connection; use berth slot", key);
}

SessionPtr open_session(const Globals& globals, const char* name) {
  berth_session* session = nullptr;
  berth_session_open_named(globals.socket, name, &session);
  return SessionPtr(session);
}

bool lease(berth_session* session, const char* key, int64_t timeout_ms, berth_grant& grant) {
  berth_options options = BERTH_OPTIONS_INIT;
  options.timeout_ms = timeout_ms;
  return berth_lease(session, key, &options, &grant) == 0;
}

std::optional<int64_t> parse_duration(const char* text) {
  struct Unit {
    std::string_view name;
    int64_t ms;
  };
  static constexpr Unit kUnits[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}};
  constexpr int64_t kLongest = 1000000000;  // of any unit: far from overflow
  const char* end = text + std::strlen(text);
  int64_t count = 0;
  const auto [rest, error] = std::from_chars(text, end, count);
  if (error != std::errc{} || count < 0 || count > kLongest || *text == '-') return std::nullopt;
  const std::string_view name(rest, static_cast<size_t>(end - rest));
  for (const Unit& unit : kUnits) {
    if (unit.name == name) return count * unit.ms;
  }
  return std::nullopt;
}

std::optional<int> parse_number(const char* text, int least, int most) {
  const char* end = text + std::strlen(text);
  int number = 0;
  const auto [rest, error] = std::from_chars(text, end, number);
  if (error != std::errc{} || rest != end || number < least || number > most) return std::nullopt;
  return number;
}

}  // namespace berth::cli
