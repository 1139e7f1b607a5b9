// Backoff: when an endpoint may be dialled again after it failed (rule 10): 100 ms × 1.6 ± 20 %,
// never more than 10 s.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/random.h"
#include "base/time.h"

namespace berth::pool {

class Backoff {
 public:
  static constexpr Duration kFirst = std::chrono::milliseconds(100);
  static constexpr Duration kMost = std::chrono::seconds(10);
  static constexpr double kFactor = 1.6;
  static constexpr double kJitter = 0.2;

  // A dial that was started at `started` has failed. Dials that ran side by side count once: only
  // one started after the last failure that counted, or after its wait was lifted, makes it longer.
  void fail(TimePoint now, TimePoint started, Random& random) {
    ++failures_;
    if (failures_ > 1 && started <= failed_at_ && !lifted_) return;
    lifted_ = false;
    failed_at_ = now;
    const double jitter = 1 - kJitter + 2 * kJitter * random.unit();
    ready_at_ = after(now, std::chrono::duration_cast<Duration>(wait_ * jitter));
    wait_ = std::min(kLongest, std::chrono::duration_cast<Duration>(wait_ * kFactor));
  }
  void succeed() { *this = Backoff(); }
  // It may be dialled at once; should that fail, the wait is as long as it would have been.
  void lift() {
    lifted_ = failures_ > 0;
    ready_at_ = {};
  }

  // Failures since the last success.
  uint64_t failures() const { return failures_; }
  // The last failure that counted.
  TimePoint failed_at() const { return failed_at_; }
  // No dial before this.
  TimePoint ready_at() const { return ready_at_; }
  bool waits(TimePoint now) const { return failures_ > 0 && now < ready_at_; }

 private:
  static constexpr Duration kLongest = std::chrono::duration_cast<Duration>(kMost / (1 + kJitter));

  uint64_t failures_ = 0;
  Duration wait_ = kFirst;
  TimePoint failed_at_{};
  TimePoint ready_at_{};
  bool lifted_ = false;  // since the last failure
};

}  // namespace berth::pool
