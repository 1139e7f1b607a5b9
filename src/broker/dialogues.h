// Dialogues: talks with servers, and proxies before them, on sockets that nobody holds at the time.
//
// Loop thread only. Borrows each socket for as long as its dialogue lasts.
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
#include "wire/exchange.h"

namespace berth::broker {

// Which setting it is about.
enum class Talk : uint8_t { proxy, greeting, login, reset, relogin, check };
const char* name_of(Talk talk);

class Dialogues {
 public:
  // Told once for each dialogue that was not abandoned, perhaps from within begin(): why it failed,
  // or "".
  using Callback = std::function<void(ConnectionId, Talk, const std::string& why)>;
  Dialogues(loop::Loop& loop, Callback callback);

  // Requires: this connection is in no dialogue. It fails at `until`, once expire() is called, and
  // earlier if a part of the exchange has a timeout of its own.
  void begin(ConnectionId id, Talk talk, int fd, std::unique_ptr<wire::Exchange> exchange,
             TimePoint until);
  // No effect if there is none.
  void abandon(ConnectionId id);
  // To be called before the pools learn how late it is.
  void expire();

 private:
  struct Dialogue {
    Talk talk;
    int fd;
    std::unique_ptr<wire::Exchange> exchange;
    TimePoint begun;
    TimePoint until;
    size_t part = SIZE_MAX;  // that is under way
    TimePoint part_until = kNever;
    uint32_t watched = 0;  // epoll events
  };

  void ready(ConnectionId id, uint32_t events);
  void receive(Dialogue& dialogue);
  void advance(ConnectionId id);
  void send(Dialogue& dialogue);
  void time_part(Dialogue& dialogue);
  bool watch(ConnectionId id, Dialogue& dialogue);
  void finish(ConnectionId id, const std::string& why);
  void forget(ConnectionId id);

  loop::Loop& loop_;
  Callback callback_;
  absl::flat_hash_map<ConnectionId, Dialogue> dialogues_;
  TimePoint next_part_end_ = kNever;  // or earlier
  loop::Timer timer_;
  loop::WatchSet watch_;
};

}  // namespace berth::broker
