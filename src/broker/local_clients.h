// LocalClients: programs that connect to a pool's listen sockets as they would to the server
// itself.
//
// Loop thread only. Each is a session of the pools, and what it asks for is one carried lease. It
// holds one slot of the fd budget, for its socket. Its end of stream gives the connection back: for
// reuse where the pool has reset, which makes it as new; else to be closed.
#pragma once

#include <absl/container/flat_hash_map.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "broker/admission.h"
#include "broker/denials.h"
#include "broker/driver.h"
#include "loop/loop.h"
#include "loop/watch_set.h"

namespace berth::broker {

// By which listen socket one came.
struct ListenPoint {
  std::string key;
  std::string address;  // for people
  bool tcp = false;     // nobody says who he is there
  uint32_t number = 0;  // among all sockets that programs reach, lease sockets included
};

class LocalClients {
 public:
  static constexpr uint32_t kSlots = 1;

  // Borrows them.
  LocalClients(loop::Loop& loop, PoolDriver& driver, Admission& admission, uint64_t own_netns);
  ~LocalClients();

  // Takes over an accepted connection and its slot. One that is not admitted is closed.
  void admit(UniqueFd fd, const ListenPoint& point);
  // Ends what is over; to be called at the end of each turn.
  void reap();
  void end_all();
  // False: there is no such session.
  bool kill(SessionId id);

  using Visit = std::function<void(uint64_t number, SessionId id, const std::string& address)>;
  void for_each(const Visit& visit) const;

 private:
  class Client;

  absl::StatusOr<pool::SessionInfo> identify(int fd, const ListenPoint& point) const;
  void ready(uint64_t number, uint32_t events);
  void note(const pool::SessionInfo& who, const ListenPoint& point, std::string_view why);

  loop::Loop& loop_;
  PoolDriver& driver_;
  Admission& admission_;
  const uint64_t own_netns_;
  Denials denials_;
  absl::flat_hash_map<uint64_t, std::unique_ptr<Client>> clients_;
  std::vector<uint64_t> over_;
  loop::WatchSet watch_;
};

}  // namespace berth::broker
