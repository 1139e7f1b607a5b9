// IdleWatch: notices that a server closes, or speaks on, an idle connection.
//
// A connection is watched only once it has been idle for half a second to a second, so that one
// which is leased again soon costs no system call; until then the check before each grant guards
// it. The timer runs only while there is something to arm.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "base/ids.h"
#include "broker/upstreams.h"
#include "loop/loop.h"
#include "loop/timer.h"
#include "loop/watch_set.h"

namespace berth::broker {

class IdleWatch {
 public:
  // `idle_since` says whether and since when a connection is idle; `stirred` is told of one that
  // is closed by its server, or can be read.
  using IdleSince = std::function<std::optional<TimePoint>(ConnectionId)>;
  IdleWatch(loop::Loop& loop, Upstreams& upstreams, IdleSince idle_since,
            std::function<void(ConnectionId)> stirred);

  // It went idle. Watched within a second, if it is idle then.
  void add(ConnectionId id);
  // It is leased or about to be closed.
  void remove(Upstream& upstream);

 private:
  void look();
  // Whether to look at it again.
  bool look_at(ConnectionId id);

  loop::Loop& loop_;
  Upstreams& upstreams_;
  IdleSince idle_since_;
  std::vector<ConnectionId> pending_;
  loop::WatchSet watch_;
  loop::Timer timer_;
};

}  // namespace berth::broker
