// A handshake with a proxy, driven by a test.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <variant>

#include "wire/proxy_handshake.h"

namespace berth::wire {

inline std::shared_ptr<const ProxyAccess> access_to(std::string_view url,
                                                    std::string_view password = {}) {
  return std::make_shared<const ProxyAccess>(std::get<Proxy>(parse_proxy(url)),
                                             password.empty() ? Secret() : Secret::of(password));
}

inline std::unique_ptr<Exchange> handshake(const std::shared_ptr<const ProxyAccess>& access,
                                           std::string_view server) {
  return proxy_handshake(access, std::get<Endpoint>(parse_endpoint(server)));
}

// Sends all there is to send, and answers what it was.
inline std::string send_all(Exchange& exchange) {
  std::string all;
  for (const std::string_view piece : exchange.to_send()) all += piece;
  exchange.sent(all.size());
  return all;
}

// What a handshake came to, and which bytes it left.
struct Outcome {
  Exchange::State state;
  std::string why;
  std::string asked;
  std::string left;

  friend bool operator==(const Outcome&, const Outcome&) = default;
};

// The proxy says all of this, in pieces of the sizes that `next_size` answers, and then ends.
inline Outcome outcome(Exchange& exchange, std::string_view said,
                       const std::function<size_t()>& next_size) {
  using State = Exchange::State;
  std::string asked = send_all(exchange);
  size_t seen = 0;
  while (seen < said.size() && exchange.state() == State::expecting) {
    seen = std::min(said.size(), seen + next_size());
    while (seen > 0 && exchange.state() == State::expecting) {
      const size_t taken = exchange.feed(said.substr(0, seen));
      said.remove_prefix(taken);
      seen -= taken;
      asked += send_all(exchange);
    }
  }
  exchange.end();
  return {exchange.state(), exchange.why(), asked, std::string(said)};
}

inline Outcome outcome(const std::shared_ptr<const ProxyAccess>& access, std::string_view server,
                       std::string_view said, size_t piece = 4096) {
  return outcome(*handshake(access, server), said, [piece] { return piece; });
}

}  // namespace berth::wire
