// Server: the gRPC server of the control socket: berth.v1.Admin, berth.v1.Leases, health and
// reflection, on connections that are accepted elsewhere.
//
// Everything here is called on the loop's thread; the services run on gRPC's.
#pragma once

#include <memory>

#include "control/answers.h"
#include "control/lease_desk.h"
#include "control/orders.h"
#include "control/peers.h"
#include "control/view.h"
#include "control/watchers.h"
#include "loop/mailbox.h"

namespace berth::control {

class Server {
 public:
  // What the services speak for.
  struct Behind {
    loop::Mailbox& mailbox;
    const View& view;
    Orders& orders;
    Watchers& watchers;
    loop::Mailbox& lease_mailbox;  // takes LeasesService::kMostTasks
    LeaseDesk& desk;
    Answers& answers;
    const Peers& peers;
  };

  // Starts. Borrows all.
  explicit Server(const Behind& behind);
  // Ends all calls and connections within a moment. Requires: the mailboxes are closed, so that
  // no call waits for the loop any more.
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
