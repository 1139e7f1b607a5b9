#include "wire/http2_output.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>

#include "wire/http2_arena.h"

namespace berth::wire {
namespace {

std::string text_of(const Http2Output& output) {
  std::string text;
  for (const iovec& piece : output.pieces()) {
    text.append(static_cast<const char*>(piece.iov_base), piece.iov_len);
  }
  return text;
}

TEST(Http2Output, SmallBytesBecomeOnePiece) {
  Http2Output output;
  output.append("ab");
  output.append("cd");
  EXPECT_EQ(output.pieces().size(), 1u);
  EXPECT_EQ(text_of(output), "abcd");
  output.sent(3);
  output.append("e");
  EXPECT_EQ(text_of(output), "de");
  output.sent(2);
  EXPECT_EQ(output.size(), 0u);
  EXPECT_TRUE(output.pieces().empty());
  EXPECT_EQ(output.appended(), 5u);
  EXPECT_EQ(output.sent(), 5u);
}

TEST(Http2Output, LargeBytesOfAQueueAreNotCopied) {
  Http2Output output;
  Http2Queue queue;
  const std::string large(10'000, 'x');
  queue.push(large);
  output.append("head");
  queue.move_to(output, 6'000);
  output.append("head");
  queue.move_to(output, 4'000);
  output.append("tail");
  EXPECT_EQ(queue.size(), 0u);
  EXPECT_EQ(output.pieces().size(), 5u);
  EXPECT_EQ(text_of(output), "head" + large.substr(0, 6000) + "head" + large.substr(6000) + "tail");
}

TEST(Http2Output, WhatIsSentLeavesInPiecesOfAnySize) {
  Http2Output output;
  Http2Queue queue;
  std::string all;
  for (int i = 0; i < 200; ++i) {
    const std::string bytes(static_cast<size_t>(1 + i * 37 % 5000),
                            static_cast<char>('a' + i % 26));
    queue.push(bytes);
    output.append("|");
    queue.move_to(output, bytes.size());
    all += "|" + bytes;
  }
  for (size_t step = 1; !all.empty(); step = step * 2 % 9973) {
    const size_t size = std::min(step, all.size());
    output.sent(size);
    all.erase(0, size);
    ASSERT_EQ(text_of(output), all);
    ASSERT_EQ(output.size(), all.size());
  }
}

TEST(Http2Queue, SmallPiecesShareABlock) {
  const size_t before = Http2Arena::of_thread().bytes();
  Http2Queue queue;
  for (int i = 0; i < 10'000; ++i) queue.push("x");
  EXPECT_EQ(queue.size(), 10'000u);
  EXPECT_LE(Http2Arena::of_thread().bytes() - before, 13'000u);
  Http2Output output;
  queue.move_to(output, 9'999);
  EXPECT_EQ(text_of(output), std::string(9'999, 'x'));
  queue.clear();
  output.clear();
  EXPECT_EQ(Http2Arena::of_thread().bytes(), before);
}

TEST(Http2Arena, HasABound) {
  Http2Arena& arena = Http2Arena::make(1000);
  void* one = arena.allocate(500);
  ASSERT_NE(one, nullptr);
  EXPECT_EQ(arena.allocate(500), nullptr);
  EXPECT_EQ(arena.allocate(SIZE_MAX - 8), nullptr);
  arena.release(one);
  EXPECT_EQ(arena.bytes(), 0u);
  one = arena.resize(nullptr, 100);
  std::memset(one, 'x', 100);
  one = arena.resize(one, 800);
  ASSERT_NE(one, nullptr);
  EXPECT_EQ(static_cast<char*>(one)[99], 'x');
  EXPECT_EQ(arena.resize(one, 1000), nullptr);
  arena.release(one);
  arena.abandon();
}

TEST(Http2Arena, GoesWithTheLastOfItsBlocks) {
  Http2Arena& arena = Http2Arena::make(100'000);
  void* small = arena.allocate(10);
  void* large = arena.allocate(50'000);
  arena.abandon();
  arena.release(small);
  std::memset(large, 0, 50'000);
  arena.release(large);  // a leak, or a use of what is gone, is what the sanitizer would see
}

}  // namespace
}  // namespace berth::wire
