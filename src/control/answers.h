// Answers: a thread that sends on what the loop has found out, so that the loop does not pay for
// encoding and writing it.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

namespace berth::control {

class Answers {
 public:
  Answers();
  // Runs what was added, then ends.
  ~Answers();

  // Any thread. Tasks run in the order of adding; their number is bounded by that of the calls.
  void add(std::function<void()> task);

 private:
  void run();

  std::mutex mutex_;
  std::condition_variable added_;
  std::deque<std::function<void()>> tasks_;
  bool ending_ = false;
  std::thread thread_;
};

}  // namespace berth::control
