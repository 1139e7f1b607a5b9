#include "wire/snappy_frames.h"

#include <gtest/gtest.h>

#include <string>

#include "base/random.h"
#include "base/status_text.h"

namespace berth::wire {
namespace {

using namespace std::string_literals;

constexpr size_t kPlenty = 1 << 20;
const std::string kIdentifier = "\xff\x06\0\0sNaPpY"s;
// "hello" as it is, and its masked sum.
const std::string kHello = "\x01\x09\0\0\xbb\x1f\x1c\x19hello"s;

std::string noise(size_t size) {
  Random random(7);
  std::string bytes;
  while (bytes.size() < size) bytes += static_cast<char>(random.next());
  return bytes;
}

std::string framed(std::string_view data) {
  std::string out;
  append_snappy_frames(data, out);
  return out;
}

std::string read(std::string_view stream, size_t most = kPlenty) {
  std::string out;
  const absl::Status status = read_snappy_frames(stream, most, out);
  return status.ok() ? out : text_of(status);
}

TEST(SnappyFrames, WhatIsFramedIsReadAsItWas) {
  for (const size_t size : {0u, 1u, 100u, 65535u, 65536u, 65537u, 131072u, 200000u}) {
    EXPECT_EQ(read(framed(std::string(size, 'x'))), std::string(size, 'x')) << size;
    EXPECT_EQ(read(framed(noise(size))), noise(size)) << size;
  }
}

TEST(SnappyFrames, AChunkHasAtMost64KiB) {
  EXPECT_EQ(framed(noise(65536)).size(), kIdentifier.size() + 8 + 65536);
  EXPECT_EQ(framed(noise(65537)).size(), kIdentifier.size() + 8 + 65536 + 8 + 1);
}

TEST(SnappyFrames, WhatIsAlikeGetsShorter) {
  EXPECT_LT(framed(std::string(65536, 'x')).size(), 4000u);
}

TEST(SnappyFrames, AppendLeavesWhatWasThere) {
  std::string out = "before";
  append_snappy_frames("hello", out);
  EXPECT_EQ(out, "before" + kIdentifier + kHello);
  std::string data = "before ";
  EXPECT_TRUE(read_snappy_frames(kIdentifier + kHello, 5, data).ok());
  EXPECT_EQ(data, "before hello");
}

TEST(SnappyFrames, WhatMayBeSkippedIs) {
  const std::string padding = "\xfe\x03\0\0abc"s;
  const std::string unknown = "\x80\x01\0\0z"s;
  EXPECT_EQ(read(kIdentifier + padding + kHello + unknown + kIdentifier + kHello), "hellohello");
}

TEST(SnappyFrames, AStreamWithoutAByteHasNoData) {
  EXPECT_EQ(read(""), "");
  EXPECT_EQ(read(kIdentifier), "");
}

TEST(SnappyFrames, WhatIsBrokenIsSaid) {
  const std::string broken = "its snappy frames are broken: ";
  EXPECT_EQ(read(kHello), broken + "they do not begin with the stream identifier");
  EXPECT_EQ(read("\xff\x06"), broken + "they do not begin with the stream identifier");
  EXPECT_EQ(read(kIdentifier + "\x01\x09"), broken + "the last chunk is cut off");
  EXPECT_EQ(read(kIdentifier + kHello.substr(0, 9)), broken + "the last chunk is cut off");
  EXPECT_EQ(read(kIdentifier + "\x01\x03\0\0abc"s),
            broken + "a chunk is too short for its checksum");
  EXPECT_EQ(read(kIdentifier + "\x02\0\0\0"s), broken + "a chunk has the unknown type 0x02");
  EXPECT_EQ(read(kIdentifier + "\x7f\0\0\0"s), broken + "a chunk has the unknown type 0x7f");
  EXPECT_EQ(read(kIdentifier + "\xff\x06\0\0SnApPy"s), broken + "a stream identifier is wrong");
  std::string other = kIdentifier + kHello;
  other.back() = 'p';
  EXPECT_EQ(read(other), broken + "a checksum is not that of the data");
  EXPECT_EQ(read(kIdentifier + "\0\x04\0\0abcd"s), broken + "a chunk does not say how long it is");
  EXPECT_EQ(read(kIdentifier + "\0\x05\0\0abcd\x05"s), broken + "a chunk cannot be decompressed");
  EXPECT_EQ(read(kIdentifier + "\0\x09\0\0abcd\x81\x80\x04xx"s),
            broken + "a chunk has more than 65536 bytes");
}

TEST(SnappyFrames, NoMoreIsReadThanIsWanted) {
  const std::string bomb = framed(std::string(500'000, 'x'));
  std::string out;
  const absl::Status status = read_snappy_frames(bomb, 100'000, out);
  EXPECT_TRUE(absl::IsResourceExhausted(status));
  EXPECT_EQ(text_of(status), "it is more than 100000 bytes when decoded");
  EXPECT_LE(out.size(), 100'000u);
  EXPECT_EQ(read(bomb, 499'999), "it is more than 499999 bytes when decoded");
  EXPECT_EQ(read(bomb, 500'000).size(), 500'000u);
}

}  // namespace
}  // namespace berth::wire
