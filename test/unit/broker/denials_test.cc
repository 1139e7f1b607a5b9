#include "broker/denials.h"

#include <gtest/gtest.h>

namespace berth::broker {
namespace {

using namespace std::chrono_literals;

class DenialsTest : public testing::Test {
 protected:
  std::optional<std::string> deny(uint32_t uid) {
    return denials.note(now, {.uid = uid}, "k", "w");
  }

  Denials denials;
  TimePoint now{1h};
};

TEST_F(DenialsTest, NameWhoAskedForWhatAndWhyHeMayNot) {
  const auto line = denials.note(now, {.uid = 33, .pid = 0}, "redis\n", "no \x1b[1m");
  EXPECT_EQ(line, "denied: pid 0 ? (uid 33) asks for \"redis\\n\": \"no \\x1b[1m\"");
}

TEST_F(DenialsTest, AreLoggedAFewAtOnceThenOneNowAndAgain) {
  for (uint32_t i = 0; i < Denials::kBurst; ++i) EXPECT_TRUE(deny(1)) << i;
  for (int i = 0; i < 1000; ++i) EXPECT_FALSE(deny(1));
  now += Denials::kEvery - 1ms;
  EXPECT_FALSE(deny(1));
  now += 1ms;
  const auto line = deny(1);
  ASSERT_TRUE(line);
  EXPECT_TRUE(line->ends_with(" (1001 more were not logged)")) << *line;
  EXPECT_FALSE(deny(1));
}

TEST_F(DenialsTest, OfOneUserDoNotHideThoseOfAnother) {
  for (int i = 0; i < 100; ++i) deny(1);
  EXPECT_TRUE(deny(2));
}

TEST_F(DenialsTest, OfAnyNumberOfUsersTakeBoundedMemory) {
  for (uint32_t uid = 0; uid < 10'000; ++uid) deny(uid);
  EXPECT_EQ(denials.users(), Denials::kMaxUsers);
  now += Denials::kBurst * Denials::kEvery;
  EXPECT_TRUE(deny(20'000));
  EXPECT_EQ(denials.users(), 1u) << "those who have been quiet are forgotten";
}

}  // namespace
}  // namespace berth::broker
