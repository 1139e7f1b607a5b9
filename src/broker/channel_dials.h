// ChannelDials: finds the addresses of channel pools' endpoints, and opens channels to them:
// connects, goes through a proxy, shakes hands for TLS with ALPN "h2".
//
// Loop thread only. Each dial has a slot of the fd budget, which goes with what it opened.
#pragma once

#include <absl/container/flat_hash_map.h>
#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/ids.h"
#include "broker/commands.h"
#include "broker/dialer.h"
#include "broker/dialogues.h"
#include "broker/resolver.h"
#include "channel/place.h"
#include "net/tls_stream.h"
#include "pool/policy.h"
#include "wire/proxy_handshake.h"
#include "wire/tls_handshake.h"

namespace berth::broker {

class ChannelDials {
 public:
  // Where descriptors come from (rule 22).
  struct Slots {
    std::function<bool(uint32_t)> could_reserve;
    std::function<bool(uint32_t)> reserve;
    std::function<void(uint32_t)> release;
  };
  struct Opened {
    UniqueFd fd;
    std::unique_ptr<net::TlsStream> tls;  // nullptr: none
  };
  // Told once for each dial that was not abandoned, perhaps from within dial(). What it opened has
  // its slot; after an error the slot is given back.
  using Callback = std::function<void(ConnectionId, absl::StatusOr<Opened>)>;
  // Borrows `resolver`.
  ChannelDials(loop::Loop& loop, Resolver& resolver, Slots slots, Callback callback, bool pin);

  // Dials under way go on as they began.
  void set_pool(PoolId id, const pool::PoolPolicy& policy);
  void remove_pool(PoolId id) { pools_.erase(id); }

  // The addresses of an endpoint, in order, each as dial() takes it; perhaps from within. One that
  // a proxy or a program reaches has its own.
  using Found = std::function<void(absl::StatusOr<std::vector<channel::Place>>)>;
  void resolve(PoolId pool, uint32_t endpoint, Found found);

  void dial(ConnectionId id, PoolId pool, uint32_t endpoint, const std::string& address);
  // No effect if the dial has ended.
  void abandon(ConnectionId id);

  void release_slot() { slots_.release(1); }
  // To be called at the end of each turn.
  void end_turn() { commands_.end_turn(); }

 private:
  struct Pool {
    pool::PoolPolicy policy;
    SharedOptions options;
    SharedOptions unpinned;
    std::shared_ptr<const wire::ProxyAccess> proxy;
    std::shared_ptr<wire::TlsSource> tls;  // nullptr: none
  };
  struct Dial {
    std::shared_ptr<const Pool> pool;
    Endpoint endpoint;
    UniqueFd fd;
    std::shared_ptr<wire::TlsHandshake> handshake;
  };

  void connected(ConnectionId id, absl::StatusOr<Dialed> result);
  void talked(ConnectionId id, Talk talk, const std::string& why);
  void through_proxy(ConnectionId id);
  void start_tls(ConnectionId id);
  void take_tls(ConnectionId id);
  void finish(ConnectionId id, absl::StatusOr<Opened> result);
  static const Proxy* proxy_of(const Dial& dial) {
    return dial.pool->policy.proxy_to(dial.endpoint);
  }

  loop::Loop& loop_;
  Resolver& resolver_;
  Slots slots_;
  Callback callback_;
  const bool pin_;
  Dialer dialer_;
  Dialogues dialogues_;
  Commands commands_;
  absl::flat_hash_map<PoolId, std::shared_ptr<const Pool>> pools_;
  absl::flat_hash_map<ConnectionId, Dial> dials_;
};

}  // namespace berth::broker
