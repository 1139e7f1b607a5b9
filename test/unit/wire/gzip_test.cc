#include "wire/gzip.h"

#include <gtest/gtest.h>

#include <string>

#include "base/status_text.h"

namespace berth::wire {
namespace {

std::string zipped(std::string_view data) {
  std::string out;
  EXPECT_TRUE(append_gzip(data, data.size() + 100, out));
  return out;
}

std::string read(std::string_view member, size_t most = 1 << 20) {
  std::string out;
  const absl::Status status = read_gzip(member, most, out);
  return status.ok() ? out : text_of(status);
}

TEST(Gzip, WhatIsCompressedIsReadAsItWas) {
  for (const size_t size : {0u, 1u, 16383u, 16384u, 16385u, 300000u}) {
    EXPECT_EQ(read(zipped(std::string(size, 'x'))), std::string(size, 'x')) << size;
  }
}

TEST(Gzip, HasItsHeaderAndNotThatOfZlib) {
  EXPECT_EQ(zipped("hello").substr(0, 3), "\x1f\x8b\x08");
}

TEST(Gzip, WhatWouldBeLongerThanAllowedIsNotAppended) {
  std::string out = "before";
  EXPECT_FALSE(append_gzip("abc", 10, out));
  EXPECT_EQ(out, "before");
  EXPECT_TRUE(append_gzip(std::string(1000, 'x'), 100, out));
  EXPECT_EQ(out.substr(0, 6), "before");
  EXPECT_EQ(read(out.substr(6)), std::string(1000, 'x'));
}

TEST(Gzip, WhatIsBrokenIsSaid) {
  const std::string good = zipped("hello, hello, hello");
  const std::string broken = "its gzip data are broken: ";
  EXPECT_EQ(read(""), broken + "they are cut off");
  EXPECT_EQ(read(good.substr(0, good.size() - 1)), broken + "they are cut off");
  EXPECT_EQ(read(good + "x"), broken + "something follows their end");
  EXPECT_EQ(read("hello, hello"), broken + "incorrect header check");
  std::string other = good;
  other[other.size() - 5] ^= 1;
  EXPECT_EQ(read(other), broken + "incorrect data check");
  EXPECT_EQ(read(good), "hello, hello, hello") << "what was before makes no difference";
}

TEST(Gzip, NoMoreIsReadThanIsWanted) {
  const std::string bomb = zipped(std::string(1 << 20, '\0'));
  EXPECT_LT(bomb.size(), 6000u);
  std::string out;
  const absl::Status status = read_gzip(bomb, 100'000, out);
  EXPECT_TRUE(absl::IsResourceExhausted(status));
  EXPECT_EQ(text_of(status), "it is more than 100000 bytes when decoded");
  EXPECT_LE(out.size(), 100'000u);
  EXPECT_EQ(read(bomb, 1 << 20).size(), size_t{1} << 20);
}

}  // namespace
}  // namespace berth::wire
