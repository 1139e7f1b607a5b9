// Slab: fixed-size records in stable slots, found by Id in one step.
//
// Not thread-safe. Records never move. A freed slot is reused last-in first-out with a new
// generation; a slot that has used all its generations is retired.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/check.h"
#include "base/ids.h"

namespace berth {

template <class IdType, class Record>
class Slab {
 public:
  IdType allocate() {
    const uint32_t index = free_.empty() ? add_slot() : take_free();
    Slot& slot = at(index);
    slot.live = true;
    ++live_;
    return slot.id;
  }

  void free(IdType id) {
    BERTH_CHECK(find(id) != nullptr, "only a live record is freed");
    Slot& slot = at(id.index());
    slot.live = false;
    --live_;
    if (id.generation() == IdType::kMaxGeneration) return;  // retired
    slot.id = IdType(id.index(), id.generation() + 1);
    free_.push_back(id.index());
  }

  // nullptr if the id is stale or was never given.
  Record* find(IdType id) { return const_cast<Record*>(static_cast<const Slab*>(this)->find(id)); }
  const Record* find(IdType id) const {
    if (id.index() >= slots_) return nullptr;
    const Slot& slot = at(id.index());
    return slot.live && slot.id == id ? &slot.record : nullptr;
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
    for (uint32_t i = 0; i < slots_; ++i) {
      const Slot& slot = at(i);
      if (slot.live) visit(slot.id, slot.record);
    }
  }

  // The same for `count` slots from slot `first` on, until a visit answers false: that record was
  // not taken. Returns the slot to go on with; 0 if there are no more.
  template <class Visit>
  uint32_t for_some(uint32_t first, size_t count, Visit&& visit) const {
    const size_t end = std::min<size_t>(slots_, size_t{first} + count);
    for (uint32_t i = first; i < end; ++i) {
      const Slot& slot = at(i);
      if (slot.live && !visit(slot.id, slot.record)) return i;
    }
    return end < slots_ ? static_cast<uint32_t>(end) : 0;
  }

 private:
  struct Slot {
    Record record{};
    IdType id;  // the one to be given next, unless it is live
    bool live = false;
  };
  static constexpr uint32_t kChunk = 64;

  Slot& at(uint32_t index) { return chunks_[index / kChunk][index % kChunk]; }
  const Slot& at(uint32_t index) const { return chunks_[index / kChunk][index % kChunk]; }

  uint32_t add_slot() {
    BERTH_CHECK(slots_ <= IdType::kMaxIndex, "a slab holds at most 2^24 records");
    if (slots_ % kChunk == 0) chunks_.push_back(std::make_unique<Slot[]>(kChunk));
    at(slots_).id = IdType(slots_, 1);
    return slots_++;
  }

  uint32_t take_free() {
    const uint32_t index = free_.back();
    free_.pop_back();
    Slot& slot = at(index);
    std::destroy_at(&slot.record);
    std::construct_at(&slot.record);
    return index;
  }

  std::vector<std::unique_ptr<Slot[]>> chunks_;
  uint32_t slots_ = 0;
  std::vector<uint32_t> free_;
  size_t live_ = 0;
};

}  // namespace berth
