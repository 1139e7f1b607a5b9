// ListenSockets: the sockets at which programs connect to a pool as they would to its server.
//
// Loop thread only. Each holds a slot of the fd budget.
#pragma once

#include <absl/status/statusor.h>

#include <memory>
#include <vector>

#include "base/endpoint.h"
#include "broker/door.h"
#include "broker/local_clients.h"
#include "net/listeners.h"
#include "pool/policy.h"

namespace berth::broker {

class ListenSockets {
 public:
  using Policies = std::vector<pool::PoolPolicy>;

  // Borrows them.
  ListenSockets(loop::Loop& loop, PoolDriver& driver, LocalClients& clients)
      : loop_(loop), driver_(driver), clients_(clients) {}

  // Those that pools ask for and that are not open yet. On an error all is as it was.
  struct Fresh {
    Endpoint endpoint;
    net::Listener listener;
  };
  absl::StatusOr<std::vector<Fresh>> prepare(net::Listeners& listeners, const Policies& pools);
  // Closes what no pool asks for any more, and takes over the rest; they are numbered from
  // `next_number` on.
  void adopt(std::vector<Fresh> fresh, const Policies& pools, uint32_t& next_number);

  // Polls again where slots are to be had; to be called at the end of each turn.
  void reopen();
  void close_all();

 private:
  struct Open {
    Endpoint endpoint;
    uint32_t mode;
    std::shared_ptr<ListenPoint> point;
    std::unique_ptr<Door> door;
  };

  absl::StatusOr<net::Listener> open(net::Listeners& listeners, const pool::PoolPolicy& policy,
                                     size_t place);
  bool is_open(const Endpoint& endpoint) const;
  static void give(Open& open, const pool::PoolPolicy& policy);
  void add(Fresh fresh, const pool::PoolPolicy& policy, uint32_t number);

  loop::Loop& loop_;
  PoolDriver& driver_;
  LocalClients& clients_;
  std::vector<Open> open_;
};

}  // namespace berth::broker
