// Fallback: a program goes on where no berthd is to be asked, and dials its server itself.
//
// Any thread. Waits; names are looked up by getaddrinfo(3).
#pragma once

#include <cstdint>
#include <optional>
#include <variant>

#include "base/endpoint.h"
#include "berth/berth.h"
#include "failure.h"
#include "packet.h"

namespace berth::client {

// tcp://HOST:PORT, unix:///PATH or unix://@NAME.
std::variant<Endpoint, Failure> read_fallback(const char* url);

// What a request comes to without berthd.
struct Fallback {
  Endpoint server;
  std::optional<uint64_t> timeout_ms;  // from the beginning of the call; nothing: as berthd's own
  unsigned count;
  uint64_t id;  // of the grants
};

// All or none. `out` has room for `count` grants, which then own their descriptors.
std::optional<Failure> dial_instead(const Fallback& fallback, Deadline start, berth_grant* out);

// Connections that this process has made so.
uint64_t fallbacks() noexcept;

}  // namespace berth::client
