#include "cli/program.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "cli/command.h"

namespace berth::cli {
namespace {

bool is_program(const std::string& path) {
  struct stat kind {};
  if (::stat(path.c_str(), &kind) != 0) return false;
  if (S_ISREG(kind.st_mode) && ::access(path.c_str(), X_OK) == 0) return true;
  errno = EACCES;
  return false;
}

// "" with errno set if it is nowhere.
std::string find_program(const char* cmd) {
  const char* path = ::getenv("PATH");
  if (std::strchr(cmd, '/') != nullptr) return is_program(cmd) ? cmd : "";
  if (path == nullptr) return cmd;  // execvp(3) has its own default
  int error = ENOENT;
  for (const char* begin = path;;) {
    const size_t size = std::strcspn(begin, ":");
    std::string program = size == 0 ? std::string(".") : std::string(begin, size);
    program.append("/").append(cmd);
    if (is_program(program)) return program;
    if (errno == EACCES) error = EACCES;
    if (begin[size] == '\0') break;
    begin += size + 1;
  }
  errno = error;
  return "";
}

}  // namespace

std::optional<Program> Program::find(char** argv) {
  std::string path = find_program(argv[0]);
  if (path.empty()) return std::nullopt;
  return Program(argv, std::move(path));
}

std::string Program::session_name(const char* command) const {
  const char* slash = std::strrchr(argv_[0], '/');
  return std::string("berth ") + command + ' ' + (slash != nullptr ? slash + 1 : argv_[0]);
}

int Program::become() const {
  ::execvp(path_.c_str(), argv_);
  return cannot_run(argv_[0], errno);
}

int cannot_run(const char* cmd, int error) {
  std::fprintf(stderr, "berth: cannot run %s: %s\n", cmd, std::strerror(error));
  return error == ENOENT ? kNotFound : kNotExecutable;
}

int keep_session_open(berth_session* session, int lowest, int taken) {
  const int fd = berth_session_fd(session);
  if (::fcntl(fd, F_DUPFD, lowest) >= 0) return 0;
  // `lowest` is near the limit: any number below it will do.
  const int below = ::fcntl(fd, F_DUPFD, 3);
  return below < 0 ? errno : below == taken ? EMFILE : 0;
}

}  // namespace berth::cli
