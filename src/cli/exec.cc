// berth exec: CMD with a leased connection.
#include <fcntl.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstring>
#include <string>

#include "cli/child.h"
#include "cli/key_options.h"
#include "cli/program.h"

namespace berth::cli {
namespace {

struct ExecOptions {
  const char* key = nullptr;
  int fd = 3;
  bool fd_given = false;
  bool stdio = false;
  const char* env = nullptr;
  bool give_back = false;
  int64_t timeout_ms = -1;
  char** cmd = nullptr;
};

bool is(const char* word, const char* name) {
  return std::strcmp(word, name) == 0;
}

// Descriptors beyond it cannot be made. Below INT_MAX.
int highest_fd() {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  return static_cast<int>(std::clamp<rlim_t>(limit.rlim_cur, 1, INT_MAX)) - 1;
}

// An exit code if the option is wrong.
std::optional<int> take_option(const Command& self, const char* option, Words& words,
                               ExecOptions& out) {
  if (is(option, "--timeout")) {
    return take_timeout(self, words, out.timeout_ms) ? std::nullopt : std::optional(kUsage);
  }
  if (is(option, "--fd")) {
    const char* value = words.value();
    const int highest = highest_fd();
    const auto number = value != nullptr ? parse_number(value, 0, highest) : std::nullopt;
    if (!number || *number == STDERR_FILENO) {
      const std::string given = value != nullptr ? ", not \"" + std::string(value) + '"' : "";
      return usage_error(self, "--fd needs a number from 0 to %d (ulimit -n is %d) other than 2%s",
                         highest, highest + 1, given.c_str());
    }
    out.fd = *number;
    out.fd_given = true;
    return std::nullopt;
  }
  if (is(option, "--env")) {
    out.env = words.value();
    const bool good =
        out.env != nullptr && *out.env != '\0' && std::strchr(out.env, '=') == nullptr;
    return good ? std::nullopt : std::optional(usage_error(self, "--env needs a variable's name"));
  }
  if (!is(option, "--stdio") && !is(option, "--return")) {
    return usage_error(self, "unknown option %s", option);
  }
  if (words.has_value()) return usage_error(self, "%s takes no value", option);
  (is(option, "--stdio") ? out.stdio : out.give_back) = true;
  return std::nullopt;
}

// KEY and options in any order; CMD begins after "--" or with the second argument.
std::optional<int> parse(const Command& self, Globals& globals, Words& words, ExecOptions& out) {
  while (words.more()) {
    if (words.end_of_options()) break;
    const char* option = words.option();
    if (option == nullptr) {
      if (out.key != nullptr) break;
      out.key = words.next();
      continue;
    }
    int exit_code = 0;
    const Taken taken = take_common(self, option, globals, words, exit_code);
    if (taken == Taken::over) return exit_code;
    if (taken == Taken::yes) continue;
    if (const auto wrong = take_option(self, option, words, out)) return wrong;
  }
  if (out.key == nullptr) return usage_error(self, "which KEY?");
  if (!words.more()) return usage_error(self, "which CMD?");
  if (out.stdio && out.fd_given) return usage_error(self, "either --fd or --stdio");
  out.cmd = words.rest();
  return std::nullopt;
}

// Makes `fd` appear as `number`, for the program to come. 0 or an errno.
int put_at(int fd, int number) {
  if (fd == number) return ::fcntl(fd, F_SETFD, 0) < 0 ? errno : 0;
  return ::dup2(fd, number) < 0 ? errno : 0;
}

int place(int fd, const ExecOptions& options) {
  if (!options.stdio) return put_at(fd, options.fd);
  const int error = put_at(fd, STDOUT_FILENO);
  return error != 0 ? error : put_at(fd, STDIN_FILENO);
}

int set_environment(const ExecOptions& options) {
  if (options.env == nullptr) return 0;
  const std::string number = std::to_string(options.stdio ? STDIN_FILENO : options.fd);
  return ::setenv(options.env, number.c_str(), 1) != 0 ? errno : 0;
}

// Becomes CMD. Gives an exit code if that fails.
int become(const Program& program, int fd, const ExecOptions& options) {
  int error = place(fd, options);
  if (error == 0) error = set_environment(options);
  if (error != 0) return fail("cannot hand the connection over", error);
  return program.become();
}

int run_and_return(berth_session* session, berth_grant& grant, const Program& program,
                   const ExecOptions& options) {
  Child child;
  if (!child.fork()) return fail("cannot fork", errno);
  if (child.is_child()) ::_exit(become(program, grant.fd, options));
  const int status = child.wait();
  const berth_outcome outcome = exited_with_0(status) ? BERTH_REUSE : BERTH_DISCARD;
  if (berth_release(session, &grant, outcome) < 0) fail();  // CMD's result counts, not this
  return exit_as(status);
}

}  // namespace

int run_exec(const Command& self, Globals globals, Words words) {
  ExecOptions options;
  if (const auto over = parse(self, globals, words, options)) return *over;
  const std::optional<Program> program = Program::find(options.cmd);
  if (!program) return cannot_run(options.cmd[0], errno);
  const SessionPtr session = open_session(globals, program->session_name("exec").c_str());
  if (session == nullptr) return fail();
  berth_grant grant;
  if (!lease(session.get(), options.key, options.timeout_ms, grant)) return fail();
  if (grant.fd < 0) return only_a_slot(self, options.key);
  if (options.give_back) return run_and_return(session.get(), grant, *program, options);
  const int lowest = std::max(options.fd + 1, kOutOfTheWay);
  if (const int error = keep_session_open(session.get(), lowest, options.fd); error != 0) {
    return fail("cannot keep the session open", error);
  }
  return become(*program, grant.fd, options);
}

}  // namespace berth::cli
