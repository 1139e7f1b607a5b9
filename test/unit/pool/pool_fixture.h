// A driver for the depot in simulated time: tests say how the world answers and read what happened.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "pool/depot.h"

namespace berth::pool {

using namespace std::chrono_literals;

class PoolTest : public ::testing::Test {
 protected:
  enum class Answer { yes, no, never };

  static constexpr uint32_t kAlice = 1000;
  static constexpr uint32_t kBob = 1001;
  static constexpr uint32_t kEve = 6666;  // in no allow_users

  PoolTest() { start({}); }

  void start(DepotSettings settings) { depot = std::make_unique<Depot>(settings); }

  static PoolPolicy policy(std::string key = "redis") {
    PoolPolicy policy;
    policy.key = std::move(key);
    policy.endpoints = {{Endpoint::Kind::tcp, "192.0.2.1", 6379, ""}};
    policy.allow_uids = {kAlice, kBob};
    return policy;
  }

  PoolId add(PoolPolicy policy) {
    const PoolId id = depot->add_pool(now, std::move(policy), actions);
    carry_out();
    return id;
  }

  SessionId session(uint32_t uid = kAlice, uint32_t socket = 0) {
    return depot->open_session({uid, 4000 + ++last_pid_, socket, false});
  }

  // --- what programs do; the number of the request comes back ---
  uint64_t ask(SessionId session, PoolId pool, Duration timeout = 5s, uint32_t count = 1) {
    depot->request(now, session, pool, {++last_request, count, timeout}, actions);
    carry_out();
    return last_request;
  }
  void cancel(SessionId session, uint64_t request) {
    depot->cancel(now, session, request, actions);
    carry_out();
  }
  bool release(SessionId session, LeaseId lease, Condition condition = Condition::clean) {
    const bool known = depot->release(now, session, lease, condition, actions);
    carry_out();
    return known;
  }
  void end(SessionId session) {
    depot->end_session(now, session, actions);
    carry_out();
  }
  // Asks and must get; the lease comes back.
  Granted take(SessionId session, PoolId pool) {
    const uint64_t request = ask(session, pool);
    EXPECT_TRUE(granted(request));
    return granted(request) ? grants[request].leases[0] : Granted{};
  }
  // Leaves one idle connection of this session's owner behind.
  ConnectionId leave_idle(SessionId session, PoolId pool) {
    const Granted granted = take(session, pool);
    release(session, granted.lease);
    return granted.connection;
  }

  // --- what came of it ---
  bool granted(uint64_t request) const { return grants.contains(request); }
  bool refused(uint64_t request) const { return refusals.contains(request); }
  bool waits(uint64_t request) const { return !granted(request) && !refused(request); }
  Code code(uint64_t request) const {
    const auto at = refusals.find(request);
    return at != refusals.end() ? at->second.code : Code::kOk;
  }
  Granted lease_of(uint64_t request, size_t i = 0) { return grants.at(request).leases.at(i); }
  bool closed(ConnectionId id, CloseReason reason) const {
    return std::count(closes.begin(), closes.end(), std::pair(id, reason)) == 1;
  }
  size_t count(PoolId pool, State state) const { return depot->pool(pool).count(state); }
  State state(ConnectionId id) const { return depot->connection(id)->state; }

  // --- what the world does ---
  void dial_succeeds(ConnectionId id) {
    depot->dialed(now, id, actions);
    carry_out();
  }
  void dial_fails(ConnectionId id, const char* error = "tcp://192.0.2.1:6379: refused") {
    depot->dial_failed(now, id, error, actions);
    carry_out();
  }
  // The steps of a Perform that has no answer yet come to their end.
  void steps_succeed(ConnectionId id) { perform(id, std::nullopt); }
  void steps_fail(ConnectionId id, CloseReason fault) { perform(id, fault); }
  void lose(ConnectionId id) {
    depot->lost(now, id, CloseReason::dead, actions);
    carry_out();
  }
  void finish_closes() {
    for (const ConnectionId id : std::exchange(closing, {})) {
      depot->closed(now, id, actions);
      carry_out();
    }
  }

  // Time passes and the timer fires when it should.
  void pass(Duration duration) {
    const TimePoint until = now + duration;
    while (depot->next_deadline() <= until) {
      now = std::max(now, depot->next_deadline());
      depot->advance(now, actions);
      carry_out();
    }
    now = until;
  }
  // Time passes while the loop is busy elsewhere.
  void pass_unnoticed(Duration duration) { now += duration; }
  void advance() {
    depot->advance(now, actions);
    carry_out();
  }

  void carry_out() {
    while (!actions.empty()) std::visit([this](auto& action) { on(action); }, taken());
  }

  TimePoint now = TimePoint() + 1h;
  std::unique_ptr<Depot> depot;
  Actions actions;

  Answer dials = Answer::yes;
  Answer steps = Answer::yes;
  Answer closings = Answer::yes;
  std::set<ConnectionId> dead;  // the peek before a grant finds these closed

  uint64_t last_request = 0;
  std::map<uint64_t, Grant> grants;
  std::map<uint64_t, Refusal> refusals;
  std::vector<ConnectionId> dialed;   // all that were ever dialled
  std::vector<ConnectionId> dialing;  // with dials == never: those that await an answer
  std::vector<std::pair<ConnectionId, Task>> performed;   // all that were ever begun
  std::vector<std::pair<ConnectionId, Task>> performing;  // with steps == never
  std::vector<ConnectionId> closing;
  std::vector<std::pair<ConnectionId, CloseReason>> closes;
  std::vector<LeaseId> revoked;
  std::vector<uint64_t> answered;  // requests in the order of their answers

 private:
  void perform(ConnectionId id, std::optional<CloseReason> fault) {
    std::erase_if(performing, [id](const auto& each) { return each.first == id; });
    depot->performed(now, id, fault, "", actions);
    carry_out();
  }

  Action& taken() { return taken_ = actions.take(); }

  void on(const Dial& dial) {
    const ConnectionId id = dial.connection;
    dialed.push_back(id);
    if (dials == Answer::yes) depot->dialed(now, id, actions);
    if (dials == Answer::no) depot->dial_failed(now, id, "tcp://192.0.2.1:6379: refused", actions);
    if (dials == Answer::never) dialing.push_back(id);
  }
  void on(const Perform& perform) {
    const ConnectionId id = perform.connection;
    performed.emplace_back(id, perform.task);
    const auto fault =
        perform.task == Task::check ? CloseReason::check_failed : CloseReason::reset_failed;
    if (steps == Answer::yes) depot->performed(now, id, std::nullopt, "", actions);
    if (steps == Answer::no) depot->performed(now, id, fault, "", actions);
    if (steps == Answer::never) performing.emplace_back(id, perform.task);
  }
  void on(const Grant& action) {
    const Grant grant = action;
    for (const Granted& granted : grant.leases) {
      if (!dead.contains(granted.connection)) continue;
      depot->take_back(now, grant, granted.connection, CloseReason::dead, actions);
      return;
    }
    const uint64_t request = grant.ticket.request_id;
    EXPECT_TRUE(waits(request)) << "a request has one answer";
    grants.emplace(request, grant);
    answered.push_back(request);
  }
  void on(const Refuse& refuse) {
    EXPECT_TRUE(waits(refuse.request_id)) << "a request has one answer";
    refusals.emplace(refuse.request_id, refuse.refusal);
    answered.push_back(refuse.request_id);
  }
  void on(const Close& close) {
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
  void on(const Revoke& revoke) { revoked.push_back(revoke.lease); }

  Action taken_{Close{}};
  int32_t last_pid_ = 0;
};

}  // namespace berth::pool
