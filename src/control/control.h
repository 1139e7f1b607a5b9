// Control: the daemon's control plane: the control socket and the gRPC server behind it.
//
// Loop thread only.
#pragma once

#include <absl/status/status.h>

#include <memory>
#include <string>

#include "broker/broker.h"
#include "config/settings.h"
#include "control/gate.h"
#include "control/peers.h"
#include "control/server.h"
#include "control/view.h"
#include "loop/mailbox.h"
#include "net/listeners.h"

namespace berth::control {

class Control {
 public:
  // Borrows loop and broker. `fd_limit` is the process's limit on descriptors.
  Control(loop::Loop& loop, broker::Broker& broker, const config::DaemonSettings& settings,
          uint32_t fd_limit, std::string version);
  // Closes, and ends all connections. Takes a moment at most.
  ~Control();

  // Opens the control socket. Says what could not be done and why.
  absl::Status open(net::Listeners& listeners);

  // What a reload changes: who may call.
  void reload(const config::DaemonSettings& settings) { peers_.set_admins(settings.admins); }

  // The daemon is stopping: health says so. Calls are answered on until close(), so that one can
  // see what it waits for.
  void say_stopping() { server_.say_stopping(); }
  // What waits is answered; calls from now on get UNAVAILABLE. No effect the second time.
  void close() { mailbox_.close(); }

 private:
  loop::Loop& loop_;
  broker::Broker& broker_;
  const std::string path_;
  const mode_t mode_;
  const uint32_t fd_limit_;
  loop::Mailbox mailbox_;
  Peers peers_;
  View view_;
  Server server_;
  std::unique_ptr<Gate> gate_;
};

}  // namespace berth::control
