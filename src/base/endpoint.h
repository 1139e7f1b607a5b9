// Endpoint: one upstream address as a user writes it, parsed and normalised.
//
//   tcp://HOST:PORT      HOST a name, an IPv4 address or an IPv6 address in brackets
//   tcp://_SERVICE._PROTO.DOMAIN    what the name servers say of it (SRV, RFC 2782)
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
  uint16_t port = 0;  // tcp: 1 to 65535; 0 of a service, which brings its own
  std::string path;   // unix_*: the path, or the abstract name without '@'

  // Its hosts and ports stand in SRV records.
  bool is_service() const { return kind == Kind::tcp && port == 0; }

  // The normal form: scheme and host in lower case, the port explicit (but for a service), nothing
  // after it.
  std::string url() const;

  friend bool operator==(const Endpoint&, const Endpoint&) = default;
};

// Either the endpoint, or what is wrong with `text` and what would be right, for its writer.
std::variant<Endpoint, std::string> parse_endpoint(std::string_view text);

}  // namespace berth
