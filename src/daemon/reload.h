// Reload: reads the configuration again on SIGHUP and hands it to the broker (rule 23).
#pragma once

#include <absl/status/status.h>

#include "broker/broker.h"
#include "config/load.h"
#include "control/control.h"
#include "daemon/notifier.h"
#include "loop/loop.h"
#include "loop/signal_watch.h"

namespace berth::daemon {

// Loop thread. The files are read, and users looked up, on a worker, so that neither a slow disk
// nor a slow directory service delays leases.
class Reload {
 public:
  Reload(loop::Loop& loop, broker::Broker& broker, control::Control& control, Notifier& notifier,
         config::LoadOptions options);

  void start();

 private:
  void finish();
  // What has been read. On an error nothing has changed.
  absl::Status take_over();

  loop::Loop& loop_;
  broker::Broker& broker_;
  control::Control& control_;
  Notifier& notifier_;
  const config::LoadOptions options_;
  config::Loaded loaded_;
  bool reading_ = false;
  bool again_ = false;  // the files may have changed since they were read
  loop::SignalWatch hangup_;
};

}  // namespace berth::daemon
