// The socket options of a pool's dials.
#pragma once

#include <memory>

#include "net/socket_options.h"
#include "pool/policy.h"

namespace berth::broker {

inline std::shared_ptr<const net::DialOptions> dial_options_of(const pool::PoolPolicy& policy,
                                                               bool pin) {
  net::DialOptions options;
  options.keepalive = policy.keepalive;
  options.user_timeout = policy.tcp_user_timeout;
  options.source_address = policy.source_address;
  options.interface = policy.interface;
  options.pin = pin;
  return std::make_shared<const net::DialOptions>(std::move(options));
}

}  // namespace berth::broker
