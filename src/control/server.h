// Server: the gRPC server of the control socket: berth.v1.Admin, health and reflection, on
// connections that are accepted elsewhere.
//
// Everything here is called on the loop's thread; the services run on gRPC's.
#pragma once

#include <memory>

#include "control/answers.h"
#include "control/orders.h"
#include "control/peers.h"
#include "control/view.h"
#include "control/watchers.h"
#include "loop/mailbox.h"

namespace berth::control {

class Server {
 public:
  // Starts. Borrows all.
  Server(loop::Mailbox& mailbox, const Peers& peers, const View& view, Orders& orders,
         Watchers& watchers, Answers& answers);
  // Ends all calls and connections within a moment. Requires: the mailbox is closed, so that no
  // call waits for the loop any more.
  ~Server();

  // Takes over a connected, nonblocking descriptor N; its calls come from the peer "fd:N".
  void adopt(int fd);

  // From now on health says NOT_SERVING.
  void say_stopping();

 private:
  struct Impl;

  std::unique_ptr<Impl> impl_;
};

}  // namespace berth::control
