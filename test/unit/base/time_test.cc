#include "base/time.h"

#include <gtest/gtest.h>

#include "base/random.h"

namespace berth {
namespace {

using namespace std::chrono_literals;

TEST(Time, AfterStaysAtNeverInsteadOfOverflowing) {
  const TimePoint now = TimePoint() + 1h;
  EXPECT_EQ(after(now, 1s), now + 1s);
  EXPECT_EQ(after(now, -1s), now - 1s);
  EXPECT_EQ(after(now, Duration::max()), kNever);
  EXPECT_EQ(after(kNever, 1s), kNever);
}

TEST(Time, DurationsReadWell) {
  EXPECT_EQ(format_duration(250us), "250 us");
  EXPECT_EQ(format_duration(250ms), "250 ms");
  EXPECT_EQ(format_duration(5s), "5 s");
  EXPECT_EQ(format_duration(1500ms), "1.5 s");
  EXPECT_EQ(format_duration(31s), "31 s");
  EXPECT_EQ(format_duration(119s), "119 s");
  EXPECT_EQ(format_duration(12min), "12 min");
  EXPECT_EQ(format_duration(3h), "3 h");
  EXPECT_EQ(format_duration(0s), "0 s");
}

TEST(Time, DurationsDoNotRoundIntoTheNextUnitsNumber) {
  EXPECT_EQ(format_duration(999999us), "1 s");
  EXPECT_EQ(format_duration(999600ns), "1 ms");
  EXPECT_EQ(format_duration(9990ms), "10 s");
}

TEST(Random, TheSeedDecidesEverything) {
  Random a(42);
  Random b(42);
  Random c(43);
  EXPECT_EQ(a.next(), b.next());
  EXPECT_NE(a.next(), c.next());
}

TEST(Random, UnitIsNeverOne) {
  Random random(1);
  for (int i = 0; i < 100'000; ++i) {
    const double unit = random.unit();
    ASSERT_GE(unit, 0);
    ASSERT_LT(unit, 1);
    ASSERT_LT(random.below(3), 3u);
  }
}

}  // namespace
}  // namespace berth
