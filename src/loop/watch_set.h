// WatchSet: many descriptors in a private epoll set, nested in the loop by one watch.
//
// Unlike uv_poll it leaves a descriptor's flags alone, which its other holders share, and costs no
// handle for each. Used for pooled sockets and pidfds. Level-triggered.
#pragma once

#include <cstdint>
#include <functional>

#include "base/unique_fd.h"
#include "loop/fd_watch.h"
#include "loop/loop.h"

namespace berth::loop {

class WatchSet {
 public:
  // `callback` gets the tag and the epoll events (epoll_ctl(2)) of a descriptor that is ready. It
  // may add and remove any descriptor; a tag removed in the same turn may still be told once, so
  // tags should never be reused (ids with generations).
  WatchSet(Loop& loop, std::function<void(uint64_t tag, uint32_t events)> callback);

  // Borrows `fd`; it must be removed before it is closed, since other holders may keep its open
  // file description, and with it the watch, alive. False if the kernel refuses
  // (fs.epoll.max_user_watches).
  [[nodiscard]] bool add(int fd, uint32_t events, uint64_t tag);
  // Other events for one that is in the set. False as above.
  [[nodiscard]] bool modify(int fd, uint32_t events, uint64_t tag);
  void remove(int fd);

 private:
  bool control(int operation, int fd, uint32_t events, uint64_t tag);
  void drain();

  std::function<void(uint64_t, uint32_t)> callback_;
  UniqueFd epoll_;
  FdWatch watch_;
};

}  // namespace berth::loop
