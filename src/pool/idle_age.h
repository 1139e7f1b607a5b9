// IdleAge: learns how long one endpoint's server lets a connection be idle before it closes it
// (rule 5), so that it can be closed sooner and no program meets the server's close.
#pragma once

#include <array>
#include <cstddef>

#include "base/time.h"

namespace berth::pool {

class IdleAge {
 public:
  // Which closes tell of a limit: three at about the same age. Those of one moment count once,
  // since a server that restarts closes all at once; young ones do not, since few servers have so
  // short a limit and many die so young.
  static constexpr size_t kEnough = 3;
  static constexpr double kAboutTheSame = 1.1;  // the oldest against the youngest
  static constexpr double kPart = 0.8;
  static constexpr Duration kOneMoment = std::chrono::seconds(1);
  static constexpr Duration kYoungest = std::chrono::seconds(1);

  // The server has closed a connection that was idle for `age`. Returns whether limit() is another
  // now.
  bool closed(TimePoint now, Duration age);

  // 0: nothing is known.
  Duration limit() const { return limit_; }

 private:
  std::array<Duration, kEnough> ages_{};
  size_t count_ = 0;
  TimePoint last_{};
  Duration limit_{};
};

}  // namespace berth::pool
