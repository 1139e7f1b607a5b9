// The driver's part that carries: leases whose holders do not have the server's socket itself.
#include <sys/socket.h>

#include <utility>

#include "base/log.h"
#include "broker/driver.h"

namespace berth::broker {

void PoolDriver::hand_over_carried(const pool::Grant& grant, Recipient& to) {
  std::vector<Ends> ends;
  if (!make_ends(grant, to, ends)) return to.put_off(grant);
  Fds fds;
  for (const Ends& each : ends) {
    if (each.granted.valid()) fds.push_back(each.granted.get());
  }
  const bool taken = to.take(grant, fds);
  if (!taken) return release_slots(static_cast<uint32_t>(ends.size()));
  // What resets can take a program for gone that may only have said its last.
  const bool resets = !depot_.pool(grant.pool).policy().reset.empty();
  const Relays::OnEnd on_end = resets ? Relays::OnEnd::gone : Relays::OnEnd::half_close;
  for (size_t i = 0; i < ends.size(); ++i) {
    const ConnectionId id = grant.leases[i].connection;
    Upstream& upstream = *upstreams_.find(id);
    upstream.used = true;
    idle_watch_.remove(upstream);
    relays_.begin(id, std::move(ends[i].program), upstream.stream(), on_end);
  }
}

// The slot of its lease is that of our end. A program that has come by itself has brought one more.
void PoolDriver::hand_over_channel(const pool::Grant& grant, Recipient& to) {
  std::vector<Ends> ends;
  if (!make_ends(grant, to, ends)) return to.put_off(grant);
  Fds fds;
  for (const Ends& each : ends) {
    if (each.granted.valid()) fds.push_back(each.granted.get());
  }
  const bool taken = to.take(grant, fds);
  release_slots(static_cast<uint32_t>(ends.size()));
  if (!taken) return;
  const pool::SessionInfo& info = depot_.session(grant.ticket.session)->info;
  for (size_t i = 0; i < ends.size(); ++i) {
    channels_.begin(grant.leases[i].connection, grant.pool, {info.pid, info.uid},
                    std::move(ends[i].program));
  }
}

// False: there is no descriptor for them.
bool PoolDriver::make_ends(const pool::Grant& grant, Recipient& to, std::vector<Ends>& ends) {
  if (UniqueFd own = to.own_end(); own.valid()) {
    ends.push_back({std::move(own), {}});
    return true;
  }
  const auto count = static_cast<uint32_t>(grant.leases.size());
  if (!reserve_slots(count)) return false;
  while (ends.size() < count) {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
      release_slots(count);
      return false;
    }
    ends.push_back({UniqueFd(pair[0]), UniqueFd(pair[1])});
  }
  return true;
}

pool::Condition PoolDriver::end_relay(ConnectionId id) {
  switch (relays_.drain(id)) {
    case Relays::Drained::clean: return pool::Condition::clean;
    case Relays::Drained::pending: return pool::Condition::unsent;
    case Relays::Drained::dirty: break;
  }
  log().info(
      "pool {}: a carried connection came back dirty: its program has not read all, or not "
      "all of what it said could be sent on",
      key_of(id));
  return pool::Condition::dirty;
}

pool::Condition PoolDriver::discard(ConnectionId id) {
  if (!relays_.carries(id)) return pool::Condition::discarded;
  relays_.spoil(id);
  const bool pending = relays_.drain(id) == Relays::Drained::pending;
  return pending ? pool::Condition::unsent : pool::Condition::discarded;
}

void PoolDriver::program_gone(ConnectionId id) {
  const pool::Connection* connection = depot_.connection(id);
  if (connection == nullptr) return;
  const pool::Lease* lease = depot_.lease(connection->lease);
  if (lease == nullptr) return;
  if (Recipient* holder = recipient(lease->session->id)) holder->program_gone(lease->id);
}

}  // namespace berth::broker
