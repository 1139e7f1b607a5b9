// Endpoint: one upstream address as a user writes it, parsed and normalised.
//
//   tcp://HOST:PORT      HOST a name, an IPv4 address or an IPv6 address in brackets
//   tcp://_SERVICE._PROTO.DOMAIN    what the name servers say of it (SRV, RFC 2782)
//   tls://…              the same two, spoken to through TLS from the first byte on
//   grpc://…, grpcs://…  likewise, in HTTP/2: what a channel pool dials
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
  std::string host;     // tcp: lower case, without brackets
  uint16_t port = 0;    // tcp: 1 to 65535; 0 of a service, which brings its own
  std::string path;     // unix_*: the path, or the abstract name without '@'
  bool secure = false;  // tcp: tls:// or grpcs://
  bool grpc = false;    // tcp: grpc:// or grpcs://

  // Its hosts and ports stand in SRV records.
  bool is_service() const { return kind == Kind::tcp && port == 0; }

  // Of tcp: HOST:PORT, or the service.
  std::string address() const;

  // Of tcp: for whom a certificate must be. Of a service that is its domain, which the user wrote,
  // and none of the hosts that name servers say (RFC 6125, section 6.2.1).
  std::string certificate_name() const;

  // The normal form: scheme and host in lower case, the port explicit (but for a service), nothing
  // after it.
  std::string url() const;

  friend bool operator==(const Endpoint&, const Endpoint&) = default;
};

// Either the endpoint, or what is wrong with `text` and what would be right, for its writer.
std::variant<Endpoint, std::string> parse_endpoint(std::string_view text);

}  // namespace berth
