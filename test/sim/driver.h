// Driver: carries out the depot's actions on a made-up world in simulated time, and judges each of
// them as it does so. The world answers at once, later, or never.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <vector>

#include "pool/depot.h"
#include "sim/checks.h"
#include "sim/model.h"

namespace berth::sim {

class Driver {
 public:
  static constexpr size_t kAll = SIZE_MAX;

  // Borrows `model`.
  Driver(Model& model, const pool::DepotSettings& settings);

  pool::Depot& depot() { return depot_; }
  const Checks& checks() const { return checks_; }

  // One event: `call` passes it to the depot.
  template <class Call>
  void event(Call&& call) {
    ++model_.event;
    call(actions_);
    for (const pool::Action& action : actions_.pending()) count(action);
    while (!actions_.empty()) queue_.push_back({model_.event, actions_.take()});
    read_journal();
  }

  // Carries out at most `most` actions, and those that follow from them; checks the state when none
  // is left.
  void carry_out(size_t most = kAll);

  // Lets time pass; what the world has begun comes to its end. Punctual: the timer fires exactly
  // when it should; otherwise only at the end.
  void pass_time(TimePoint until, bool punctual);
  // Dynamic pools that are there no more.
  void note_forgotten();

  // A connection came back `unsent`: what becomes of its bytes is told later, or never.
  void tell_of_unsent(ConnectionId id);

  // The program of this session has gone: what was being handed to it, too.
  void drop_hands(SessionId session);
  // Tries again to hand over what a program could not take.
  void hand_over_again();

 private:
  void advance();

  struct Decided {
    uint64_t event;
    pool::Action action;
  };
  enum class Kind {
    dialed,
    dial_failed,
    inspected_clean,
    inspected_dirty,
    performed,
    step_failed,
    closed,
  };
  struct Pending {
    Kind kind;
    ConnectionId connection;
  };
  // A grant that waits for its program, and how its connections were before it.
  struct InHand {
    pool::Grant grant;
    std::vector<ConnectionModel> before;
  };

  // Recounts what the depot counts, as it decides.
  void count(const pool::Action& action);
  void read_journal();
  void judge_warning(const pool::Event& warning);

  void on(uint64_t decided, const pool::Dial& dial);
  void on(uint64_t decided, const pool::Perform& perform);
  void on(uint64_t decided, const pool::Grant& grant);
  void on(uint64_t decided, const pool::Refuse& refuse);
  void on(uint64_t decided, const pool::Close& close);
  void on(uint64_t decided, const pool::Revoke& revoke);

  void lend(uint64_t decided, const pool::Grant& grant);
  void judge_grant(uint64_t decided, const pool::Grant& grant, const Ask& ask);
  void judge_proof(const ConnectionModel& connection, const Ask& ask) const;
  bool some_own_needs_check(const Ask& ask) const;
  void judge_overtaking(uint64_t decided, const ConnectionModel& connection, const Ask& ask);
  void hand_over(const InHand& hand);
  void detach(const pool::Grant& grant);
  void note_over(const LeaseModel& lease);
  bool is_live(const InHand& hand) const;
  void take_back(const InHand& hand, ConnectionId failed, CloseReason reason);
  void judge_dial(uint64_t decided, const PoolModel& pool, const pool::Dial& dial) const;
  bool is_sought(const pool::Dial& dial) const;
  void judge_dial_needed(size_t index) const;
  void judge_slot(const pool::Pool& pool) const;
  void judge_close(uint64_t decided, const ConnectionModel& connection, const pool::Close& close);
  void judge_revoke(const pool::Revoke& revoke, const ConnectionModel& connection) const;
  void judge_idlest(const ConnectionModel& connection, CloseReason reason) const;
  void judge_choice(const ConnectionModel& connection, const Ask& ask) const;
  bool still_idle(const ConnectionModel& connection) const;

  void answer_in(Duration most, unsigned percent_at_once, Kind kind, ConnectionId id);
  void deliver(const Pending& pending);
  void deliver_steps(ConnectionModel* connection, ConnectionId id, bool good);
  void give_way(const ConnectionModel& reached);
  void lift_backoffs(uint64_t decided, const ConnectionModel& closed);
  void judge_endpoint(size_t index, uint32_t endpoint) const;
  void note_failure(PoolModel& pool, const ConnectionModel& connection);
  ConnectionModel& connection(ConnectionId id);

  Model& model_;
  pool::Depot depot_;
  Checks checks_;
  pool::Actions actions_;
  std::deque<Decided> queue_;
  std::multimap<TimePoint, Pending> world_;
  std::vector<InHand> in_hand_;
  std::vector<pool::Event> told_;
};

}  // namespace berth::sim
