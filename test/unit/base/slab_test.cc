#include "base/slab.h"

#include <gtest/gtest.h>

#include <set>

namespace berth {
namespace {

// Few bits, so that generations run out.
struct TinyId {
  static constexpr uint32_t kMaxIndex = 3;
  static constexpr uint64_t kMaxGeneration = 3;

  TinyId() = default;
  TinyId(uint32_t index, uint64_t generation) : index_(index), generation_(generation) {}
  uint32_t index() const { return index_; }
  uint64_t generation() const { return generation_; }
  friend auto operator<=>(const TinyId&, const TinyId&) = default;

 private:
  uint32_t index_ = 0;
  uint64_t generation_ = 0;
};

struct Record {
  int value = 7;
};

TEST(Slab, AStaleIdMissesTheSlotsNextLife) {
  Slab<ConnectionId, Record> slab;
  const ConnectionId old = slab.allocate();
  slab[old].value = 1;
  slab.free(old);
  EXPECT_EQ(slab.find(old), nullptr);
  const ConnectionId next = slab.allocate();
  EXPECT_EQ(next.index(), old.index());
  EXPECT_NE(next, old);
  EXPECT_EQ(slab.find(old), nullptr);
  EXPECT_EQ(slab[next].value, 7) << "a record begins anew";
}

TEST(Slab, AnIdNeverGivenIsNotFound) {
  Slab<ConnectionId, Record> slab;
  EXPECT_EQ(slab.find(ConnectionId()), nullptr);
  slab.allocate();
  EXPECT_EQ(slab.find(ConnectionId()), nullptr);
  EXPECT_EQ(slab.find(ConnectionId(0, 2)), nullptr);
  EXPECT_EQ(slab.find(ConnectionId(1, 1)), nullptr);
  EXPECT_EQ(slab.find(ConnectionId::from_value(UINT64_MAX)), nullptr);
}

TEST(Slab, ASlotWhoseGenerationsAreUsedUpIsRetired) {
  Slab<TinyId, Record> slab;
  std::set<TinyId> ever;
  for (int i = 0; i < 12; ++i) {  // 4 slots of 3 lives
    const TinyId id = slab.allocate();
    EXPECT_TRUE(ever.insert(id).second) << "no id is given twice";
    slab.free(id);
  }
  EXPECT_EQ(slab.size(), 0u);
  EXPECT_DEATH(slab.allocate(), "a slab holds at most");
}

TEST(Slab, RecordsDoNotMoveWhenItGrows) {
  Slab<ConnectionId, Record> slab;
  const Record* first = &slab[slab.allocate()];
  for (int i = 0; i < 10'000; ++i) slab.allocate();
  EXPECT_EQ(first, slab.find(ConnectionId(0, 1)));
}

TEST(Slab, VisitsTheLivingInSlotOrder) {
  Slab<ConnectionId, Record> slab;
  const ConnectionId a = slab.allocate();
  const ConnectionId b = slab.allocate();
  const ConnectionId c = slab.allocate();
  slab.free(b);
  std::vector<ConnectionId> seen;
  slab.for_each([&](ConnectionId id, const Record&) { seen.push_back(id); });
  EXPECT_EQ(seen, (std::vector{a, c}));
  EXPECT_EQ(slab.size(), 2u);
}

TEST(SlabDeathTest, FreeingTwiceIsOurFault) {
  Slab<ConnectionId, Record> slab;
  const ConnectionId id = slab.allocate();
  slab.free(id);
  EXPECT_DEATH(slab.free(id), "only a live record is freed");
  EXPECT_DEATH(slab[id].value = 1, "the id names a live record");
}

TEST(Ids, StayBelowTheParkingWordsThreeBits) {
  const LeaseId last(LeaseId::kMaxIndex, LeaseId::kMaxGeneration);
  EXPECT_LT(last.value(), uint64_t{1} << 61);
  EXPECT_EQ(last.index(), LeaseId::kMaxIndex);
  EXPECT_EQ(last.generation(), LeaseId::kMaxGeneration);
  EXPECT_FALSE(LeaseId().valid());
  EXPECT_TRUE(LeaseId(0, 1).valid());
  EXPECT_EQ(LeaseId::from_value(last.value()), last);
}

}  // namespace
}  // namespace berth
