// Dialer: opens connections to endpoints: asks for the addresses of names, then tries them, one
// after another and some at a time (RFC 8305).
//
// Loop thread only. The time a dial may take is the pool's policy (dial_timeout), which ends it
// with abandon().
#pragma once

#include <absl/container/btree_set.h>
#include <absl/container/flat_hash_map.h>
#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "base/unique_fd.h"
#include "broker/question.h"
#include "broker/resolver.h"
#include "loop/loop.h"
#include "loop/timer.h"
#include "loop/watch_set.h"
#include "net/address.h"
#include "net/dial.h"

namespace berth::broker {

using SharedOptions = std::shared_ptr<const net::DialOptions>;

struct Dialed {
  UniqueFd fd;
  net::SocketAddress peer;
  SharedOptions options;  // that it was dialled with
  bool shared = false;    // another program has, or had, a duplicate
  std::optional<Question> name = {};  // whose address it is; nothing: it was given as an address
};

class Dialer {
 public:
  // The connection's own slot of the fd budget covers one socket; the dialer reserves one for each
  // that a dial has besides. Without one, an attempt waits for the end of another.
  struct Slots {
    std::function<bool()> reserve;
    std::function<void(uint32_t count)> give_back;
  };
  // `callback` tells what came of a dial, once each unless it was abandoned; perhaps from within
  // dial(). Its status says which addresses failed and why.
  using Callback = std::function<void(ConnectionId, absl::StatusOr<Dialed>)>;
  // Borrows `resolver`.
  Dialer(loop::Loop& loop, Resolver& resolver, Slots slots, Callback callback);

  void dial(ConnectionId id, Question question, SharedOptions options);
  // No effect if the dial has ended.
  void abandon(ConnectionId id);

 private:
  struct Attempt {
    uint64_t tag;
    UniqueFd fd;
    net::SocketAddress address;
  };
  struct Dial {
    Question question;
    bool named;
    SharedOptions options;
    std::vector<net::SocketAddress> addresses;
    size_t next = 0;                // the address to try next
    TimePoint next_at{};            // and when, unless nothing else is tried
    std::vector<Attempt> attempts;  // in the order of their beginning
    uint32_t slots = 0;
    size_t failures = 0;
    std::vector<std::string> errors;  // few of them
    TimePoint due = kNever;           // as it stands in due_
  };

  void resolved(ConnectionId id, Resolver::Found found);
  void advance(ConnectionId id);
  bool make_room(Dial& dial);
  void try_next(ConnectionId id, Dial& dial);
  void give_up_first(Dial& dial);
  static void note_failure(Dial& dial, std::string error);
  static absl::Status failure_of(const Dial& dial);
  void connected(uint64_t tag);
  void plan(ConnectionId id, Dial& dial, TimePoint when);
  void finish(ConnectionId id, absl::StatusOr<Dialed> result);
  std::unique_ptr<Dial> take(ConnectionId id);
  UniqueFd stop_watching(Attempt& attempt);

  loop::Loop& loop_;
  Resolver& resolver_;
  Slots slots_;
  Callback callback_;
  loop::WatchSet watch_;
  absl::flat_hash_map<ConnectionId, std::unique_ptr<Dial>> dials_;
  absl::flat_hash_map<uint64_t, ConnectionId> by_tag_;  // whose attempt it is
  uint64_t last_tag_ = 0;
  absl::btree_set<std::pair<TimePoint, ConnectionId>> due_;  // the next attempts
  loop::Timer timer_;
};

}  // namespace berth::broker
