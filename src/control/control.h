// Control: the daemon's control plane: the control socket and the gRPC server behind it.
//
// Loop thread only.
#pragma once

#include <absl/status/status.h>

#include <memory>
#include <string>

#include "broker/broker.h"
#include "control/answers.h"
#include "control/gate.h"
#include "control/lease_desk.h"
#include "control/orders.h"
#include "control/peers.h"
#include "control/server.h"
#include "control/view.h"
#include "control/watchers.h"
#include "loop/mailbox.h"
#include "net/listeners.h"

namespace berth::control {

class Control {
 public:
  // Borrows loop and broker. `fd_limit` is the process's limit on descriptors.
  Control(loop::Loop& loop, broker::Broker& broker, DaemonOrders orders, uint32_t fd_limit,
          std::string version);
  // Closes, and ends all connections. Takes a moment at most.
  ~Control();

  // Opens the control socket. Says what could not be done and why.
  absl::Status open(net::Listeners& listeners);

  // The daemon is stopping: health says so. Calls are answered on until close(), so that one can
  // see what it waits for.
  void say_stopping() { server_.say_stopping(); }
  // What waits is answered; calls from now on get UNAVAILABLE. No effect the second time.
  void close();

 private:
  loop::Loop& loop_;
  broker::Broker& broker_;
  const std::string path_;
  const mode_t mode_;
  const uint32_t fd_limit_;
  loop::Mailbox mailbox_;
  loop::Mailbox lease_mailbox_;  // so that many who lease do not keep an administrator waiting
  Peers peers_;
  View view_;
  Orders orders_;
  Answers answers_;
  Watchers watchers_;
  LeaseDesk desk_;
  Server server_;
  std::unique_ptr<Gate> gate_;
};

}  // namespace berth::control
