// Door: one lease socket: accepts connections as far as the fd budget allows, else stops polling.
//
// Loop thread only. Never fails accept in a loop, never spins: without slots, those who connect
// stay in the kernel's backlog.
#pragma once

#include <string>

#include "base/unique_fd.h"
#include "broker/driver.h"
#include "broker/sessions.h"
#include "loop/fd_watch.h"
#include "loop/timer.h"
#include "net/listen.h"

namespace berth::broker {

class Door {
 public:
  // Takes over a listening socket; unlinks `path` in the end, unless it is another's by then.
  Door(loop::Loop& loop, UniqueFd listener, std::string path, uint32_t number, PoolDriver& driver,
       Sessions& sessions);
  ~Door();

  // Polls again if slots are to be had; to be called at the end of each turn.
  void reopen();

 private:
  void accept();
  void pause() { watch_.watch({}); }

  loop::Loop& loop_;
  UniqueFd listener_;
  std::string path_;
  net::FileIdentity file_;
  uint32_t number_;
  PoolDriver& driver_;
  Sessions& sessions_;
  bool short_of_slots_ = false;
  loop::Timer retry_;
  loop::FdWatch watch_;
};

}  // namespace berth::broker
