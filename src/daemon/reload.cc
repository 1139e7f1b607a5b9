#include "daemon/reload.h"

#include <absl/strings/str_join.h>
#include <fmt/format.h>
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

// "FILE:3: what is wrong (and 1 more)"
std::string summary(const std::vector<config::Problem>& problems) {
  const std::string first = problems.front().str();
  return problems.size() == 1 ? first : fmt::format("{} (and {} more)", first, problems.size() - 1);
}

}  // namespace

Reload::Reload(loop::Loop& loop, broker::Broker& broker, control::Control& control,
               Notifier& notifier, config::LoadOptions options)
    : loop_(loop),
      broker_(broker),
      control_(control),
      notifier_(notifier),
      options_(std::move(options)),
      hangup_(loop, SIGHUP, [this] { start(); }) {}

void Reload::start() {
  again_ = reading_;
  if (std::exchange(reading_, true)) return;
  notifier_.reload_begins();
  loop_.run_on_worker([this] { loaded_ = config::load(options_); }, [this] { finish(); });
}

void Reload::finish() {
  reading_ = false;
  if (std::exchange(again_, false)) return start();
  const absl::Status outcome = take_over();
  if (!outcome.ok()) log().error("reload: nothing has changed: {}", text_of(outcome));
  notifier_.reload_ended(outcome);
}

absl::Status Reload::take_over() {
  for (const config::Problem& warning : loaded_.warnings) log().warn("{}", warning.str());
  for (const config::Problem& problem : loaded_.problems) log().error("{}", problem.str());
  if (!loaded_.problems.empty()) return absl::InvalidArgumentError(summary(loaded_.problems));
  const auto reloaded = broker_.reload(loaded_.settings);
  if (!reloaded.ok()) return reloaded.status();
  control_.reload(broker_.settings());
  set_log_level(loaded_.settings.daemon.log_level);
  tell("new pools", reloaded->added);
  tell("changed pools", reloaded->changed);
  tell("renewed pools", reloaded->renewed);
  tell("removed pools", reloaded->removed);
  tell("without effect until a restart", reloaded->at_restart);
  log().info("reloaded: {} pools", loaded_.settings.pools.size());
  return absl::OkStatus();
}

}  // namespace berth::daemon
