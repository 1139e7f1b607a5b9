// Relays: carries bytes for the leases whose holders do not have the server's socket itself.
//
// Loop thread only. Each turn reads at most kMaxRelayedBytes from a socket, kPipeBytes if they are
// spliced, and epoll tells of those that are ready in turn, so that one bulk transfer delays
// neither leases nor other relays.
#pragma once

#include <absl/container/flat_hash_map.h>

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>

#include "base/ids.h"
#include "base/unique_fd.h"
#include "loop/loop.h"
#include "loop/watch_set.h"
#include "net/relay.h"

namespace berth::broker {

class Relays final : private net::PipeLender {
 public:
  // Told once for each: nobody holds the program's end any more, or both have said their last; or
  // berthd cannot carry it on. Perhaps from within begin().
  using Gone = std::function<void(ConnectionId)>;
  // `reserve`: slots of the fd budget, for pipes.
  Relays(loop::Loop& loop, Gone gone, std::function<bool(uint32_t)> reserve);

  // What a program's end of stream means where a half-close cannot be told from the end.
  enum class OnEnd { half_close, gone };

  // Borrows `server` until the relay ends. Requires: the connection has no relay.
  void begin(ConnectionId id, UniqueFd program, net::Stream server, OnEnd on_end);

  enum class Drained {
    clean,    // there is no relay (any more): all that the program said was sent on
    pending,  // not yet: ask again
    dirty,    // likewise ended, but the program has not read all, or not all could be sent on
  };
  // It was given back: takes nothing more from the program, sends on what it has said.
  Drained drain(ConnectionId id);
  // What is drained is dirty in any case.
  void spoil(ConnectionId id);

  // Ends it, once what the program has said is sent on as far as the server takes it at once.
  void end(ConnectionId id);

  // The slots that have come free since the last call: of programs' ends, one each, and of pipes.
  uint32_t take_freed_slots() { return std::exchange(freed_slots_, 0); }

  bool carries(ConnectionId id) const { return by_id_.contains(id); }

 private:
  using Side = net::Relay::Side;
  struct Carried {
    ConnectionId id;
    uint64_t number;  // of its watches; never reused
    UniqueFd program;
    int server;
    OnEnd on_end;
    net::Relay relay;
    std::array<uint32_t, 2> watched = {};  // epoll events, by side; 0: not in the set
    bool given_back = false;
    bool spoiled = false;

    int fd(Side side) const { return side == Side::program ? program.get() : server; }
  };

  net::Pipe borrow() override;
  void give_back(net::Pipe pipe) override;
  void ready(uint64_t tag, uint32_t events);
  static bool program_gone(const Carried& carried);
  static void pass_on_ends(Carried& carried);
  bool watch(Carried& carried);
  bool watch(Carried& carried, Side side, uint32_t events);
  void stop_watching(Carried& carried);
  void give_up(Carried& carried);
  Carried* find(ConnectionId id) const;
  void forget(ConnectionId id);

  Gone gone_;
  std::function<bool(uint32_t)> reserve_;
  uint32_t freed_slots_ = 0;
  std::unique_ptr<net::Relay::Scratch> scratch_ = std::make_unique<net::Relay::Scratch>();
  absl::flat_hash_map<ConnectionId, std::unique_ptr<Carried>> by_id_;
  absl::flat_hash_map<uint64_t, Carried*> by_number_;
  uint64_t numbers_ = 0;
  loop::WatchSet watch_;
};

}  // namespace berth::broker
