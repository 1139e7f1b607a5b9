// Mailbox: how other threads reach the loop: they post tasks, the loop's thread runs them, in the
// order of posting.
//
// Bounded: when `capacity` tasks wait, the next is refused and its poster tells whoever asked. A
// task that was taken runs exactly once, so that a poster may wait for what comes of it. Few of
// them run in one turn of the loop, so that they starve nobody.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>

#include "loop/loop.h"

namespace berth::loop {

enum class Posted {
  yes,
  full,    // too many wait: try again later
  closed,  // the loop takes no more
};

class Mailbox {
 public:
  // Does not keep the loop running by itself.
  Mailbox(Loop& loop, size_t capacity);
  // Closes. Requires: no thread is in post(), nor will be.
  ~Mailbox();

  // Any thread. Moves from `task` only if it is taken.
  [[nodiscard]] Posted post(std::function<void()>&& task);

  // Loop thread, and no task: runs what has been taken, and refuses what comes from now on.
  void close();

 private:
  struct Impl;

  std::unique_ptr<Impl> impl_;
};

}  // namespace berth::loop
