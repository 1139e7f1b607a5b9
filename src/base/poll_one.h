// poll_one: poll(2) of one descriptor that no signal passes for an answer. Even a call that waits
// for nothing fails with EINTR when a signal comes, and berthd gets one for each child that ends.
//
// Any thread.
#pragma once

#include <poll.h>

#include <cerrno>

#include "base/check.h"

namespace berth {

// What there is of `events`, and POLLERR, POLLHUP and POLLNVAL, unasked; 0: nothing, for so long.
// Each signal begins the time anew.
inline short poll_one(int fd, short events, int timeout_ms = 0) {
  pollfd watch{fd, events, 0};
  int ready = 0;
  do {
    ready = ::poll(&watch, 1, timeout_ms);
  } while (ready < 0 && errno == EINTR);
  BERTH_CHECK(ready >= 0, "one descriptor can be polled");
  return watch.revents;
}

}  // namespace berth
