// What berthd has put between a TCP socket and those who read and write it.
#pragma once

#include <cstdint>

namespace berth::net {

// A lessee's own layer is none of these: a socket that comes back with one is closed.
enum class Layer : uint8_t {
  none,
  kernel_tls,  // net/ktls.h: both directions
};

}  // namespace berth::net
