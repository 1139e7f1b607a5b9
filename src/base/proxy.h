// Proxy: a server through which others are reached, as a user writes it, parsed and normalised.
//
//   socks5://[USER@]HOST:PORT    RFC 1928; with a user, RFC 1929
//   http://[USER@]HOST:PORT      CONNECT, RFC 9110; with a user, Basic authentication, RFC 7617
//
// The user's password is no part of it.
#pragma once

#include <string>
#include <string_view>
#include <variant>

#include "base/endpoint.h"

namespace berth {

struct Proxy {
  enum class Kind { socks5, http };

  Kind kind = Kind::socks5;
  Endpoint server;   // tcp
  std::string user;  // at most kMaxProxyUserBytes; empty: it asks for none

  // The normal form. Bytes of the user that a URL cannot have as they are stand as %HH.
  std::string url() const;
  // "proxy http://HOST:PORT": for messages, which need not tell the user.
  std::string name() const;

  friend bool operator==(const Proxy&, const Proxy&) = default;
};

// Either the proxy, or what is wrong with `text` and what would be right, for its writer. That does
// not quote it: it may have a password where none belongs.
std::variant<Proxy, std::string> parse_proxy(std::string_view text);

}  // namespace berth
