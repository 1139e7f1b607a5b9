// Loop: the one thread that owns every pooled socket, session, timer and all policy state.
//
// A thin layer over libuv; the only folder that includes uv.h. Everything here belongs to the
// loop's thread, but for the work given to run_on_worker(). Objects borrow their Loop and must end
// before it. A callback may destroy the object that called it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "base/time.h"

struct uv_loop_s;

namespace berth::loop {

class Loop {
 public:
  Loop();
  ~Loop();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  // Runs until stop(), or until nothing is left to wait for.
  void run();
  void stop();

  // The time of this turn, read once when the kernel handed over its events; whole milliseconds.
  TimePoint now() const;

  // Called at the end of each turn, before the loop waits again. One callback for all.
  void at_end_of_turn(std::function<void()> callback);

  // Runs `work` on libuv's thread pool, then `done` on the loop. `work` gets and shares nothing by
  // reference that the loop may change or end meanwhile.
  void run_on_worker(std::function<void()> work, std::function<void()> done);

  // Whether work given to run_on_worker() has not ended yet.
  bool working() const { return working_ > 0; }

  uv_loop_s* raw() { return loop_.get(); }

 private:
  struct Handles;

  bool only_work_is_left() const;

  std::unique_ptr<uv_loop_s> loop_;
  std::unique_ptr<Handles> handles_;
  int working_ = 0;
};

}  // namespace berth::loop
