// Dialer: opens connections to endpoints: resolves on a worker, then tries the addresses in turn.
//
// Loop thread only. The time a dial may take is the pool's policy (dial_timeout), which ends it
// with abandon().
#pragma once

#include <absl/container/flat_hash_map.h>
#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/endpoint.h"
#include "base/ids.h"
#include "base/unique_fd.h"
#include "loop/loop.h"
#include "loop/watch_set.h"
#include "net/address.h"
#include "net/dial.h"

namespace berth::broker {

using SharedOptions = std::shared_ptr<const net::DialOptions>;

struct Dialed {
  UniqueFd fd;
  net::SocketAddress peer;
  SharedOptions options;  // that it was dialled with
  bool shared = false;  // another program has, or had, a duplicate
};

class Dialer {
 public:
  // `callback` tells what came of a dial, once each unless it was abandoned; perhaps from within
  // dial(). Its status says which address failed and why.
  using Callback = std::function<void(ConnectionId, absl::StatusOr<Dialed>)>;
  Dialer(loop::Loop& loop, Callback callback);

  void dial(ConnectionId id, const Endpoint& endpoint, SharedOptions options);
  // No effect if the dial has ended.
  void abandon(ConnectionId id);

 private:
  struct Attempt {
    Endpoint endpoint;
    SharedOptions options;
    std::vector<net::SocketAddress> addresses;
    size_t next = 0;  // the address to try next
    UniqueFd fd;      // connecting to addresses[next - 1]
    absl::Status last_error;
  };

  void resolve(ConnectionId id, const Endpoint& endpoint);
  void resolved(ConnectionId id, std::vector<net::SocketAddress> addresses,
                const std::string& error);
  void try_next(ConnectionId id);
  void connected(ConnectionId id);
  void finish(ConnectionId id, absl::StatusOr<Dialed> result);

  loop::Loop& loop_;
  Callback callback_;
  loop::WatchSet watch_;
  absl::flat_hash_map<ConnectionId, Attempt> attempts_;
  // Tells pending work whether the dialer is still there.
  std::shared_ptr<Dialer*> self_;
};

}  // namespace berth::broker
