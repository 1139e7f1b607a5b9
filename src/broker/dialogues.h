// Dialogues: talks with servers, and proxies before them, on sockets that nobody holds at the time.
//
// Loop thread only. Borrows each stream for as long as its dialogue lasts. What an exchange
// computes is computed on a worker thread; the stream is left alone meanwhile.
#pragma once

#include <absl/container/flat_hash_map.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/ids.h"
#include "loop/loop.h"
#include "loop/timer.h"
#include "loop/watch_set.h"
#include "net/tls_stream.h"
#include "wire/exchange.h"
#include "wire/step_run.h"

namespace berth::broker {

// Which setting it is about.
enum class Talk : uint8_t { proxy, tls, greeting, login, reset, relogin, check };
const char* name_of(Talk talk);

// What a new connection goes through before it is ready. One that does not concern it is left out:
// a proxy that it does not need, steps that there are none of.
struct Stage {
  Talk talk;
  std::shared_ptr<const wire::StepProgram> program = nullptr;  // of steps
};

class Dialogues {
 public:
  // Told once for each dialogue that was not abandoned, perhaps from within begin(): why it failed,
  // or "".
  using Callback = std::function<void(ConnectionId, Talk, const std::string& why)>;
  // For the descriptor with which a worker sends, where the stream is contended.
  struct Slot {
    std::function<bool()> reserve;
    std::function<void()> release;
  };
  Dialogues(loop::Loop& loop, Callback callback, Slot slot);

  // Requires: this connection is in no dialogue. It fails at `until`, once expire() is called, and
  // earlier if a part of the exchange has a timeout of its own.
  // One that does not take all (wire/exchange.h) is held on the bare socket.
  void begin(ConnectionId id, Talk talk, net::Stream stream,
             std::shared_ptr<wire::Exchange> exchange, TimePoint until);
  // No effect if there is none.
  void abandon(ConnectionId id);
  // To be called before the pools learn how late it is.
  void expire();

 private:
  struct Dialogue {
    ConnectionId id;
    Talk talk;
    net::Stream stream;
    std::shared_ptr<wire::Exchange> exchange;  // a worker's while it has it
    TimePoint begun;
    TimePoint until;
    size_t part = SIZE_MAX;  // that is under way
    TimePoint part_until = kNever;
    uint32_t watched = 0;  // epoll events
    enum class Worker : uint8_t { none, computes, sends } worker = Worker::none;
    bool full = false;  // a contended socket took no more

    // Neither does it want to say more, nor is something of it kept.
    bool wants_to_send() const;
  };

  void ready(ConnectionId id, uint32_t events);
  void receive(Dialogue& dialogue);
  static void receive_through_tls(Dialogue& dialogue);
  void advance(ConnectionId id);
  void compute(Dialogue& dialogue);
  void send_elsewhere(Dialogue& dialogue);
  void give_to_worker(Dialogue& dialogue, Dialogue::Worker worker, std::function<void()> work,
                      std::function<void(Dialogue&)> done);
  void send(Dialogue& dialogue);
  void time_part(Dialogue& dialogue);
  bool watch(Dialogue& dialogue);
  void stop_watching(Dialogue& dialogue);
  void fail_late(Dialogue& dialogue);
  void finish(ConnectionId id, const std::string& why);
  void forget(ConnectionId id);

  loop::Loop& loop_;
  Callback callback_;
  Slot slot_;
  std::shared_ptr<const bool> alive_ = std::make_shared<const bool>(true);
  absl::flat_hash_map<ConnectionId, std::shared_ptr<Dialogue>> dialogues_;
  TimePoint next_part_end_ = kNever;  // or earlier
  loop::Timer timer_;
  loop::WatchSet watch_;
};

}  // namespace berth::broker
