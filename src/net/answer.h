// Answer: what a resolver says of one name.
//
// A value; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/time.h"
#include "net/address.h"

namespace berth::net {

// Addresses of one answer: more than a name server sensibly gives for one name, few enough to try
// in turn.
inline constexpr size_t kMaxResolvedAddresses = 64;

// A host's addresses, in the resolver's order. Of several, which a service may have, the lowest
// priority comes first, and among equals each as often as its weight says (RFC 2782).
struct Target {
  uint16_t priority = 0;
  uint16_t weight = 0;
  std::vector<SocketAddress> addresses;
};

struct Answer {
  std::vector<Target> targets;  // each has an address
  // Whether these are all that the name has: it has no more than kMaxResolvedAddresses, and no
  // name server has failed to tell of some.
  bool complete = true;
  Duration ttl = Duration::max();  // how long it may be kept
  std::string error;               // empty if and only if there is an address

  bool good() const { return error.empty(); }
};

}  // namespace berth::net
