#include "base/command.h"

#include <algorithm>
#include <cstdlib>

#include "base/check.h"
#include "base/utf8.h"

namespace berth {
namespace {

std::string replaced(std::string_view argument, const Endpoint& endpoint) {
  std::string out;
  for (size_t at = 0; at < argument.size(); ++at) {
    if (argument[at] != '%') {
      out += argument[at];
      continue;
    }
    ++at;
    BERTH_CHECK(at < argument.size(), "the configuration lets no percent sign stand alone");
    switch (argument[at]) {
      case 'h': out += host_of(endpoint); break;
      case 'p': out += port_of(endpoint); break;
      default: out += argument[at];
    }
  }
  return out;
}

}  // namespace

std::string host_of(const Endpoint& endpoint) {
  switch (endpoint.kind) {
    case Endpoint::Kind::tcp: return endpoint.host;
    case Endpoint::Kind::unix_path: return endpoint.path;
    case Endpoint::Kind::unix_abstract: return "@" + endpoint.path;
    case Endpoint::Kind::slot: break;
  }
  return {};
}

std::string port_of(const Endpoint& endpoint) {
  return endpoint.port != 0 ? std::to_string(endpoint.port) : "";
}

std::string wrong_percent(std::string_view argument) {
  for (size_t at = argument.find('%'); at < argument.size(); at = argument.find('%', at + 2)) {
    const std::string_view behind = argument.substr(at + 1);
    if (!behind.empty() && std::string_view("hp%").find(behind.front()) != behind.npos) continue;
    return "%" + std::string(behind.substr(0, utf8_sequence(behind)));
  }
  return {};
}

Command expand(const Command& command, const Endpoint& endpoint) {
  Command out = command;
  if (out.empty()) return out;
  std::transform(out.begin() + 1, out.end(), out.begin() + 1,
                 [&](const std::string& argument) { return replaced(argument, endpoint); });
  return out;
}

std::string search_path() {
  const char* path = std::getenv("PATH");
  return path != nullptr && *path != '\0' ? path : "/usr/local/bin:/usr/bin:/bin";
}

}  // namespace berth
