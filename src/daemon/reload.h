// Reload: reads the configuration again on SIGHUP and hands it to the broker (rule 23).
#pragma once

#include <vector>

#include "broker/broker.h"
#include "config/load.h"
#include "control/orders.h"
#include "daemon/notifier.h"
#include "loop/loop.h"
#include "loop/signal_watch.h"

namespace berth::daemon {

// Loop thread. The files are read, and users looked up, on a worker, so that neither a slow disk
// nor a slow directory service delays leases.
class Reload {
 public:
  Reload(loop::Loop& loop, broker::Broker& broker, Notifier& notifier, config::LoadOptions options);

  // `done` is told what came of it, which is logged too. Who asks while the files are being read
  // is told of the next time, since they may have changed.
  void start(control::ReloadDone done = nullptr);

 private:
  void read();
  void finish();
  // What has been read. On an error nothing has changed.
  control::ReloadOutcome take_over();

  loop::Loop& loop_;
  broker::Broker& broker_;
  Notifier& notifier_;
  const config::LoadOptions options_;
  config::Loaded loaded_;
  bool reading_ = false;
  bool again_ = false;                      // the files may have changed since they were read
  std::vector<control::ReloadDone> asked_;  // of what is being read
  std::vector<control::ReloadDone> asked_again_;
  loop::SignalWatch hangup_;
};

}  // namespace berth::daemon
