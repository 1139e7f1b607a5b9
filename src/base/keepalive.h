// Keepalive: when TCP probes a connection on which nothing comes, and when it gives up.
#pragma once

#include "base/time.h"

namespace berth {

// Whole seconds, as the kernel takes them (tcp(7)). The default notices a server that vanished
// without a word within half a minute.
struct Keepalive {
  Duration idle = std::chrono::seconds(15);     // silence before the first probe; 0: no probes
  Duration interval = std::chrono::seconds(5);  // between probes
  int count = 3;                                // probes without an answer that break it

  friend bool operator==(const Keepalive&, const Keepalive&) = default;
};

}  // namespace berth
