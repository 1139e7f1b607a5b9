// Notifier: tells systemd how berthd is (sd_notify(3)), and feeds its watchdog as long as the loop
// turns. Without NOTIFY_SOCKET in the environment it does nothing, and never wakes the loop.
//
// Loop thread. What cannot be told is logged once, and does not matter otherwise; a systemd that
// does not read for a while stalls nobody.
#pragma once

#include <absl/status/status.h>

#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "base/time.h"
#include "daemon/overview.h"
#include "loop/loop.h"
#include "loop/timer.h"

namespace berth::daemon {

class Notifier {
 public:
  // `overview` counts what there is; it is asked now and then.
  Notifier(loop::Loop& loop, std::function<Overview()> overview);

  // All sockets accept.
  void ready();
  void reload_begins();
  // With what came of it. After stopping() neither this nor the one before has an effect.
  void reload_ended(const absl::Status& outcome);
  // It takes `timeout` at most.
  void stopping(Duration timeout);

 private:
  void start_watchdog();
  void feed_watchdog();
  std::string status() const;
  void tell(std::string_view state, std::string status);
  void send_unsent();
  void send(const std::string& message);

  loop::Loop& loop_;
  const std::function<Overview()> overview_;
  const char* const address_;  // of who wants to know; nullptr: nobody does
  bool stopping_ = false;
  std::string note_;    // what is to be known beside the counts
  std::string status_;  // as told last
  std::deque<std::string> unsent_;
  loop::Timer retry_;
  bool failure_logged_ = false;
  Duration watchdog_interval_{};
  std::optional<loop::Timer> watchdog_;
};

}  // namespace berth::daemon
