// Strong identifiers of table slots: an index and a generation.
//
// An id names one life of one slot. A late event for a slot that was reused carries the old
// generation and simply misses. Ids stay below 2^61, because a parking word is
// `lease_id << 3 | state` (DESIGN section 14); a slot whose generations are used up is retired,
// so that no id is ever given twice.
#pragma once

#include <compare>
#include <cstdint>
#include <utility>

namespace berth {

template <class Tag>
class Id {
 public:
  static constexpr int kIndexBits = 24;
  static constexpr int kGenerationBits = 37;
  static constexpr uint32_t kMaxIndex = (uint32_t{1} << kIndexBits) - 1;
  static constexpr uint64_t kMaxGeneration = (uint64_t{1} << kGenerationBits) - 1;

  constexpr Id() = default;
  constexpr Id(uint32_t index, uint64_t generation) : value_(generation << kIndexBits | index) {}
  static constexpr Id from_value(uint64_t value) {
    Id id;
    id.value_ = value;
    return id;
  }

  // 0 is no id: generations begin at 1.
  constexpr bool valid() const { return value_ != 0; }
  constexpr uint64_t value() const { return value_; }
  constexpr uint32_t index() const { return static_cast<uint32_t>(value_ & kMaxIndex); }
  constexpr uint64_t generation() const { return value_ >> kIndexBits; }

  friend constexpr auto operator<=>(Id, Id) = default;
  template <class H>
  friend H AbslHashValue(H h, Id id) {
    return H::combine(std::move(h), id.value_);
  }

 private:
  uint64_t value_ = 0;
};

using ConnectionId = Id<struct ConnectionTag>;
using LeaseId = Id<struct LeaseTag>;
using SessionId = Id<struct SessionTag>;
using WaiterId = Id<struct WaiterTag>;
using PoolId = Id<struct PoolTag>;
using StreamId = Id<struct StreamTag>;

}  // namespace berth
