// A driver for the depot in simulated time: tests say how the world answers and read what happened.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
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

  PoolTest();
  ~PoolTest() override;

  void start(DepotSettings settings);
  static PoolPolicy policy(std::string key = "redis");
  PoolId add(PoolPolicy policy);
  SessionId session(uint32_t uid = kAlice, uint32_t socket = 0);

  // --- what programs do; the number of the request comes back ---
  uint64_t ask(SessionId session, PoolId pool, Duration timeout = 5s, uint32_t count = 1,
               bool detach = false);
  void cancel(SessionId session, uint64_t request);
  bool release(SessionId session, LeaseId lease, Condition condition = Condition::clean);
  void end(SessionId session);
  // Asks and must get; the lease comes back.
  Granted take(SessionId session, PoolId pool);
  // Leaves one idle connection of this session's owner behind.
  ConnectionId leave_idle(SessionId session, PoolId pool);

  // --- what came of it ---
  bool granted(uint64_t request) const { return grants.contains(request); }
  bool refused(uint64_t request) const { return refusals.contains(request); }
  bool waits(uint64_t request) const { return !granted(request) && !refused(request); }
  Code code(uint64_t request) const;
  Granted lease_of(uint64_t request, size_t i = 0);
  bool closed(ConnectionId id, CloseReason reason) const;
  size_t count(PoolId pool, State state) const { return depot->pool(pool).count(state); }
  State state(ConnectionId id) const { return depot->connection(id)->state; }

  // --- what the world does ---
  void dial_succeeds(ConnectionId id);
  void dial_fails(ConnectionId id, const char* error = "tcp://192.0.2.1:6379: refused");
  // The steps of a Perform that has no answer yet come to their end.
  void steps_succeed(ConnectionId id) { perform(id, std::nullopt); }
  void steps_fail(ConnectionId id, CloseReason fault) { perform(id, fault); }
  void lose(ConnectionId id);
  void finish_closes();

  // Time passes and the timer fires when it should.
  void pass(Duration duration);
  // Time passes while the loop is busy elsewhere.
  void pass_unnoticed(Duration duration) { now += duration; }
  void advance();

  void carry_out();

  TimePoint now = TimePoint() + 1h;
  std::unique_ptr<Depot> depot;
  Actions actions;

  Answer dials = Answer::yes;
  Answer steps = Answer::yes;
  Answer closings = Answer::yes;
  std::set<ConnectionId> dead;  // the peek before a grant finds these closed
  std::set<uint32_t> down;      // endpoints that refuse, whatever `dials` says

  uint64_t last_request = 0;
  std::map<uint64_t, Grant> grants;
  std::map<uint64_t, Refusal> refusals;
  std::vector<ConnectionId> dialed;  // all that were ever dialled
  std::vector<uint32_t> endpoints_dialed;
  std::vector<ConnectionId> dialing;  // with dials == never: those that await an answer
  std::vector<std::pair<ConnectionId, Task>> performed;   // all that were ever begun
  std::vector<std::pair<ConnectionId, Task>> performing;  // with steps == never
  std::vector<ConnectionId> closing;
  std::vector<std::pair<ConnectionId, CloseReason>> closes;
  std::vector<LeaseId> revoked;
  std::vector<uint64_t> answered;  // requests in the order of their answers

 private:
  void perform(ConnectionId id, std::optional<CloseReason> fault);

  void on(const Dial& dial);
  void on(const Perform& perform);
  void on(const Grant& grant);
  void on(const Refuse& refuse);
  void on(const Close& close);
  void on(const Revoke& revoke);

  Action taken_{Close{}};
  int32_t last_pid_ = 0;
};

}  // namespace berth::pool
