// The driver's part that talks with servers and proxies: what becomes of a dialogue, and what
// follows it.
#include <fmt/format.h>

#include <memory>
#include <utility>

#include "base/log.h"
#include "base/status_text.h"
#include "broker/dial_options.h"
#include "broker/driver.h"
#include "net/socket_state.h"

namespace berth::broker {
namespace {

std::shared_ptr<const wire::StepProgram> program_of(const Steps& steps) {
  return steps.empty() ? nullptr : std::make_shared<const wire::StepProgram>(steps);
}

std::shared_ptr<const wire::ProxyAccess> access_of(const pool::PoolPolicy& policy) {
  if (!policy.via) return nullptr;
  return std::make_shared<const wire::ProxyAccess>(*policy.via, policy.via_password.secret);
}

std::shared_ptr<wire::Exchange> run_of(const std::shared_ptr<const wire::StepProgram>& program) {
  return program != nullptr ? std::make_shared<wire::StepRun>(program) : nullptr;
}

std::vector<Stage> opening_of(const pool::PoolPolicy& policy) {
  std::vector<Stage> stages = {{Talk::proxy}};
  if (!policy.endpoints.empty() && policy.endpoints.front().secure) stages.push_back({Talk::tls});
  const auto add = [&stages](Talk talk, const Steps& steps) {
    wire::StepParts parts = wire::compile_steps(steps);
    stages.push_back({talk, std::move(parts.before)});
    if (!parts.starts_tls) return;
    stages.push_back({Talk::tls});
    stages.push_back({talk, std::move(parts.after)});
  };
  add(Talk::greeting, policy.greeting);
  add(Talk::login, policy.login);
  return stages;
}

CloseReason fault_of(Talk talk) {
  switch (talk) {
    case Talk::proxy:
    case Talk::tls: break;  // what they fail is a dial
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
  Programs& programs = programs_[id.index()];
  std::shared_ptr<wire::TlsSource> former = programs.pool == id ? programs.tls : nullptr;
  programs = {
      .pool = id,
      .options = dial_options_of(policy, pin_),
      .unpinned = policy.via ? dial_options_of(policy, false) : nullptr,
      .proxy = access_of(policy),
      .tls = tls_of(policy, std::move(former)),
      .opening = std::make_shared<const std::vector<Stage>>(opening_of(policy)),
      .relogin = std::nullopt,
      .reset = program_of(policy.reset),
      .check = program_of(policy.check),
  };
  if (policy.relogin) programs.relogin = Stage{Talk::relogin, program_of(policy.login)};
}

void PoolDriver::carry_out(const pool::Perform& action) {
  const ConnectionId id = action.connection;
  const pool::Connection* connection = depot_.connection(id);
  if (connection == nullptr || connection->state != pool::State::resetting) return;
  Upstream* upstream = upstreams_.find(id);
  BERTH_CHECK(upstream != nullptr, "a connection at rest has a socket");
  idle_watch_.remove(*upstream);
  const Programs& programs = programs_of(action.pool);
  if (action.task == pool::Task::reset) {
    if (!begin(id, {Talk::reset, programs.reset})) ready(id);
    return;
  }
  // What the server said first still waits for the first holder: it is there, but it cannot be
  // asked.
  const bool greeted = connection->uses == 0 &&
                       depot_.pool(action.pool).policy().leaves_greeting() &&
                       net::has_unread(upstream->fd.get());
  if (greeted || !begin(id, {Talk::check, programs.check})) ready(id);
}

std::shared_ptr<wire::Exchange> PoolDriver::exchange_of(const pool::Connection& connection,
                                                        const Stage& stage) {
  if (stage.talk == Talk::tls) return begin_handshake(connection);
  if (stage.talk != Talk::proxy) return run_of(stage.program);
  if (proxy_of(connection.id) == nullptr) return nullptr;
  return wire::proxy_handshake(
      programs_of(connection.pool).proxy,
      depot_.pool(connection.pool).endpoints()[connection.endpoint].endpoint);
}

bool PoolDriver::begin(ConnectionId id, const Stage& stage) {
  const pool::Connection& connection = *depot_.connection(id);
  std::shared_ptr<wire::Exchange> exchange = exchange_of(connection, stage);
  if (exchange == nullptr) {
    return (stage.talk == Talk::login || stage.talk == Talk::relogin) && run_login(id, stage.talk);
  }
  const Upstream& upstream = *upstreams_.find(id);
  dialogues_.begin(id, stage.talk, upstream.stream(), std::move(exchange),
                   connection.deadline.when);
  return true;
}

void PoolDriver::open(ConnectionId id) {
  Upstream& upstream = *upstreams_.find(id);
  while (upstream.opened < upstream.opening->size()) {
    if (begin(id, (*upstream.opening)[upstream.opened++])) return;
  }
  ready(id);
}

Commands::Job PoolDriver::job(const pool::Connection& connection, const Command& command) const {
  const pool::Pool& pool = depot_.pool(connection.pool);
  return {command, pool.policy().key, pool.endpoints()[connection.endpoint].endpoint,
          connection.deadline.when};
}

bool PoolDriver::run_login(ConnectionId id, Talk talk) {
  const pool::Connection& connection = *depot_.connection(id);
  const Command& command = depot_.pool(connection.pool).policy().login_command;
  if (command.empty()) return false;
  Upstream& upstream = *upstreams_.find(id);
  upstream.handed_out = true;  // the program may leave a duplicate, as a lessee may
  commands_.log_in(id, talk, job(connection, command), upstream.fd.get());
  return true;
}

// Why the connection is not as steps would have left it; "" if it is. What a lessee could have done
// to it, the program could.
std::string PoolDriver::flaw_after_login(ConnectionId id) {
  const Upstream& upstream = *upstreams_.find(id);
  const int fd = upstream.fd.get();
  const net::Released left =
      net::inspect_released(fd, upstream.peer, upstream.proof(), upstream.layer);
  if (left.verdict == net::Released::dirty) return std::string("the program left it ") + left.why;
  const bool restored = net::restore_options(fd, upstream.peer, *upstream.options,
                                             net::Heir::other_user, upstream.layer);
  return restored ? "" : "the program has changed the socket in a way that cannot be undone";
}

void PoolDriver::talked(ConnectionId id, Talk talk, const std::string& why) {
  const absl::Status records =
      why.empty() && talk == Talk::tls ? begin_records(id) : absl::OkStatus();
  if (!why.empty() || !records.ok()) {
    failed(id, talk, why.empty() ? text_of(records) : why);
  } else if (depot_.connection(id)->state == pool::State::connecting) {
    open(id);
  } else {
    const Programs& programs = programs_of(depot_.connection(id)->pool);
    if (talk != Talk::reset || !programs.relogin || !begin(id, *programs.relogin)) ready(id);
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
  // A handshake names whom it failed with.
  const std::string error = talk == Talk::proxy || talk == Talk::tls
                                ? why
                                : fmt::format("{}: {}: {}", endpoint, name_of(talk), why);
  if (connection.state == pool::State::connecting) {
    close_upstream(take_upstream(id), key_of(id));
    return dial_failed(id, error);
  }
  log().warn("pool {}: {}", pool.policy().key, error);
  depot_.performed(loop_.now(), id, fault_of(talk), error, actions_);
}

}  // namespace berth::broker
