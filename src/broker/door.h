// Door: one listening socket: accepts connections as far as the fd budget allows, else stops
// polling.
//
// Loop thread only. Never fails accept in a loop, never spins: without slots, those who connect
// stay in the kernel's backlog.
#pragma once

#include <cstdint>
#include <functional>

#include "base/unique_fd.h"
#include "broker/driver.h"
#include "loop/fd_watch.h"
#include "loop/timer.h"
#include "net/listeners.h"

namespace berth::broker {

class Door {
 public:
  // Each that is admitted comes with `slots` reserved for it.
  using Admit = std::function<void(UniqueFd)>;
  Door(loop::Loop& loop, net::Listener listener, uint32_t slots, PoolDriver& driver, Admit admit);

  // Polls again if slots are to be had; to be called at the end of each turn.
  void reopen();

 private:
  void accept();
  void pause() { watch_.watch({}); }

  loop::Loop& loop_;
  net::Listener listener_;
  const uint32_t slots_;
  PoolDriver& driver_;
  Admit admit_;
  bool short_of_slots_ = false;
  loop::Timer retry_;
  loop::FdWatch watch_;
};

}  // namespace berth::broker
