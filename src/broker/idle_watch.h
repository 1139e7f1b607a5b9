// IdleWatch: notices that a server closes, or speaks on, an idle connection.
//
// A connection is watched only once it has been idle for up to a second, so that one which is
// leased again at once costs no system call; until then the check before each grant guards it.
// The timer runs only while there is something to arm.
#pragma once

#include <functional>
#include <vector>

#include "base/ids.h"
#include "broker/upstreams.h"
#include "loop/loop.h"
#include "loop/timer.h"
#include "loop/watch_set.h"

namespace berth::broker {

class IdleWatch {
 public:
  // `is_idle` says whether a connection still is; `lost` is told of one that stirred.
  IdleWatch(loop::Loop& loop, Upstreams& upstreams, std::function<bool(ConnectionId)> is_idle,
            std::function<void(ConnectionId)> lost);

  // It went idle. Watched within a second, if it is idle then.
  void add(ConnectionId id);
  // It is leased or about to be closed.
  void remove(Upstream& upstream);

 private:
  void arm_all();

  loop::Loop& loop_;
  Upstreams& upstreams_;
  std::function<bool(ConnectionId)> is_idle_;
  std::vector<ConnectionId> pending_;
  loop::WatchSet watch_;
  loop::Timer timer_;
};

}  // namespace berth::broker
