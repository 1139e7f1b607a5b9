// SlotQueue: the pools whose oldest unserved request lacks slots of the fd budget, by the arrival
// of that request (rule 8: by arrival across pools that compete for slots), and how many it needs
// at once: 1 for a dial, as many as were asked for where bare slots are lent.
#pragma once

#include <absl/container/btree_map.h>

#include <cstddef>
#include <cstdint>

#include "base/ids.h"

namespace berth::pool {

class SlotQueue {
 public:
  // Requires: none of this arrival is there.
  void insert(uint64_t arrival, PoolId pool, uint32_t need) {
    queue_.insert({arrival, {pool, need}});
    needed_ += need;
  }
  // Requires: it is there.
  void erase(uint64_t arrival) {
    const auto at = queue_.find(arrival);
    needed_ -= at->second.need;
    queue_.erase(at);
  }

  bool empty() const { return queue_.empty(); }
  // By all of them together.
  size_t needed() const { return needed_; }
  PoolId front() const { return queue_.begin()->second.pool; }
  uint64_t front_arrival() const { return queue_.begin()->first; }
  uint32_t front_need() const { return queue_.begin()->second.need; }
  // Whether a request of this arrival would overtake one that waits for a slot.
  bool overtaken_by(uint64_t arrival) const { return !empty() && front_arrival() < arrival; }

 private:
  struct Place {
    PoolId pool;
    uint32_t need;
  };
  absl::btree_map<uint64_t, Place> queue_;  // arrivals are over all pools
  size_t needed_ = 0;
};

}  // namespace berth::pool
