// Deadlines: an index of everything that is due at a time, soonest first, ties by insertion.
//
// A record that can be due embeds a Deadline and is linked by address, so it must not move while
// it is set. set() and clear() are O(log n); what lies far ahead, as most do, costs O(1).
#pragma once

#include <cstdint>
#include <vector>

#include "base/time.h"

namespace berth::pool {

struct Deadline {
  enum class Kind : uint8_t { connection, waiter, lease, pool, drain, sweep };

  static constexpr uint32_t kUnset = UINT32_MAX;

  TimePoint when = kNever;
  uint64_t subject = 0;  // the id of what is due
  uint32_t place = kUnset;
  Kind kind = Kind::connection;
};

class Deadlines {
 public:
  // Files or moves `deadline`; kNever takes it out.
  void set(Deadline& deadline, TimePoint when);
  void clear(Deadline& deadline) { set(deadline, kNever); }

  // kNever if nothing is filed.
  TimePoint next() const { return heap_.empty() ? kNever : heap_.front().when; }

  // Takes out the soonest that is due at `now`; nullptr if none is.
  Deadline* pop_due(TimePoint now);

  size_t size() const { return heap_.size(); }

 private:
  struct Entry {
    TimePoint when;
    uint64_t order;
    Deadline* deadline;
    bool before(const Entry& other) const {
      return when != other.when ? when < other.when : order < other.order;
    }
  };

  void place(size_t at, const Entry& entry);
  void sift_up(size_t at);
  void sift_down(size_t at);
  void remove(size_t at);

  std::vector<Entry> heap_;
  uint64_t order_ = 0;
};

}  // namespace berth::pool
