// Commands: runs the programs of dial_command and login_command, each for one connection.
//
// Loop thread only. At most kMostCommands run at a time, the others wait in the order in which they
// came, which is part of the time that one may take. A program that has passed its connection may
// take a moment to end by itself; else it is killed, and so is one that fails, is late or is
// abandoned.
#pragma once

#include <absl/container/flat_hash_map.h>
#include <absl/status/statusor.h>

#include <array>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <string>

#include "base/command.h"
#include "base/ids.h"
#include "broker/dialer.h"
#include "broker/dialogues.h"
#include "loop/child.h"
#include "loop/fd_watch.h"
#include "loop/timer.h"

namespace berth::broker {

class Commands {
 public:
  // What one is to be run for.
  struct Job {
    Command command;
    std::string key;
    Endpoint endpoint;
    TimePoint until;  // it fails then, once expire() is called
  };
  // Where its descriptors come from (rule 22).
  struct Slots {
    std::function<bool(uint32_t)> could_reserve;
    std::function<bool(uint32_t)> reserve;
    std::function<void(uint32_t)> release;
  };

  // Told once for each that was not abandoned, and never from within dial(), log_in() or abandon().
  Commands(loop::Loop& loop, Slots slots, Dialer::Callback dialed, Dialogues::Callback logged_in);

  // Requires: nothing is run for this connection.
  void dial(ConnectionId id, Job job, SharedOptions options);
  // Borrows the connection's socket.
  void log_in(ConnectionId id, Talk talk, Job job, int fd);
  // No effect if nothing is run for it.
  void abandon(ConnectionId id);
  // To be called before the pools learn how late it is.
  void expire();
  // For the end of the daemon, when nothing is run for any connection: those that leave are killed.
  void kill_leavers();
  // To be called at the end of each turn: those that may, start in the next one.
  void end_turn();

  size_t running() const { return list(State::running).size() + list(State::leaving).size(); }

 private:
  enum class State : uint8_t {
    waiting,  // for its turn, or for slots
    running,
    leaving,  // it has nothing more to tell, and is still to end
  };
  struct Run {
    ConnectionId id;
    Job job;
    TimePoint begun{};
    int socket = -1;             // to log in on; -1: it dials
    Talk talk = Talk::login;     // of the former
    SharedOptions options = {};  // of the latter
    State state = State::waiting;
    TimePoint leave_by = kNever;
    UniqueFd channel = {};  // over which it passes a connection
    std::unique_ptr<loop::FdWatch> watch = nullptr;
    std::unique_ptr<loop::Child> child = nullptr;

    bool dials() const { return socket < 0; }
  };
  using Runs = std::list<Run>;
  using Place = Runs::iterator;

  Runs& list(State state) { return runs_[static_cast<size_t>(state)]; }
  const Runs& list(State state) const { return runs_[static_cast<size_t>(state)]; }
  void add(Run run);
  void move_to(Place run, State state);
  bool may_start() const;
  void start_some();
  void start(Place run);
  absl::Status launch(Place run);
  void receive(Place run);
  void ended(Place run, loop::Child::End end);
  void logged_in(Place run);
  void fail(Place run, const std::string& what);
  void fail_late(Place run);
  void leave(Place run, TimePoint leave_by);
  void kill_late_leavers();

  loop::Loop& loop_;
  Slots slots_;
  Dialer::Callback dialed_;
  Dialogues::Callback logged_in_;
  std::array<Runs, 3> runs_;                        // by their states
  absl::flat_hash_map<ConnectionId, Place> by_id_;  // but for those that leave
  TimePoint next_end_ = kNever;                     // of any of these, or earlier
  loop::Timer next_turn_;
  loop::Timer leave_timer_;
};

}  // namespace berth::broker
