// Name resolution as the system does it (nsswitch counts), and what any resolver must know of this
// host.
#pragma once

#include "base/endpoint.h"
#include "net/answer.h"

namespace berth::net {

// For a worker thread: getaddrinfo(3) blocks for as long as the resolver takes. Thread-safe.
//
// One target, in the resolver's order (RFC 6724), without repeats. A literal or a Unix endpoint
// resolves to itself. Families without a configured address on this host are left out
// (AI_ADDRCONFIG), unless nothing would remain. It knows no services.
Answer resolve_blocking(const Endpoint& endpoint);

// Whether this host has a route to the address. Sends nothing and does not block.
bool has_route(const SocketAddress& address);

}  // namespace berth::net
