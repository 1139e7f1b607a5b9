// FdWatch: tells when a descriptor can be read or written (level-triggered; uv_poll). Sets
// O_NONBLOCK on it, so pooled sockets are watched by a WatchSet instead.
#pragma once

#include <functional>
#include <memory>

#include "loop/loop.h"

namespace berth::loop {

struct Ready {
  bool readable = false;
  bool writable = false;
};

class FdWatch {
 public:
  // Borrows `fd`, which must stay open until this ends. At first nothing is watched.
  FdWatch(Loop& loop, int fd, std::function<void(Ready)> callback);
  ~FdWatch();

  // What to tell of; an error or hang-up counts as all that is watched.
  void watch(Ready wanted);

 private:
  struct Impl;

  Ready wanted_;
  std::unique_ptr<Impl> impl_;
};

}  // namespace berth::loop
