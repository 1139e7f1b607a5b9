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

Reload::Reload(loop::Loop& loop, broker::Broker& broker, config::LoadOptions options)
    : loop_(loop),
      broker_(broker),
      options_(std::move(options)),
      hangup_(loop, SIGHUP, [this] { start(); }) {}

void Reload::start(control::ReloadDone done) {
  if (done) (reading_ ? asked_again_ : asked_).push_back(std::move(done));
  again_ = reading_;
  if (!reading_) read();
}

void Reload::read() {
  reading_ = true;
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
  for (const config::Problem& warning : loaded_.warnings) outcome.warnings.push_back(warning.str());
  for (const std::string& warning : outcome.warnings) log().warn("{}", warning);
  std::vector<std::string> problems;
  for (const config::Problem& problem : loaded_.problems) problems.push_back(problem.str());
  for (const std::string& problem : problems) log().error("{}", problem);
  outcome.result = problems.empty() ? broker_.reload(loaded_.settings)
                                    : absl::FailedPreconditionError(absl::StrJoin(problems, "\n"));
  if (!outcome.result.ok()) {
    log().error("reload: nothing has changed{}",
                problems.empty() ? ": " + text_of(outcome.result.status()) : "");
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
