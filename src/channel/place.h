// Place: one address of an endpoint, as a look-up has found it.
#pragma once

#include <cstdint>
#include <string>

namespace berth::channel {

struct Place {
  std::string address;
  // Of a service (RFC 2782): those with a higher number are there for when none with a lower one
  // works. Else 0.
  uint16_t priority = 0;
};

}  // namespace berth::channel
