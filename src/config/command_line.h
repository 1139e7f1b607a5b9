// CommandLine: the kind of the settings dial_command and login_command (berthd.toml(5),
// "PROGRAMS").
#pragma once

#include <optional>
#include <string>

#include "base/command.h"
#include "config/setting.h"

namespace berth::config {

// An array of a program and its arguments; an empty one is none. The program is there and can be
// executed; its name is completed from PATH here.
struct CommandLine {
  std::optional<Command> read(const Value& value, Reading& reading) const;
  std::string write(const Command& command) const;
  std::string bounds() const { return {}; }
};

}  // namespace berth::config
