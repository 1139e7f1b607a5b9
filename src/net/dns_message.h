// What berth reads by itself of a DNS message (RFC 1035, section 4).
//
// Pure; any bytes may come in.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "base/time.h"

namespace berth::net {

// How long what it answers may be kept: the least TTL of its answers. Nothing if there are none, or
// if it is cut short.
std::optional<Duration> least_ttl(std::span<const uint8_t> message);

}  // namespace berth::net
