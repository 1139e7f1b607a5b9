// Timer: one deadline on the loop.
#pragma once

#include <functional>
#include <memory>

#include "base/time.h"
#include "loop/loop.h"

namespace berth::loop {

class Timer {
 public:
  Timer(Loop& loop, std::function<void()> callback);
  ~Timer();

  // Fires once, in the first turn whose now() is not before `when`. Arming anew replaces the old
  // deadline; kNever disarms. Costs nothing if `when` is what it was.
  void arm(TimePoint when);
  bool armed() const { return when_ != kNever; }

 private:
  struct Impl;

  Loop& loop_;
  TimePoint when_ = kNever;
  std::unique_ptr<Impl> impl_;
};

}  // namespace berth::loop
