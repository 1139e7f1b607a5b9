// Time as policy sees it: a point on the loop's monotonic clock, handed in as `now`. Nothing here
// reads a clock.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace berth {

using Duration = std::chrono::nanoseconds;

// A clock without now(): only the loop (or a simulation) makes time points.
struct LoopClock {
  using duration = Duration;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<LoopClock>;
  static constexpr bool is_steady = true;
};
using TimePoint = LoopClock::time_point;

inline constexpr TimePoint kNever = TimePoint::max();

// now + delay that stays at kNever instead of overflowing.
constexpr TimePoint after(TimePoint now, Duration delay) {
  return delay >= kNever - now ? kNever : now + delay;
}

// For people: "250 ms", "5 s", "1.5 s", "31 s", "12 min", "3 h".
std::string format_duration(Duration duration);

}  // namespace berth
