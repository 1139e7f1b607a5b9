#include "wire/grpc_recoder.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/limits.h"
#include "base/status_text.h"
#include "wire/compression.h"

namespace berth::wire {
namespace {

using namespace std::string_literals;
using Task = GrpcRecoder::Task;

constexpr Compression kBoth[] = {Compression::snappy, Compression::gzip};

std::string message(std::string_view payload, uint8_t flag = 0) {
  std::string bytes;
  append_grpc_prefix({flag, static_cast<uint32_t>(payload.size())}, bytes);
  return bytes + std::string(payload);
}

std::string compressed(Compression compression, std::string_view payload) {
  std::string data;
  EXPECT_TRUE(append_compressed(compression, payload, data));
  return message(data, 1);
}

// What comes of the bytes in pieces of that size, or the error's words.
std::string recoded(GrpcRecoder& recoder, std::string_view bytes, size_t piece = 1 << 30) {
  std::string out;
  while (!bytes.empty()) {
    const auto taken = recoder.feed(bytes.substr(0, piece), SIZE_MAX, out);
    if (!taken.ok()) return text_of(taken.status());
    bytes.remove_prefix(*taken);
    if (recoder.work() == nullptr) continue;
    recoder.work()->compute();
    const absl::Status status = recoder.take_work(out);
    if (!status.ok()) return text_of(status);
  }
  return out;
}

class GrpcRecoderTest : public ::testing::Test {
 protected:
  GrpcHold hold_{kMaxHeldMessageBytes};
  const std::string long_ = std::string(500, 'x');
};

TEST_F(GrpcRecoderTest, WhatIsCompressedIsDecompressedInPiecesOfAnySize) {
  const std::string plain = message(long_) + message("") + message("short") + message(long_ + "y");
  for (const Compression compression : kBoth) {
    const std::string expected = compressed(compression, long_) + message("") + message("short") +
                                 compressed(compression, long_ + "y");
    for (const size_t piece : {1u, 2u, 3u, 4u, 5u, 6u, 7u, 100u, 504u, 505u, 506u, 10000u}) {
      GrpcRecoder there(compression, Task::compress, hold_);
      GrpcRecoder back(compression, Task::decompress, hold_);
      EXPECT_EQ(recoded(there, plain, piece), expected) << piece;
      EXPECT_EQ(recoded(back, expected, piece), plain) << piece;
    }
  }
  EXPECT_EQ(hold_.held(), 0u);
}

TEST_F(GrpcRecoderTest, AMessageThatDoesNotGetShorterGoesAsItCame) {
  std::string noise;
  for (int i = 0; i < 100; ++i) noise += static_cast<char>(i * 37);
  for (const Compression compression : kBoth) {
    GrpcRecoder recoder(compression, Task::compress, hold_);
    EXPECT_EQ(recoded(recoder, message(noise), 10), message(noise));
  }
}

TEST_F(GrpcRecoderTest, WhatTakesLongIsComputedElsewhereAndNothingIsTakenMeanwhile) {
  const std::string big(kMaxLoopMessageBytes + 1, 'x');
  for (const Compression compression : kBoth) {
    GrpcRecoder recoder(compression, Task::compress, hold_);
    const std::string plain = message(long_) + message(big) + message(long_);
    std::string out;
    const auto taken = recoder.feed(plain, SIZE_MAX, out);
    ASSERT_TRUE(taken.ok());
    EXPECT_EQ(*taken, message(long_).size() + message(big).size());
    EXPECT_EQ(out, compressed(compression, long_));
    const std::shared_ptr<GrpcWork> work = recoder.work();
    ASSERT_NE(work, nullptr);
    EXPECT_EQ(hold_.held(), big.size());
    EXPECT_EQ(*recoder.feed(message(long_), SIZE_MAX, out), 0u);
    work->compute();
    EXPECT_TRUE(recoder.take_work(out).ok());
    EXPECT_EQ(recoder.work(), nullptr);
    EXPECT_EQ(out, compressed(compression, long_) + compressed(compression, big));
    EXPECT_EQ(hold_.held(), 0u);
  }
}

TEST_F(GrpcRecoderTest, AShortMessageThatBecomesLongIsDecompressedElsewhereToo) {
  const std::string big(kMaxLoopDecodedBytes + 1, 'x');
  for (const Compression compression : kBoth) {
    GrpcRecoder recoder(compression, Task::decompress, hold_);
    const std::string packed = compressed(compression, big);
    ASSERT_LE(packed.size(), kMaxLoopMessageBytes);
    std::string out;
    EXPECT_EQ(*recoder.feed(packed, SIZE_MAX, out), packed.size());
    EXPECT_EQ(out, "") << "nothing of what was tried";
    ASSERT_NE(recoder.work(), nullptr);
    recoder.work()->compute();
    EXPECT_TRUE(recoder.take_work(out).ok());
    EXPECT_EQ(out, message(big));
    const std::string most(kMaxLoopDecodedBytes, 'y');
    EXPECT_EQ(*recoder.feed(compressed(compression, most), SIZE_MAX, out),
              compressed(compression, most).size());
    EXPECT_EQ(recoder.work(), nullptr);
  }
}

TEST_F(GrpcRecoderTest, WorkThatNobodyTakesLeavesNothing) {
  std::shared_ptr<GrpcWork> work;
  {
    GrpcRecoder recoder(Compression::gzip, Task::compress, hold_);
    std::string out;
    ASSERT_TRUE(recoder.feed(message(std::string(100'000, 'x')), SIZE_MAX, out).ok());
    work = recoder.work();
  }
  EXPECT_EQ(hold_.held(), 0u);
  ASSERT_NE(work, nullptr);
  work->compute();
}

TEST_F(GrpcRecoderTest, ALongMessageGoesAsItComes) {
  GrpcRecoder recoder(Compression::gzip, Task::compress, hold_);
  const std::string bytes = message(std::string(kMaxCompressedMessageBytes + 1, 'x'));
  EXPECT_EQ(recoded(recoder, bytes.substr(0, 100)), bytes.substr(0, 100)) << "nothing is held";
  EXPECT_EQ(recoded(recoder, bytes.substr(100), 1000), bytes.substr(100));
  EXPECT_EQ(recoded(recoder, message(long_)), compressed(Compression::gzip, long_));
  const std::string longest(kMaxCompressedMessageBytes, 'x');
  EXPECT_EQ(recoded(recoder, message(longest), 5000), compressed(Compression::gzip, longest));
}

TEST_F(GrpcRecoderTest, WithoutRoomMessagesGoAsTheyCome) {
  GrpcHold small(600);
  GrpcRecoder one(Compression::snappy, Task::compress, small);
  GrpcRecoder other(Compression::snappy, Task::compress, small);
  const std::string bytes = message(long_);
  EXPECT_EQ(recoded(one, bytes.substr(0, 10)), "");
  EXPECT_EQ(small.held(), 500u);
  EXPECT_EQ(recoded(other, bytes.substr(0, 10)), bytes.substr(0, 10));
  EXPECT_EQ(recoded(one, bytes.substr(10)), compressed(Compression::snappy, long_));
  EXPECT_EQ(small.held(), 0u);
  EXPECT_EQ(recoded(other, bytes.substr(10)), bytes.substr(10));
  EXPECT_EQ(recoded(other, bytes), compressed(Compression::snappy, long_));
}

TEST_F(GrpcRecoderTest, WhatIsDecodedIsCountedAndForItsCallerToWaitWith) {
  GrpcHold small(10);
  const std::string bytes = compressed(Compression::snappy, long_);
  GrpcRecoder recoder(Compression::snappy, Task::decompress, small);
  EXPECT_FALSE(recoder.holds());
  EXPECT_EQ(recoded(recoder, bytes.substr(0, 10)), "");
  EXPECT_TRUE(recoder.holds() && small.is_full());
  EXPECT_EQ(small.held(), bytes.size() - 5);
  EXPECT_FALSE(small.reserve(1));
  std::string out;
  EXPECT_EQ(*recoder.feed(bytes.substr(10) + message("next"), 1, out), bytes.size() - 10)
      << "no message begins, once there is some output";
  EXPECT_EQ(out, message(long_));
  EXPECT_FALSE(recoder.holds() || small.is_full());
}

TEST_F(GrpcRecoderTest, WhoGoesInTheMiddleGivesTheRoomBack) {
  {
    GrpcRecoder recoder(Compression::snappy, Task::compress, hold_);
    EXPECT_EQ(recoded(recoder, message(long_).substr(0, 100)), "");
    EXPECT_EQ(hold_.held(), 500u);
  }
  EXPECT_EQ(hold_.held(), 0u);
}

TEST_F(GrpcRecoderTest, TheOutputIsBoundedByMessages) {
  std::string bytes;
  for (int i = 0; i < 100; ++i) bytes += compressed(Compression::gzip, std::string(10'000, 'x'));
  GrpcRecoder recoder(Compression::gzip, Task::decompress, hold_);
  std::string_view rest = bytes;
  size_t rounds = 0;
  for (; !rest.empty(); ++rounds) {
    std::string out = "before";
    const auto taken = recoder.feed(rest, 15'000, out);
    ASSERT_TRUE(taken.ok());
    rest.remove_prefix(*taken);
    EXPECT_LE(out.size(), 6 + 2 * 10'005u);
  }
  EXPECT_EQ(rounds, 50u);
}

TEST_F(GrpcRecoderTest, ABombIsRefused) {
  const std::string longest(kMaxDecodedMessageBytes, 'x');
  for (const Compression compression : kBoth) {
    GrpcRecoder recoder(compression, Task::decompress, hold_);
    EXPECT_EQ(recoded(recoder, compressed(compression, longest)), message(longest));
    EXPECT_EQ(recoded(recoder, compressed(compression, longest + "x")),
              "a message cannot be decoded: it is more than 4194304 bytes when decoded");
  }
}

TEST_F(GrpcRecoderTest, AMessageTooLongToDecodeIsRefusedBeforeItComes) {
  GrpcRecoder recoder(Compression::gzip, Task::decompress, hold_);
  std::string prefix;
  append_grpc_prefix({1, kMaxDecodedMessageBytes + 1}, prefix);
  std::string out;
  const auto taken = recoder.feed(prefix, SIZE_MAX, out);
  EXPECT_TRUE(absl::IsResourceExhausted(taken.status()));
  EXPECT_EQ(text_of(taken.status()),
            "a message has 4194305 bytes in gzip, and berthd decodes 4194304 at the most");
}

TEST_F(GrpcRecoderTest, WhatCannotBeDecodedIsSaid) {
  GrpcRecoder snappy(Compression::snappy, Task::decompress, hold_);
  EXPECT_EQ(recoded(snappy, message("nonsense", 1)),
            "a message cannot be decoded: its snappy frames are broken: they do not begin with the "
            "stream identifier");
  GrpcRecoder gzip(Compression::gzip, Task::decompress, hold_);
  EXPECT_EQ(recoded(gzip, message("", 1)),
            "a message cannot be decoded: its gzip data are broken: they are cut off");
}

TEST_F(GrpcRecoderTest, FlagsThatMeanNothingAreRefused) {
  GrpcRecoder there(Compression::snappy, Task::compress, hold_);
  EXPECT_EQ(recoded(there, message("x", 1)),
            "a message is compressed, but grpc-encoding does not say how");
  GrpcRecoder other(Compression::snappy, Task::compress, hold_);
  EXPECT_EQ(recoded(other, message("x", 0x80)),
            "a message begins with the byte 128, which gRPC does not know");
}

TEST_F(GrpcRecoderTest, AMessageThatIsCutOffFollowsAsItCame) {
  const std::string bytes = message(long_);
  for (const size_t size : {0u, 3u, 5u, 10u, 504u, 505u}) {
    GrpcRecoder recoder(Compression::snappy, Task::compress, hold_);
    std::string out = recoded(recoder, bytes.substr(0, size));
    EXPECT_TRUE(recoder.finish(out).ok());
    EXPECT_EQ(out, size == 505 ? compressed(Compression::snappy, long_) : bytes.substr(0, size));
  }
  EXPECT_EQ(hold_.held(), 0u);
}

TEST_F(GrpcRecoderTest, ACompressedMessageThatIsCutOffIsAnError) {
  const std::string bytes = compressed(Compression::snappy, long_);
  GrpcRecoder recoder(Compression::snappy, Task::decompress, hold_);
  std::string out = recoded(recoder, bytes.substr(0, bytes.size() - 2));
  EXPECT_EQ(text_of(recoder.finish(out)), "a message in snappy ends 2 bytes before its length");
  EXPECT_EQ(out, "");
}

}  // namespace
}  // namespace berth::wire
