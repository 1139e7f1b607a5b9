// SlotQueue: the pools whose oldest unserved request lacks a slot of the fd budget, by the arrival
// of that request (rule 8: by arrival across pools that compete for slots).
#pragma once

#include <absl/container/btree_set.h>

#include <cstdint>
#include <utility>

#include "base/ids.h"

namespace berth::pool {

class SlotQueue {
 public:
  void insert(uint64_t arrival, PoolId pool) { queue_.insert({arrival, pool}); }
  void erase(uint64_t arrival, PoolId pool) { queue_.erase({arrival, pool}); }

  bool empty() const { return queue_.empty(); }
  size_t size() const { return queue_.size(); }
  PoolId front() const { return queue_.begin()->second; }
  uint64_t front_arrival() const { return queue_.begin()->first; }
  // Whether a request of this arrival would overtake one that waits for a slot.
  bool overtaken_by(uint64_t arrival) const { return !empty() && front_arrival() < arrival; }

 private:
  absl::btree_set<std::pair<uint64_t, PoolId>> queue_;
};

}  // namespace berth::pool
