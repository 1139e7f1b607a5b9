// The subcommands of `berth`, and what they share.
//
// One thread, one command, one exit: 0, or 64 usage, 69 unavailable, 75 try again, 77 not permitted
// (sysexits(3)), or CMD's.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "berth/berth.h"
#include "cli/words.h"

namespace berth::cli {

inline constexpr int kUsage = 64;
inline constexpr int kUnavailable = 69;
inline constexpr int kNotExecutable = 126;  // as the shell's
inline constexpr int kNotFound = 127;

struct Globals {
  const char* socket = nullptr;  // --socket; nullptr: where libberth looks
};

struct Command {
  const char* name;
  const char* usage;
  const char* summary;
  const char* help;
  int (*run)(const Command& self, Globals globals, Words words);
};

int run_exec(const Command& self, Globals globals, Words words);
int run_pipe(const Command& self, Globals globals, Words words);
int run_pass(const Command& self, Globals globals, Words words);
int run_keys(const Command& self, Globals globals, Words words);
int run_ping(const Command& self, Globals globals, Words words);
int run_slot(const Command& self, Globals globals, Words words);

// "berth COMMAND: what is wrong" and where to read more, on stderr. Gives 64.
[[gnu::format(printf, 2, 3)]] int usage_error(const Command& self, const char* format, ...);
// "berth: " and libberth's words. Gives the exit code of libberth's last error.
int fail();
// The same for an error of the system's: "berth: WHAT: No such file or directory".
int fail(const char* what, int error);
int fail(const char* what, const char* why);
// Takes --socket and --help, which every command has. An exit code if the command is over.
enum class Taken { no, yes, over };
Taken take_common(const Command& self, const char* option, Globals& globals, Words& words,
                  int& exit_code);

struct CloseSession {
  void operator()(berth_session* session) const { berth_session_close(session); }
};
using SessionPtr = std::unique_ptr<berth_session, CloseSession>;

// nullptr if it failed, which fail() then tells.
SessionPtr open_session(const Globals& globals, const char* name);

// What was leased carries no connection: tells what would be right. Gives 64.
int only_a_slot(const Command& self, const char* key);

// Leases one connection; false if it failed.
bool lease(berth_session* session, const char* key, int64_t timeout_ms, berth_grant& grant);

// "250ms", "5s", "2m" in milliseconds; nothing if it is no such thing.
std::optional<int64_t> parse_duration(const char* text);
// A number from `least` to `most`.
std::optional<int> parse_number(const char* text, int least, int most);

}  // namespace berth::cli
