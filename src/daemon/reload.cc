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

// A line for each.
std::string all_of(const std::vector<config::Problem>& problems) {
  std::string text;
  for (const config::Problem& problem : problems) {
    text += (text.empty() ? "" : "\n") + problem.str();
  }
  return text;
}

}  // namespace

Reload::Reload(loop::Loop& loop, broker::Broker& broker, Notifier& notifier,
               config::LoadOptions options)
    : loop_(loop),
      broker_(broker),
      notifier_(notifier),
      options_(std::move(options)),
      hangup_(loop, SIGHUP, [this] { start(); }) {}

void Reload::start(control::ReloadDone done) {
  if (done) (reading_ ? asked_again_ : asked_).push_back(std::move(done));
  again_ = reading_;
  if (!reading_) read();
}

void Reload::read() {
  reading_ = true;
  notifier_.reload_begins();
  loop_.run_on_worker([this] { loaded_ = config::load(options_); }, [this] { finish(); });
}

void Reload::finish() {
  reading_ = false;
  const control::ReloadOutcome outcome = take_over();
  for (const auto& done : std::exchange(asked_, std::move(asked_again_))) done(outcome);
  asked_again_.clear();
  if (std::exchange(again_, false)) read();
}

control::ReloadOutcome Reload::take_over() {
  control::ReloadOutcome outcome;
  for (const config::Problem& warning : loaded_.warnings) {
    outcome.warnings.push_back(warning.str());
    log().warn("{}", warning.str());
  }
  for (const config::Problem& problem : loaded_.problems) log().error("{}", problem.str());
  absl::Status brief;
  if (loaded_.problems.empty()) {
    outcome.result = broker_.reload(loaded_.settings);
    brief = outcome.result.status();
  } else {
    outcome.result = absl::FailedPreconditionError(all_of(loaded_.problems));
    brief = absl::FailedPreconditionError(summary(loaded_.problems));
  }
  notifier_.reload_ended(brief);
  if (!brief.ok()) {
    log().error("reload: nothing has changed: {}", text_of(brief));
    return outcome;
  }
  set_log_level(loaded_.settings.daemon.log_level);
  tell("new pools", outcome.result->added);
  tell("changed pools", outcome.result->changed);
  tell("renewed pools", outcome.result->renewed);
  tell("removed pools", outcome.result->removed);
  tell("without effect until a restart", outcome.result->at_restart);
  log().info("reloaded: {} pools", loaded_.settings.pools.size());
  return outcome;
}

}  // namespace berth::daemon
