// The driver's part that talks with servers and proxies: what becomes of a dialogue, and what
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

std::shared_ptr<const net::DialOptions> options_of(const pool::PoolPolicy& policy, bool pin) {
  net::DialOptions options;
  options.keepalive = policy.keepalive;
  options.user_timeout = policy.tcp_user_timeout;
  options.source_address = policy.source_address;
  options.interface = policy.interface;
  options.pin = pin;
  return std::make_shared<const net::DialOptions>(std::move(options));
}

std::shared_ptr<const wire::ProxyAccess> access_of(const pool::PoolPolicy& policy) {
  if (!policy.via) return nullptr;
  return std::make_shared<const wire::ProxyAccess>(*policy.via, policy.via_password.secret);
}

std::unique_ptr<wire::Exchange> run_of(const std::shared_ptr<const wire::StepProgram>& program) {
  return program != nullptr ? std::make_unique<wire::StepRun>(program) : nullptr;
}

CloseReason fault_of(Talk talk) {
  switch (talk) {
    case Talk::proxy: break;  // what it fails is a dial
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
  programs_[id.index()] = {
      id,
      options_of(policy, pin_),
      policy.via ? options_of(policy, false) : nullptr,
      access_of(policy),
      program_of(policy.greeting),
      program_of(policy.login),
      program_of(policy.reset),
      program_of(policy.check),
  };
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

std::unique_ptr<wire::Exchange> PoolDriver::exchange_of(const pool::Connection& connection,
                                                        Talk talk) const {
  const Programs& programs = programs_of(connection.pool);
  switch (talk) {
    case Talk::proxy:
      if (proxy_of(connection.id) == nullptr) return nullptr;
      return wire::proxy_handshake(
          programs.proxy, depot_.pool(connection.pool).endpoints()[connection.endpoint].endpoint);
    case Talk::greeting: return run_of(programs.greeting);
    case Talk::login:
    case Talk::relogin: return run_of(programs.login);
    case Talk::reset: return run_of(programs.reset);
    case Talk::check: return run_of(programs.check);
  }
  return nullptr;
}

bool PoolDriver::begin(ConnectionId id, Talk talk) {
  const pool::Connection& connection = *depot_.connection(id);
  std::unique_ptr<wire::Exchange> exchange = exchange_of(connection, talk);
  if (exchange == nullptr) {
    return (talk == Talk::login || talk == Talk::relogin) && run_login(id, talk);
  }
  const int fd = upstreams_.find(id)->fd.get();
  dialogues_.begin(id, talk, fd, std::move(exchange), connection.deadline.when);
  return true;
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
  const net::Released left = net::inspect_released(fd, upstream.peer, upstream.proof());
  if (left.verdict == net::Released::dirty) return std::string("the program left it ") + left.why;
  const bool restored =
      net::restore_options(fd, upstream.peer, *upstream.options, net::Heir::other_user);
  return restored ? "" : "the program has changed the socket in a way that cannot be undone";
}

void PoolDriver::talked(ConnectionId id, Talk talk, const std::string& why) {
  if (!why.empty()) {
    failed(id, talk, why);
  } else {
    const bool relogin = depot_.pool(depot_.connection(id)->pool).policy().relogin;
    const bool fresh = talk == Talk::proxy || talk == Talk::greeting;
    const bool more = (talk == Talk::proxy && begin(id, Talk::greeting)) ||
                      (fresh && begin(id, Talk::login)) ||
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
  // A handshake names whom it failed with.
  const std::string error =
      talk == Talk::proxy ? why : fmt::format("{}: {}: {}", endpoint, name_of(talk), why);
  if (connection.state == pool::State::connecting) {
    close_upstream(take_upstream(id), key_of(id));
    return dial_failed(id, error);
  }
  log().warn("pool {}: {}", pool.policy().key, error);
  depot_.performed(loop_.now(), id, fault_of(talk), error, actions_);
}

}  // namespace berth::broker
