// Farewells: says close_notify on sockets under kernel TLS that others hold, or may hold, and
// closes them.
//
// Loop thread only. On a worker, one at a time, because the kernel has whoever sends wait for those
// who are within a send(2) on the same socket (net/ktls.h).
#pragma once

#include <absl/status/status.h>

#include <deque>
#include <functional>
#include <memory>

#include "base/time.h"
#include "base/unique_fd.h"
#include "loop/loop.h"
#include "loop/timer.h"

namespace berth::broker {

class Farewells {
 public:
  // That wait: as many as a pool may close at once. Each is said in microseconds.
  static constexpr size_t kMost = 1024;
  // For one of them, on a host with more to compute than it can. Then its socket is shut down
  // without a word, and so are those that wait behind it.
  static constexpr Duration kPatience = std::chrono::seconds(1);

  // `closed` is called once for each socket, with how its close went.
  Farewells(loop::Loop& loop, std::function<void(const absl::Status&)> closed);
  // Ends what waits without a word.
  ~Farewells();

  // Takes the socket over. False, and leaves it, if too many wait.
  bool say(UniqueFd& fd);
  // Nothing waits, nor is under way.
  bool idle() const { return current_ == nullptr; }

 private:
  void next();
  void said();
  void hurry();
  void close(UniqueFd fd);

  loop::Loop& loop_;
  std::function<void(const absl::Status&)> closed_;
  loop::Timer patience_;
  std::deque<UniqueFd> waiting_;
  std::shared_ptr<UniqueFd> current_;  // the worker's too
  std::shared_ptr<const bool> alive_ = std::make_shared<const bool>(true);
};

}  // namespace berth::broker
