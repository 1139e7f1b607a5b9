// SignalWatch: calls back on the loop when the process gets a signal.
#pragma once

#include <functional>
#include <memory>

#include "loop/loop.h"

namespace berth::loop {

class SignalWatch {
 public:
  SignalWatch(Loop& loop, int signal, std::function<void()> callback);
  ~SignalWatch();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace berth::loop
