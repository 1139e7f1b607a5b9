// Forecast: what a lease request would come to now, and why, without making it. What is overdue
// (the timer is late; a batch has collected what is too old by now) is taken as it stands.
#pragma once

#include <cstdint>
#include <optional>

#include "base/ids.h"
#include "pool/actions.h"

namespace berth::pool {

// The step of the order A to G of DESIGN section 5 at which a request for one connection, that may
// wait, ends.
enum class Step : uint8_t {
  refuse,   // A, B; or fail_fast, max_waiters: `refusal`
  grant,    // C: `connection` is idle
  check,    // C: `connection` is idle, and is checked before
  join,     // C, D: a check, reset or dial that is under way, and that nobody before it needs
  dial,     // D: there is room for one more
  replace,  // E: `connection`, which may not go to it, is closed to make room under max_connections
  evict,    // F: `connection`, of whatever pool, is closed for its slot
  wait,     // G: `cause`
};

struct Forecast {
  Step step = Step::wait;
  ConnectionId connection;            // grant, but of a slot; check, replace, evict
  Cause cause = Cause::kUnspecified;  // wait
  std::optional<Refusal> refusal;     // refuse
};

}  // namespace berth::pool
