// Broker: the daemon's data plane, built from its settings: pools, sessions, lease sockets.
//
// Loop thread only.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "broker/admission.h"
#include "broker/door.h"
#include "broker/driver.h"
#include "broker/keys.h"
#include "broker/listen_sockets.h"
#include "broker/local_clients.h"
#include "broker/sessions.h"
#include "config/settings.h"
#include "loop/loop.h"
#include "net/listeners.h"

namespace berth::broker {

class Broker {
 public:
  // `fd_limit` is the process's limit on descriptors.
  Broker(loop::Loop& loop, const config::Settings& settings, uint32_t fd_limit);

  // Opens the lease sockets and the pools. Says what could not be done and why.
  absl::Status open(net::Listeners& listeners);

  // What a reload has done, by the keys of pools and the names of settings.
  struct Reloaded {
    std::vector<std::string> added;
    std::vector<std::string> changed;  // the renewed ones too
    std::vector<std::string> renewed;
    std::vector<std::string> removed;
    std::vector<std::string> at_restart;  // changed, and without effect until then
  };
  // Takes over new settings (rule 23). On an error nothing has changed.
  absl::StatusOr<Reloaded> reload(const config::Settings& settings);
  // Called after each reload that was taken over.
  void at_reload(std::function<void()> reloaded) { at_reload_ = std::move(reloaded); }

  const config::DaemonSettings& settings() const { return settings_; }

  // Ends gracefully and calls `done`; again: at once.
  void shut_down(Duration timeout, std::function<void()> done);

  PoolDriver& driver() { return driver_; }
  const PoolDriver& driver() const { return driver_; }
  Sessions& sessions() { return sessions_; }
  const Sessions& sessions() const { return sessions_; }
  const LocalClients& local_clients() const { return local_clients_; }
  const Keys& keys() const { return keys_; }
  // Ends a session of either kind. False: there is none.
  bool kill(SessionId id, const std::string& message);

 private:
  using Policies = std::vector<pool::PoolPolicy>;

  absl::Status check(const Policies& pools) const;
  absl::Status check_slots(const Policies& pools) const;
  absl::Status check_pins(const Policies& pools) const;
  absl::Status open_door(net::Listeners& listeners, const std::string& name,
                         const net::SocketFile& file, const std::string& tenant);
  void reload_pools(const Policies& pools, Reloaded& done);
  void note_restart(const config::SocketSettings& next, Reloaded& done) const;
  void end_turn();

  loop::Loop& loop_;
  config::DaemonSettings settings_;
  Policies pools_;  // of the configuration
  const std::vector<config::SocketSettings> sockets_;
  const absl::Status can_pin_;
  const uint64_t own_netns_;  // cookie
  PoolDriver driver_;
  Keys keys_;
  Admission admission_;
  Sessions sessions_;
  LocalClients local_clients_;
  ListenSockets listen_sockets_;
  std::vector<std::unique_ptr<Door>> doors_;
  uint32_t next_socket_ = 0;  // number of the next one that programs reach
  std::function<void()> at_reload_;
  std::function<void()> drained_;  // set once nothing is leased after shut_down()
};

}  // namespace berth::broker
