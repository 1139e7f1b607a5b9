// Command: a program of the administrator's and its arguments, as the settings dial_command and
// login_command name it (berthd.toml(5), "PROGRAMS"). broker/commands.h runs it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/endpoint.h"

namespace berth {

using Command = std::vector<std::string>;  // the program's absolute path, and its arguments

// What "%h" and "%p" stand for: of a Unix socket its path, or '@' and its name, and no port.
std::string host_of(const Endpoint& endpoint);
std::string port_of(const Endpoint& endpoint);

// The first of its percent signs that means nothing, with the character behind it; "" if none.
std::string wrong_percent(std::string_view argument);

// The command for one endpoint: %h, %p and %% in its arguments are replaced, as ssh_config(5) has
// it. Requires: wrong_percent() finds nothing in them.
Command expand(const Command& command, const Endpoint& endpoint);

// Where programs are looked for: PATH, or the usual folders if that is not set.
std::string search_path();

}  // namespace berth
