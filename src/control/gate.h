// Gate: the control socket: accepts connections as far as the fd budget allows, identifies who is
// there, and hands each descriptor to gRPC, which from then on owns it. Of administrators it lets
// in a few more, so that berthd can be controlled when leases have taken all there is.
//
// Loop thread only. The gate keeps a duplicate of each connection and learns from it that either
// side has ended the connection. Its slots come back once gRPC's descriptor is closed too.
#pragma once

#include <absl/container/flat_hash_map.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "broker/driver.h"
#include "control/peers.h"
#include "loop/fd_watch.h"
#include "loop/timer.h"
#include "loop/watch_set.h"
#include "net/listeners.h"

namespace berth::control {

class Gate {
 public:
  // What one connection takes of the fd budget: gRPC's descriptor and our duplicate.
  static constexpr uint32_t kSlots = 2;

  // `adopt` takes over a connected, nonblocking descriptor. Borrows driver and peers. `fd_limit` is
  // the process's limit on descriptors.
  Gate(loop::Loop& loop, net::Listener listener, uint32_t fd_limit, broker::PoolDriver& driver,
       Peers& peers, std::function<void(int fd)> adopt);
  ~Gate();

  size_t connections() const { return connections_.size(); }

 private:
  struct Connection {
    UniqueFd ours;
    int number;  // gRPC's descriptor; kNoNumber once another connection has the number
    uint32_t uid;
    bool has_slots;  // else its descriptors are of fd_reserve
  };

  // Numbers for gRPC's descriptors, given in turn: a call that is late to ask who its peer was does
  // not meet another connection under the same number.
  struct Numbers {
    explicit Numbers(uint32_t fd_limit);
    // A duplicate with the next free one; not valid if there is none.
    UniqueFd duplicate(int fd);

    int first;
    int end;
    int next;
  };

  void accept();
  bool take_slots();
  void give_back(bool has_slots);
  void admit(UniqueFd fd, bool has_slots);
  // "" if one more of this user is welcome.
  std::string refusal_of(uint32_t uid, bool has_slots) const;
  void take_number(int number);
  void ended(uint64_t tag);
  void bury();
  void pause(Duration duration);

  loop::Loop& loop_;
  net::Listener listener_;
  broker::PoolDriver& driver_;
  Peers& peers_;
  std::function<void(int)> adopt_;
  Numbers numbers_;
  uint64_t tags_ = 0;  // never reused, so that a late event misses
  absl::flat_hash_map<uint64_t, Connection> connections_;
  absl::flat_hash_map<uint32_t, size_t> per_user_;
  size_t without_slots_ = 0;
  std::vector<uint64_t> ending_;  // gRPC has still to close them
  loop::WatchSet ends_;
  loop::Timer bury_timer_;
  loop::Timer retry_;
  loop::FdWatch watch_;
};

}  // namespace berth::control
