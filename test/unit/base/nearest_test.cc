#include "base/nearest.h"

#include <gtest/gtest.h>

#include <vector>

namespace berth {
namespace {

std::string nearest_key(std::string_view word) {
  const std::vector<std::string> keys = {"redis", "redis-2", "memcached", "db", "reports"};
  return nearest(word, keys);
}

TEST(Nearest, FindsTheWordBehindEachKindOfTypingMistake) {
  EXPECT_EQ(nearest_key("memcachd"), "memcached");    // a letter missing
  EXPECT_EQ(nearest_key("memcacheed"), "memcached");  // one too many
  EXPECT_EQ(nearest_key("memcaches"), "memcached");   // a wrong one
  EXPECT_EQ(nearest_key("memcahced"), "memcached");   // two swapped
  EXPECT_EQ(nearest_key("emcached"), "memcached");    // at the beginning
  EXPECT_EQ(nearest_key("mencashedd"), "memcached");  // three at once
}

TEST(Nearest, TakesTheNearestAndTheFirstOfEquals) {
  EXPECT_EQ(nearest_key("redis"), "redis");
  EXPECT_EQ(nearest_key("redis-3"), "redis-2");
  const std::vector<std::string_view> equals = {"port", "sort", "fort"};
  EXPECT_EQ(nearest("wort", equals), "port");
}

TEST(Nearest, IsSilentWhenNothingIsNear) {
  EXPECT_EQ(nearest_key(""), "");
  EXPECT_EQ(nearest_key("postgres"), "");
  EXPECT_EQ(nearest_key("xy"), "");
  EXPECT_EQ(nearest_key(std::string(300, 'r')), "");
  EXPECT_EQ(nearest("redis", std::span<const std::string>()), "");
}

TEST(Nearest, AllowsAShortWordOneMistakeAndNeverMoreThanThree) {
  EXPECT_EQ(nearest_key("dd"), "db");
  EXPECT_EQ(nearest_key("d"), "db");
  const std::vector<std::string_view> longest = {"abcdefghijklmnopqrstuvwxyz"};
  EXPECT_EQ(nearest("abcdefghijklmnopqrstuvw", longest), longest[0]);
  EXPECT_EQ(nearest("abcdefghijklmnopqrstuv", longest), "");
}

}  // namespace
}  // namespace berth
