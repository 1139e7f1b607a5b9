// The settings of one channel pool, validated. Policy reads them; it never parses them.
// berthd.toml(5) documents each under the name it has here.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/endpoint.h"
#include "base/time.h"
#include "channel/grpc_code.h"

namespace berth::channel {

using namespace std::chrono_literals;

// Which address carries the next stream (DESIGN section 8, point 2).
enum class Balance : uint8_t {
  round_robin,    // each in turn
  least_streams,  // the one with the fewest
  failover,       // the first that works, in the order of endpoints and of their addresses
};

// Streams that are carried once more though the server may have seen them (point 5).
struct Retry {
  uint32_t attempts = 1;     // the first call counts; at least 1
  GrpcCodes codes = 0;       // that are worth another attempt
  Duration backoff = 100ms;  // before the second attempt; doubles, ± 20 %
};

struct ChannelPolicy {
  std::string key;
  std::vector<Endpoint> endpoints;  // at least one, at most kMaxEndpoints; no two are equal
  Balance balance = Balance::round_robin;
  uint32_t max_channels = 4;             // to one address, at least 1
  uint32_t max_streams_per_channel = 0;  // 0: what the server allows
  uint32_t max_waiters = 10'000;         // streams that wait for their first channel
  Duration acquire_timeout = 5s;         // a stream waits no longer than that at a time
  Duration dial_timeout = 5s;
  bool fail_fast = true;             // without an upstream nobody waits
  Duration max_lifetime = 30min;     // each channel's own up to 25 % shorter; 0 never ends
  Duration drain_timeout = 30s;      // for the streams of a channel that is to close
  Duration keepalive_time = 5min;    // without a sign of life, then a PING; 0 never
  Duration keepalive_timeout = 20s;  // for the answer to that
  Duration idle_timeout = 10min;     // without clients and streams; 0 never
  Duration dns_refresh = 30s;        // 0 never
  Retry retry;
  bool health = false;  // a channel is ready only while its server says that it serves
};

}  // namespace berth::channel
