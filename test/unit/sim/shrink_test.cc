#include "sim/shrink.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <vector>

namespace berth::sim {
namespace {

using Numbers = std::vector<int>;

Numbers up_to(int most) {
  Numbers numbers(static_cast<size_t>(most));
  std::iota(numbers.begin(), numbers.end(), 1);
  return numbers;
}

bool has(const Numbers& numbers, int number) {
  return std::find(numbers.begin(), numbers.end(), number) != numbers.end();
}

TEST(Shrink, LeavesWhatAloneMakesItFail) {
  EXPECT_EQ(shrink(up_to(1000), [](const Numbers& n) { return has(n, 700); }), Numbers{700});
}

TEST(Shrink, LeavesWhatFailsTogetherInItsOrder) {
  const auto fails = [](const Numbers& n) { return has(n, 3) && has(n, 500) && has(n, 998); };
  EXPECT_EQ(shrink(up_to(1000), fails), (Numbers{3, 500, 998}));
}

TEST(Shrink, NotOneOfWhatIsLeftCanBeLeftOut) {
  const auto fails = [](const Numbers& n) {
    return std::count_if(n.begin(), n.end(), [](int each) { return each % 7 == 0; }) >= 5;
  };
  EXPECT_EQ(shrink(up_to(1000), fails).size(), 5u);
}

TEST(Shrink, NeedsFewTries) {
  int tries = 0;
  shrink(up_to(10'000), [&](const Numbers& n) {
    ++tries;
    return has(n, 10) && has(n, 9'000);
  });
  EXPECT_LT(tries, 150);
}

TEST(Shrink, NothingMayBeLeft) {
  EXPECT_TRUE(shrink(up_to(10), [](const Numbers&) { return true; }).empty());
}

}  // namespace
}  // namespace berth::sim
