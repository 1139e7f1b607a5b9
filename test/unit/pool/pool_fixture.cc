#include "unit/pool/pool_fixture.h"

namespace berth::pool {

PoolTest::PoolTest() {
  start({});
}

PoolTest::~PoolTest() = default;

void PoolTest::start(DepotSettings settings) {
  depot = std::make_unique<Depot>(settings);
}

PoolPolicy PoolTest::policy(std::string key) {
  PoolPolicy policy;
  policy.key = std::move(key);
  policy.endpoints = {{Endpoint::Kind::tcp, "192.0.2.1", 6379, ""}};
  policy.allow_uids = {kAlice, kBob};
  return policy;
}

PoolId PoolTest::add(PoolPolicy policy) {
  const PoolId id = depot->add_pool(now, std::move(policy), actions);
  carry_out();
  return id;
}

SessionId PoolTest::session(uint32_t uid, uint32_t socket) {
  return depot->open_session({uid, 4000 + ++last_pid_, socket, false});
}

// --- what programs do ---

uint64_t PoolTest::ask(SessionId session, PoolId pool, Duration timeout, uint32_t count,
                       bool detach) {
  depot->request(now, session, pool, {++last_request, count, timeout, detach}, actions);
  carry_out();
  return last_request;
}

void PoolTest::cancel(SessionId session, uint64_t request) {
  depot->cancel(now, session, request, actions);
  carry_out();
}

bool PoolTest::release(SessionId session, LeaseId lease, Condition condition) {
  const bool known = depot->release(now, session, lease, condition, actions);
  carry_out();
  return known;
}

void PoolTest::end(SessionId session) {
  depot->end_session(now, session, actions);
  carry_out();
}

Granted PoolTest::take(SessionId session, PoolId pool) {
  const uint64_t request = ask(session, pool);
  EXPECT_TRUE(granted(request));
  return granted(request) ? grants[request].leases[0] : Granted{};
}

ConnectionId PoolTest::leave_idle(SessionId session, PoolId pool) {
  const Granted granted = take(session, pool);
  release(session, granted.lease);
  return granted.connection;
}

// --- what came of it ---

Code PoolTest::code(uint64_t request) const {
  const auto at = refusals.find(request);
  return at != refusals.end() ? at->second.code : Code::kOk;
}

Granted PoolTest::lease_of(uint64_t request, size_t i) {
  return grants.at(request).leases.at(i);
}

bool PoolTest::closed(ConnectionId id, CloseReason reason) const {
  return std::count(closes.begin(), closes.end(), std::pair(id, reason)) == 1;
}

// --- what the world does ---

void PoolTest::dial_succeeds(ConnectionId id) {
  depot->dialed(now, id, actions);
  carry_out();
}

void PoolTest::dial_fails(ConnectionId id, const char* error) {
  depot->dial_failed(now, id, error, actions);
  carry_out();
}

void PoolTest::perform(ConnectionId id, std::optional<CloseReason> fault) {
  std::erase_if(performing, [id](const auto& each) { return each.first == id; });
  depot->performed(now, id, fault, "", actions);
  carry_out();
}

void PoolTest::lose(ConnectionId id) {
  depot->lost(now, id, CloseReason::dead, actions);
  carry_out();
}

void PoolTest::finish_closes() {
  for (const ConnectionId id : std::exchange(closing, {})) {
    depot->closed(now, id, actions);
    carry_out();
  }
}

void PoolTest::pass(Duration duration) {
  const TimePoint until = now + duration;
  while (depot->next_deadline() <= until) {
    now = std::max(now, depot->next_deadline());
    depot->advance(now, actions);
    carry_out();
  }
  now = until;
}

void PoolTest::advance() {
  depot->advance(now, actions);
  carry_out();
}

// --- actions ---

void PoolTest::carry_out() {
  while (!actions.empty()) {
    taken_ = actions.take();
    std::visit([this](const auto& action) { on(action); }, taken_);
  }
}

void PoolTest::on(const Dial& dial) {
  const ConnectionId id = dial.connection;
  dialed.push_back(id);
  endpoints_dialed.push_back(dial.endpoint);
  if (down.contains(dial.endpoint)) {
    return depot->dial_failed(now, id, "tcp://192.0.2.1:6379: refused", actions);
  }
  if (dials == Answer::yes) depot->dialed(now, id, actions);
  if (dials == Answer::no) depot->dial_failed(now, id, "tcp://192.0.2.1:6379: refused", actions);
  if (dials == Answer::never) dialing.push_back(id);
}

void PoolTest::on(const Perform& perform) {
  const ConnectionId id = perform.connection;
  performed.emplace_back(id, perform.task);
  const auto fault =
      perform.task == Task::check ? CloseReason::check_failed : CloseReason::reset_failed;
  if (steps == Answer::yes) depot->performed(now, id, std::nullopt, "", actions);
  if (steps == Answer::no) depot->performed(now, id, fault, "", actions);
  if (steps == Answer::never) performing.emplace_back(id, perform.task);
}

void PoolTest::on(const Grant& grant) {
  for (const Granted& granted : grant.leases) {
    if (!dead.contains(granted.connection)) continue;
    depot->take_back(now, grant, granted.connection, CloseReason::dead, actions);
    return;
  }
  const uint64_t request = grant.ticket.request_id;
  EXPECT_TRUE(waits(request)) << "a request has one answer";
  grants.emplace(request, grant);
  answered.push_back(request);
  if (grant.ticket.detach) depot->detached(now, grant, actions);
}

void PoolTest::on(const Refuse& refuse) {
  EXPECT_TRUE(waits(refuse.request_id)) << "a request has one answer";
  refusals.emplace(refuse.request_id, refuse.refusal);
  answered.push_back(refuse.request_id);
}

void PoolTest::on(const Close& close) {
  const ConnectionId id = close.connection;
  closes.emplace_back(id, close.reason);
  std::erase(dialing, id);
  std::erase_if(performing, [id](const auto& each) { return each.first == id; });
  if (closings == Answer::yes) {
    depot->closed(now, id, actions);
  } else {
    closing.push_back(id);
  }
}

void PoolTest::on(const Revoke& revoke) {
  revoked.push_back(revoke.lease);
}

}  // namespace berth::pool
