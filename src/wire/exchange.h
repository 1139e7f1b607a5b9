// Exchange: one dialogue with a server, on bytes. It sees neither a socket nor a clock: it tells
// what to send, takes what came, and ends in done or failed. Loop thread only.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "base/time.h"

namespace berth::wire {

class Exchange {
 public:
  enum class State { sending, expecting, computing, done, failed };

  virtual ~Exchange() = default;

  virtual State state() const = 0;
  // Why it failed, for people. Never a secret.
  virtual const std::string& why() const = 0;

  // The part that is under way, from 0, and how long it may take by a setting of its own; 0: as
  // long as the whole may.
  virtual size_t index() const { return 0; }
  virtual Duration timeout() const { return Duration::zero(); }

  // What takes so long that no loop should wait for it; ends `computing`. Any thread, while nobody
  // else calls anything of it. Blocking.
  virtual void compute() {}

  // What is to be sent next, in pieces. Empty unless sending. Valid until the next call that is
  // not const.
  virtual std::vector<std::string_view> to_send() const = 0;
  // The first `size` of these bytes are on their way.
  virtual void sent(size_t size) = 0;

  // Whether nobody else hears this server meanwhile. If not, what it says after the last byte that
  // the exchange takes is left where it is.
  virtual bool takes_all() const = 0;
  // What the server says. Answers how many of the bytes it takes: each, while it goes on.
  virtual size_t feed(std::string_view bytes) = 0;

  // The server closed the connection, or the time `after` has run out. Neither undoes done.
  virtual void end() = 0;
  virtual void time_out(Duration after) = 0;
};

}  // namespace berth::wire
