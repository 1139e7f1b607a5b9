// EndpointPattern: which endpoints may be keys, as an administrator writes it.
//
//   *                        every one, slot: included
//   tcp://HOST:PORT          HOST a name or an address, *.DOMAIN for all names below it, or *;
//                            PORT a number, FIRST-LAST, or *
//   tls://HOST:PORT          likewise; neither of both matches the other
//   unix:///PATH             in which * stands for anything but a slash
//   unix://@NAME             in which * stands for anything
//   slot:                    bare slots
//
// What is compared is the text of the endpoint, not what a name resolves to: a name that means
// 127.0.0.1 does not match tcp://127.0.0.1:*.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>

#include "base/endpoint.h"

namespace berth {

class EndpointPattern {
 public:
  static EndpointPattern every();

  bool matches(const Endpoint& endpoint) const;
  // In normal form; parsing it gives the same.
  std::string text() const;

  friend bool operator==(const EndpointPattern&, const EndpointPattern&) = default;

 private:
  friend std::variant<EndpointPattern, std::string> parse_endpoint_pattern(std::string_view text);

  bool every_ = false;
  Endpoint::Kind kind_ = Endpoint::Kind::slot;
  bool secure_ = false;
  std::string name_;  // tcp: of the host; unix: of the path
  uint16_t first_port_ = 0;
  uint16_t last_port_ = 0;
};

// Or what is wrong with `text`, for its writer.
std::variant<EndpointPattern, std::string> parse_endpoint_pattern(std::string_view text);

}  // namespace berth
