#include "control/answers.h"

#include <gtest/gtest.h>

#include <vector>

namespace berth::control {
namespace {

TEST(Answers, AreGivenInTheOrderOfAddingAndAllBeforeTheEnd) {
  std::vector<int> given;
  {
    Answers answers;
    for (int i = 0; i < 100; ++i) answers.add([&given, i] { given.push_back(i); });
  }
  ASSERT_EQ(given.size(), 100u);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(given[static_cast<size_t>(i)], i);
}

TEST(Answers, AnAnswerMayLeadToAnother) {
  bool given = false;
  {
    Answers answers;
    answers.add([&] { answers.add([&given] { given = true; }); });
  }
  EXPECT_TRUE(given);
}

}  // namespace
}  // namespace berth::control
