// Endpoint: one upstream address as a user writes it, parsed and normalised.
//
//   tcp://HOST:PORT      HOST a name, an IPv4 address or an IPv6 address in brackets
//   unix:///PATH         a socket in the file system
//   unix://@NAME         a socket in the abstract namespace
//   slot:                nowhere: a pool of bare slots
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>

namespace berth {

struct Endpoint {
  enum class Kind { tcp, unix_path, unix_abstract, slot };

  Kind kind = Kind::tcp;
  std::string host;   // tcp: lower case, without brackets
  uint16_t port = 0;  // tcp: 1 to 65535
  std::string path;   // unix_*: the path, or the abstract name without '@'

  // The normal form: scheme and host in lower case, the port explicit, nothing after it.
  std::string url() const;

  friend bool operator==(const Endpoint&, const Endpoint&) = default;
};

// Either the endpoint, or what is wrong with `text` and what would be right, for its writer.
std::variant<Endpoint, std::string> parse_endpoint(std::string_view text);

}  // namespace berth
