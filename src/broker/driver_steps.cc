// The driver's part that goes through steps with servers: what becomes of a dialogue, and what
// follows it.
#include <fmt/format.h>

#include <memory>
#include <utility>

#include "base/log.h"
#include "broker/driver.h"
#include "net/socket_state.h"

namespace berth::broker {
namespace {

std::shared_ptr<const wire::StepProgram> program_of(const Steps& steps) {
  return steps.empty() ? nullptr : std::make_shared<const wire::StepProgram>(steps);
}

CloseReason fault_of(Talk talk) {
  switch (talk) {
    case Talk::greeting:
    case Talk::login:
    case Talk::relogin: return CloseReason::login_failed;
    case Talk::reset: return CloseReason::reset_failed;
    case Talk::check: return CloseReason::check_failed;
  }
  return CloseReason::dirty;
}

}  // namespace

void PoolDriver::compile(PoolId id) {
  const pool::PoolPolicy& policy = depot_.pool(id).policy();
  if (programs_.size() <= id.index()) programs_.resize(id.index() + 1);
  programs_[id.index()] = {id, program_of(policy.greeting), program_of(policy.login),
                           program_of(policy.reset), program_of(policy.check)};
}

void PoolDriver::carry_out(const pool::Perform& action) {
  const ConnectionId id = action.connection;
  const pool::Connection* connection = depot_.connection(id);
  if (connection == nullptr || connection->state != pool::State::resetting) return;
  Upstream* upstream = upstreams_.find(id);
  BERTH_CHECK(upstream != nullptr, "a connection at rest has a socket");
  idle_watch_.remove(*upstream);
  if (action.task == pool::Task::reset) {
    if (!begin(id, Talk::reset)) ready(id);
    return;
  }
  // What the server said first still waits for the first holder: it is there, but it cannot be
  // asked.
  const bool greeted = connection->uses == 0 &&
                       depot_.pool(action.pool).policy().leaves_greeting() &&
                       net::has_unread(upstream->fd.get());
  if (greeted || !begin(id, Talk::check)) ready(id);
}

bool PoolDriver::begin(ConnectionId id, Talk talk) {
  const pool::Connection& connection = *depot_.connection(id);
  const Programs& programs = programs_of(connection.pool);
  std::shared_ptr<const wire::StepProgram> program;
  switch (talk) {
    case Talk::greeting: program = programs.greeting; break;
    case Talk::login:
    case Talk::relogin: program = programs.login; break;
    case Talk::reset: program = programs.reset; break;
    case Talk::check: program = programs.check; break;
  }
  if (program == nullptr) return false;
  const int fd = upstreams_.find(id)->fd.get();
  dialogues_.begin(id, talk, fd, std::move(program), connection.deadline.when);
  return true;
}

void PoolDriver::talked(ConnectionId id, Talk talk, const std::string& why) {
  if (!why.empty()) {
    failed(id, talk, why);
  } else {
    const bool relogin = depot_.pool(depot_.connection(id)->pool).policy().relogin;
    const bool more = (talk == Talk::greeting && begin(id, Talk::login)) ||
                      (talk == Talk::reset && relogin && begin(id, Talk::relogin));
    if (!more) ready(id);
  }
  pump();
}

// All that was to be said has been said.
void PoolDriver::ready(ConnectionId id) {
  if (depot_.connection(id)->state == pool::State::connecting) {
    depot_.dialed(loop_.now(), id, actions_);
  } else {
    depot_.performed(loop_.now(), id, std::nullopt, "", actions_);
  }
  idle_watch_.add(id);
}

void PoolDriver::failed(ConnectionId id, Talk talk, const std::string& why) {
  const pool::Connection& connection = *depot_.connection(id);
  const pool::Pool& pool = depot_.pool(connection.pool);
  const std::string& endpoint = pool.endpoints()[connection.endpoint].name;
  const std::string error = fmt::format("{}: {}: {}", endpoint, name_of(talk), why);
  if (connection.state == pool::State::connecting) {
    close_upstream(take_upstream(id), key_of(id));
    return dial_failed(id, error);
  }
  log().warn("pool {}: {}", pool.policy().key, error);
  depot_.performed(loop_.now(), id, fault_of(talk), error, actions_);
}

}  // namespace berth::broker
