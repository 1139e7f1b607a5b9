#include "broker/token.h"

#include <gtest/gtest.h>

namespace berth::broker {
namespace {

TEST(Token, IsReadFromHexOfEitherCase) {
  const auto token = token_from_hex("000102030405060708090a0b0c0d0eFF");
  ASSERT_TRUE(token);
  EXPECT_EQ(*token, (Token{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255}));
}

TEST(Token, IsNothingElse) {
  for (const char* text :
       {"", "00", "000102030405060708090a0b0c0d0e", "000102030405060708090a0b0c0d0e0f0",
        "000102030405060708090a0b0c0d0e0f00", "000102030405060708090a0b0c0d0e0g",
        "0x0102030405060708090a0b0c0d0e0f", "-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1",
        " 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0"}) {
    EXPECT_FALSE(token_from_hex(text)) << text;
  }
}

TEST(Token, IsNeverTheSame) {
  EXPECT_NE(random_token(), random_token());
}

}  // namespace
}  // namespace berth::broker
