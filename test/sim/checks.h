// Checks: what must hold after each event, whatever happened before (see README.md for the
// reasons).
#pragma once

#include <cstdint>

#include "pool/depot.h"
#include "sim/model.h"

namespace berth::sim {

class Checks {
 public:
  // Borrows both.
  Checks(Model& model, const pool::Depot& depot) : model_(model), depot_(depot) {}

  // After each event, when all actions have been carried out.
  void after_event();
  // After Depot::advance as well.
  void after_advance() const;
  // After time enough with a healthy world and every lease given back.
  void after_quiet() const;
  // When the shutdown's time is over.
  void after_drain() const;
  // When what was still to be closed is closed.
  void after_shutdown() const;

  // Dials that nobody waits for; a batch that may not collect yet waits for none.
  static size_t spare_dials(const Model& model, const pool::Pool& pool);

 private:
  struct Sum {
    size_t at_rest = 0;
    size_t closing = 0;
    size_t kept = 0;
    size_t connections = 0;
  };

  void containers(const PoolModel& model, const pool::Pool& pool, Sum& sum);
  void place_of(const pool::Connection& connection, const pool::Pool& pool);
  void deadline_of(const pool::Connection& connection, const pool::Pool& pool) const;
  void lease_of(const pool::Connection& connection, const ConnectionModel& model) const;
  void queue(size_t index, const pool::Pool& pool) const;
  void users() const;
  void eviction_order(const Sum& sum) const;
  void budget(const Sum& sum) const;
  void limits(const PoolModel& model, const pool::Pool& pool) const;
  void nobody_waits_beside_his_own(const PoolModel& model, const pool::Pool& pool) const;
  void somebody_looks_for_capacity(const PoolModel& model, const pool::Pool& pool) const;
  void min_idle_tried(const PoolModel& model, const pool::Pool& pool) const;
  void returned_to_first(const PoolModel& model, const pool::Pool& pool) const;
  void slots_are_lent(const PoolModel& model, const pool::Pool& pool) const;
  void place_under_max(const PoolModel& model, const pool::Pool& pool, size_t lacking,
                       size_t lacking_before_batch) const;
  void slots() const;
  void journal(const PoolModel& model, const pool::Pool& pool) const;
  void lease_limits(const ConnectionModel& model) const;
  void forget_removed();
  void min_idle_refilled(const PoolModel& model, const pool::Pool& pool) const;

  Model& model_;
  const pool::Depot& depot_;
  uint64_t round_ = 0;
};

}  // namespace berth::sim
