#include "base/list.h"

#include <gtest/gtest.h>

#include <vector>

namespace berth {
namespace {

struct Item {
  int value = 0;
  ListLink<Item> link;
  ListLink<Item> other;
};

using Items = List<Item, &Item::link>;
using Others = List<Item, &Item::other>;

std::vector<int> values(const Items& list) {
  std::vector<int> values;
  for (const Item& item : list) values.push_back(item.value);
  return values;
}

TEST(List, KeepsTheOrderThroughRemovalsAtBothEndsAndBetween) {
  Item items[5] = {{0, {}, {}}, {1, {}, {}}, {2, {}, {}}, {3, {}, {}}, {4, {}, {}}};
  Items list;
  for (Item& item : items) list.push_back(item);
  list.remove(items[2]);
  EXPECT_EQ(values(list), (std::vector{0, 1, 3, 4}));
  list.remove(items[0]);
  list.remove(items[4]);
  EXPECT_EQ(values(list), (std::vector{1, 3}));
  EXPECT_EQ(list.front(), &items[1]);
  EXPECT_EQ(list.back(), &items[3]);
  list.insert_before(&items[1], items[4]);
  EXPECT_EQ(values(list), (std::vector{4, 1, 3}));
  EXPECT_EQ(list.size(), 3u);
  for (const int i : {1, 3, 4}) list.remove(items[i]);
  EXPECT_TRUE(list.empty());
  EXPECT_EQ(list.front(), nullptr);
}

TEST(List, ARecordStandsInListsOfDifferentKinds) {
  Item item;
  Items list;
  Others others;
  list.push_back(item);
  others.push_back(item);
  list.remove(item);
  EXPECT_TRUE(others.contains(item));
  EXPECT_FALSE(list.contains(item));
}

TEST(List, InOrderInsertionKeepsEqualsInTheOrderOfArrival) {
  Item items[4] = {{5, {}, {}}, {3, {}, {}}, {5, {}, {}}, {4, {}, {}}};
  Items list;
  for (Item& item : items) {
    insert_in_order(list, item, [&](const Item& other) { return other.value > item.value; });
  }
  EXPECT_EQ(values(list), (std::vector{3, 4, 5, 5}));
  EXPECT_EQ(list.back(), &items[2]);
}

TEST(ListDeathTest, WrongLinksDieLoudly) {
  Item item;
  Items list;
  Items another;
  EXPECT_DEATH(list.remove(item), "removed from the list it stands in");
  list.push_back(item);
  EXPECT_DEATH(another.remove(item), "removed from the list it stands in");
  EXPECT_DEATH(another.push_back(item), "stands in one list of a kind");
}

}  // namespace
}  // namespace berth
