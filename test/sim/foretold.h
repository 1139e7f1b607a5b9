// Foretold: what Depot::forecast says of a request, held against what the request comes to.
#pragma once

#include <span>

#include "pool/depot.h"
#include "sim/model.h"

namespace berth::sim {

class Foretold {
 public:
  // Asks the depot right before the request is put to it. Borrows all three.
  Foretold(Model& model, const pool::Depot& depot, const Ask& ask);

  // `actions` are all that came of the request. Requires: it was for one connection, and might
  // wait.
  void judge(std::span<const pool::Action> actions) const;

 private:
  pool::Forecast forecast() const;
  void judge_refusal(std::span<const pool::Action> actions) const;
  void judge_grant(std::span<const pool::Action> actions) const;
  void judge_check(std::span<const pool::Action> actions) const;
  void judge_dial(std::span<const pool::Action> actions) const;
  void judge_close(std::span<const pool::Action> actions) const;
  void judge_cause() const;
  void judge_refill(std::span<const pool::Action> actions) const;
  const PoolModel& pool_model() const { return model_.pools[ask_.pool]; }
  const pool::Pool& pool() const { return depot_.pool(pool_model().id); }

  const Model& model_;
  const pool::Depot& depot_;
  const Ask& ask_;
  pool::Forecast foretold_;
  bool overdue_;   // then it comes about with the request, which nobody foretells
  bool may_join_;  // a dial was under way that nobody waits for
};

}  // namespace berth::sim
