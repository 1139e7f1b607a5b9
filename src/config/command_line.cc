#include "config/command_line.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/limits.h"
#include "config/text.h"

namespace berth::config {
namespace {

constexpr const char* kExample =
    "an array of a program and its arguments, such as [\"nc\", \"-F\", \"%h\", \"%p\"]";

// Why the file cannot be executed by this process; "" if it can.
std::string fault_of(const std::string& path) {
  struct stat file {};
  if (stat(path.c_str(), &file) != 0) return std::strerror(errno);
  if (!S_ISREG(file.st_mode)) return "not a file";
  return faccessat(AT_FDCWD, path.c_str(), X_OK, AT_EACCESS) == 0 ? "" : "not executable";
}

// The first of that name in the folders of PATH; "" if there is none. Relative folders would mean
// another one wherever berthd is started.
std::string find_in_path(const std::string& name) {
  const std::string path = search_path();
  for (size_t begin = 0; begin <= path.size();) {
    const size_t end = std::min(path.find(':', begin), path.size());
    std::string file = path.substr(begin, end - begin) + "/" + name;
    if (file.starts_with('/') && end > begin && fault_of(file).empty()) return file;
    begin = end + 1;
  }
  return {};
}

void read_program(const std::string& text, const Value& value, Reading& reading, Command& command) {
  if (text.starts_with('/')) {
    const std::string fault = fault_of(text);
    if (!fault.empty()) return reading.refuse(value, ": " + shown(text) + ": " + fault);
    return command.push_back(text);
  }
  if (text.empty() || text.find('/') != text.npos) {
    return reading.refuse(value, ": " + shown(text) +
                                     ": the program is an absolute path, or a name that is found "
                                     "in PATH");
  }
  const std::string found = find_in_path(text);
  if (!found.empty()) return command.push_back(found);
  reading.refuse(value, ": " + shown(text) + " is not there, or not executable, in PATH, " +
                            shown(search_path()));
}

void read_word(const Value& value, Reading& reading, Command& command) {
  const auto* text = value.get<std::string>();
  if (text == nullptr) return reading.wrong(value, kExample);
  if (text->size() > kMaxCommandWordBytes) {
    return reading.refuse(
        value, ": a word is longer than " + std::to_string(kMaxCommandWordBytes) + " bytes");
  }
  if (text->find('\0') != text->npos) {
    return reading.refuse(value, ": " + shown(*text) + ": a word has no zero byte");
  }
  if (command.empty()) return read_program(*text, value, reading, command);
  if (const std::string wrong = wrong_percent(*text); !wrong.empty()) {
    return reading.refuse(value, ": " + shown(*text) + ": " + wrong +
                                     " means nothing; %h is the endpoint's host, %p its port, %% "
                                     "a percent sign");
  }
  command.push_back(*text);
}

}  // namespace

std::optional<Command> CommandLine::read(const Value& value, Reading& reading) const {
  const auto* words = value.get<Array>();
  if (words == nullptr) {
    reading.wrong(value, kExample);
    return std::nullopt;
  }
  if (words->size() > kMaxCommandWords) {
    reading.refuse((*words)[kMaxCommandWords],
                   " has more than " + std::to_string(kMaxCommandWords) + " words");
    return std::nullopt;
  }
  Command command;
  for (const Value& word : *words) {
    read_word(word, reading, command);
    if (command.empty()) return std::nullopt;  // without its program, no word is an argument
  }
  return reading.failed() ? std::nullopt : std::optional(std::move(command));
}

std::string CommandLine::write(const Command& command) const {
  std::string out;
  for (const std::string& word : command) {
    out += (out.empty() ? "" : ", ") + toml_string(word);
  }
  return "[" + out + "]";
}

}  // namespace berth::config
