#include "wire/crc32c.h"

#include <gtest/gtest.h>

#include <string>

namespace berth::wire {
namespace {

std::string from(int first, int step, size_t count) {
  std::string bytes;
  for (size_t i = 0; i < count; ++i) bytes += static_cast<char>(first + step * static_cast<int>(i));
  return bytes;
}

TEST(Crc32c, IsWhatTheStandardComputes) {
  EXPECT_EQ(crc32c(""), 0u);
  EXPECT_EQ(crc32c("123456789"), 0xe3069283u);
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8a9136aau);
  EXPECT_EQ(crc32c(std::string(32, '\xff')), 0x62a8ab43u);
  EXPECT_EQ(crc32c(from(0, 1, 32)), 0x46dd794eu);
  EXPECT_EQ(crc32c(from(31, -1, 32)), 0x113fdb5cu);
}

TEST(Crc32c, TellsEachLengthAndPlaceApart) {
  for (size_t size = 1; size < 40; ++size) {
    const std::string zeros(size, '\0');
    for (size_t at = 0; at < size; ++at) {
      std::string other = zeros;
      other[at] = 1;
      EXPECT_NE(crc32c(other), crc32c(zeros)) << size << " " << at;
    }
    EXPECT_NE(crc32c(zeros), crc32c(zeros + '\0')) << size;
  }
}

}  // namespace
}  // namespace berth::wire
