// Slab: fixed-size records in stable slots, found by Id in one step.
//
// Not thread-safe. Records never move. A freed slot is reused last-in first-out with a new
// generation; a slot that has used all its generations is retired.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <type_traits>
#include <vector>

#include "base/check.h"
#include "base/ids.h"

namespace berth {

template <class IdType, class Record>
class Slab {
 public:
  IdType allocate() {
    if (free_.empty()) {
      BERTH_CHECK(slots_.size() <= IdType::kMaxIndex, "a slab holds at most 2^24 records");
      slots_.emplace_back();
      slots_.back().generation = 1;
      slots_.back().live = true;
      ++live_;
      return IdType(static_cast<uint32_t>(slots_.size() - 1), 1);
    }
    const uint32_t index = free_.back();
    free_.pop_back();
    Slot& slot = slots_[index];
    std::destroy_at(&slot.record);
    std::construct_at(&slot.record);
    slot.live = true;
    ++live_;
    return IdType(index, slot.generation);
  }

  void free(IdType id) {
    BERTH_CHECK(find(id) != nullptr, "only a live record is freed");
    Slot& slot = slots_[id.index()];
    slot.live = false;
    --live_;
    if (slot.generation == IdType::kMaxGeneration) return;  // retired
    ++slot.generation;
    free_.push_back(id.index());
  }

  // nullptr if the id is stale or was never given.
  Record* find(IdType id) { return const_cast<Record*>(static_cast<const Slab*>(this)->find(id)); }
  const Record* find(IdType id) const {
    if (id.index() >= slots_.size()) return nullptr;
    const Slot& slot = slots_[id.index()];
    return slot.live && slot.generation == id.generation() ? &slot.record : nullptr;
  }

  Record& operator[](IdType id) {
    Record* record = find(id);
    BERTH_CHECK(record != nullptr, "the id names a live record");
    return *record;
  }
  const Record& operator[](IdType id) const {
    const Record* record = find(id);
    BERTH_CHECK(record != nullptr, "the id names a live record");
    return *record;
  }

  size_t size() const { return live_; }

  // Calls visit(id, record) for each live record, in slot order. `visit` must not allocate or free.
  template <class Visit>
  void for_each(Visit&& visit) const {
    for (size_t i = 0; i < slots_.size(); ++i) {
      const Slot& slot = slots_[i];
      if (slot.live) visit(IdType(static_cast<uint32_t>(i), slot.generation), slot.record);
    }
  }

 private:
  struct Slot {
    Record record{};
    uint64_t generation = 1;
    bool live = false;
  };

  std::deque<Slot> slots_;
  std::vector<uint32_t> free_;
  size_t live_ = 0;
};

}  // namespace berth
