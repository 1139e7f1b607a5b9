// Orders: carries out what an administrator orders over berth.v1.Admin.
//
// Loop thread only. An order whose caller has gone is carried out all the same once it has begun.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <functional>
#include <string>
#include <vector>

#include "berth/v1/admin.pb.h"
#include "broker/broker.h"
#include "control/view.h"
#include "loop/timer.h"

namespace berth::control {

struct ReloadOutcome {
  std::vector<std::string> warnings;
  // The failure has a line for each problem.
  absl::StatusOr<broker::Broker::Reloaded> result = broker::Broker::Reloaded();
};
using ReloadDone = std::function<void(const ReloadOutcome&)>;

// What only the daemon as a whole can do.
struct DaemonOrders {
  std::function<void(ReloadDone)> reload;
  // `now`: without waiting for running leases.
  std::function<void(bool now)> shut_down;
};

// Called once, when the reply is complete or the status tells why there is none.
using Done = std::function<void(absl::Status)>;

// Who has given an order that takes its time.
struct Orderer {
  Done done;
  // Nobody waits for the answer any more. Not to be asked after `done`.
  std::function<bool()> gone;
};

class Orders {
 public:
  // Borrows broker and view.
  Orders(loop::Loop& loop, broker::Broker& broker, const View& view, DaemonOrders daemon);

  void carry_out(const v1::KeyRequest& request, v1::RenewReply& reply, const Done& done);
  void carry_out(const v1::EvictRequest& request, v1::EvictReply& reply, const Done& done);
  void carry_out(const v1::ExpireRequest& request, v1::ExpireReply& reply, const Done& done);
  void carry_out(const v1::CloseOnReleaseRequest& request, v1::CloseOnReleaseReply& reply,
                 const Done& done);
  void carry_out(const v1::RevokeRequest& request, v1::RevokeReply& reply, const Done& done);
  void carry_out(const v1::KillRequest& request, v1::KillReply& reply, const Done& done);
  void carry_out(const v1::SetIntakeRequest& request, v1::SetIntakeReply& reply, const Done& done);
  void carry_out(const v1::SetLogLevelRequest& request, v1::SetLogLevelReply& reply,
                 const Done& done);
  // These three are answered later; `reply` stays until then.
  void carry_out(const v1::KeyRequest& request, v1::DrainReply& reply, Orderer by);
  void carry_out(const v1::ReloadRequest& request, v1::ReloadReply& reply, const Orderer& by);
  void carry_out(const v1::ShutdownRequest& request, v1::ShutdownReply& reply, Orderer by);

  // Nothing is leased any more and the daemon ends: answers all that wait.
  void finish();

 private:
  struct Drain {
    PoolId pool;
    std::string key;
    bool channels;  // it is a channel pool: its streams count, not its leases
    Orderer by;
  };
  struct Shutdown {
    v1::ShutdownReply* reply;
    Orderer by;
  };

  // nullptr: it is no channel pool, or has gone.
  const channel::Pool* channels(PoolId pool) const;
  void look_at_those_who_wait();
  bool answered(const Drain& drain) const;
  static bool answered(const Shutdown& shutdown);

  loop::Loop& loop_;
  broker::Broker& broker_;
  const View& view_;
  const DaemonOrders daemon_;
  std::vector<Drain> drains_;
  std::vector<Shutdown> shutdowns_;
  loop::Timer look_timer_;
};

}  // namespace berth::control
