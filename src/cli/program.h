// Program: CMD of `berth exec` and `berth slot`.
//
// It is looked up before the lease: a program that is not there should not cost one.
#pragma once

#include <optional>
#include <string>

#include "berth/berth.h"

namespace berth::cli {

class Program {
 public:
  // Where execvp(3) would find argv[0]. Nothing, with errno set, if it is nowhere. Borrows argv.
  static std::optional<Program> find(char** argv);

  // "berth exec php-fpm": for those who look at berthd.
  std::string session_name(const char* command) const;
  // Becomes it. Gives an exit code if that fails, which is then told.
  int become() const;

 private:
  Program(char** argv, std::string path) : argv_(argv), path_(std::move(path)) {}

  char** argv_;
  std::string path_;
};

// Tells why CMD cannot be run. Gives the shell's exit code for it.
int cannot_run(const char* cmd, int error);

// A copy of the session that CMD inherits, so that its leases end with it: numbered `lowest` or
// more, else not `taken`. 0 or an errno.
int keep_session_open(berth_session* session, int lowest, int taken);

inline constexpr int kOutOfTheWay = 10;  // shells let users redirect 0 to 9

}  // namespace berth::cli
