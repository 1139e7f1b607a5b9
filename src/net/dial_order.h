// In which order the addresses of one answer are dialled.
//
// Pure: what comes of chance and of earlier dials is handed in.
#pragma once

#include <cstdint>
#include <vector>

#include "base/random.h"
#include "net/answer.h"

namespace berth::net {

// Families in turn, beginning with that of the first address (RFC 8305, section 4). Within a family
// it is the resolver's order, begun `turn` places later and going round, so that with a turn more
// at each dial all addresses of a family come first equally often; 0 leaves it as it is.
std::vector<SocketAddress> family_order(const std::vector<SocketAddress>& addresses, uint64_t turn);

// An address of a target.
struct Place {
  SocketAddress address;
  uint16_t priority = 0;  // the target's
};

// The same for all targets, one after another, by priority and weight.
std::vector<Place> dial_order(const std::vector<Target>& targets, uint64_t turn, Random& random);

// Whether both name the same addresses, each once, in whatever order.
bool same_addresses(const Answer& a, const Answer& b);
bool has_address(const Answer& answer, const SocketAddress& address);

}  // namespace berth::net
