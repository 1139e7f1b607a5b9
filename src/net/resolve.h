// Name resolution as the system does it (nsswitch counts).
//
// For a worker thread: getaddrinfo(3) blocks for as long as the resolver takes. Thread-safe.
#pragma once

#include <string>
#include <vector>

#include "base/endpoint.h"
#include "net/address.h"

namespace berth::net {

// More than a name server sensibly gives for one name, few enough to try in turn.
inline constexpr size_t kMaxResolvedAddresses = 64;

struct Resolved {
  std::vector<SocketAddress> addresses;  // in the resolver's order (RFC 6724), without repeats
  std::string error;                     // empty if there is at least one address
};

// A literal or a Unix endpoint resolves to itself. Families without a configured address on this
// host are left out (AI_ADDRCONFIG), unless nothing would remain.
Resolved resolve_blocking(const Endpoint& endpoint);

}  // namespace berth::net
