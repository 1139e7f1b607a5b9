#include "daemon/reload.h"

#include <absl/strings/str_join.h>
#include <signal.h>

#include <string>
#include <utility>
#include <vector>

#include "base/log.h"
#include "base/status_text.h"

namespace berth::daemon {
namespace {

void tell(const char* what, const std::vector<std::string>& names) {
  if (!names.empty()) log().info("reload: {}: {}", what, absl::StrJoin(names, ", "));
}

}  // namespace

Reload::Reload(loop::Loop& loop, broker::Broker& broker, control::Control& control,
               config::LoadOptions options)
    : loop_(loop),
      broker_(broker),
      control_(control),
      options_(std::move(options)),
      hangup_(loop, SIGHUP, [this] { start(); }) {}

void Reload::start() {
  again_ = reading_;
  if (std::exchange(reading_, true)) return;
  loop_.run_on_worker([this] { loaded_ = config::load(options_); }, [this] { finish(); });
}

void Reload::finish() {
  reading_ = false;
  if (std::exchange(again_, false)) return start();
  for (const config::Problem& warning : loaded_.warnings) log().warn("{}", warning.str());
  for (const config::Problem& problem : loaded_.problems) log().error("{}", problem.str());
  if (!loaded_.problems.empty()) {
    return log().error("reload: nothing has changed, because of {} problem{}",
                       loaded_.problems.size(), loaded_.problems.size() == 1 ? "" : "s");
  }
  const auto reloaded = broker_.reload(loaded_.settings);
  if (!reloaded.ok()) {
    return log().error("reload: nothing has changed: {}", text_of(reloaded.status()));
  }
  control_.reload(broker_.settings());
  set_log_level(loaded_.settings.daemon.log_level);
  tell("new pools", reloaded->added);
  tell("changed pools", reloaded->changed);
  tell("renewed pools", reloaded->renewed);
  tell("removed pools", reloaded->removed);
  tell("without effect until a restart", reloaded->at_restart);
  log().info("reloaded: {} pools", loaded_.settings.pools.size());
}

}  // namespace berth::daemon
