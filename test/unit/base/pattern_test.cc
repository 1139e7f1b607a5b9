#include "base/pattern.h"

#include <gtest/gtest.h>

#include "base/limits.h"

namespace berth {
namespace {

using Anchors = Pattern::Anchors;

Pattern pattern(std::string_view text, Anchors anchors = Anchors::text) {
  return std::get<Pattern>(Pattern::compile(text, anchors));
}

TEST(Pattern, IsOverBytes) {
  EXPECT_TRUE(
      pattern("a.b").matches_all_of("a\xff"
                                    "b"));
  EXPECT_TRUE(pattern(R"(\x00+)").matches_all_of(std::string_view("\0\0", 2)));
  EXPECT_TRUE(pattern("größe").matches_all_of("größe"));
  EXPECT_FALSE(pattern("a").matches_all_of("ab"));
}

TEST(Pattern, SaysWhatIsWrong) {
  const auto wrong = Pattern::compile("a(b", Anchors::line);
  ASSERT_TRUE(std::holds_alternative<std::string>(wrong));
  EXPECT_EQ(std::get<std::string>(wrong), "missing ): a(b");
  EXPECT_TRUE(std::holds_alternative<std::string>(
      Pattern::compile("((a{1000}){1000}){1000}", Anchors::text)));
  EXPECT_TRUE(std::holds_alternative<std::string>(Pattern::compile("*a", Anchors::line)));
}

TEST(Pattern, AnchorsMeanTheTextOrItsLines) {
  EXPECT_FALSE(pattern("^b$").matches_within("a\nb\nc", 0, 5));
  EXPECT_TRUE(pattern("^b$", Anchors::line).matches_within("a\nb\nc", 0, 5));
}

TEST(Pattern, WithinAPartOfATextSeesWhatSurroundsIt) {
  EXPECT_TRUE(pattern("b").matches_within("abc", 1, 2));
  EXPECT_FALSE(pattern("a").matches_within("abc", 1, 2));
  EXPECT_FALSE(pattern("c").matches_within("abc", 1, 2));
  EXPECT_FALSE(pattern("^b").matches_within("abc", 1, 2));
  EXPECT_FALSE(pattern("b$").matches_within("abc", 1, 2));
  EXPECT_FALSE(pattern("^b", Anchors::line).matches_within("abc", 1, 2));
  EXPECT_TRUE(pattern("^b$", Anchors::line).matches_within("\nb\n", 1, 2));
  EXPECT_FALSE(pattern(R"(\bb)").matches_within("abc", 1, 2));
  EXPECT_TRUE(pattern(R"(\bb\b)").matches_within(" b ", 1, 2));
}

}  // namespace
}  // namespace berth
