#include "wire/grpc_messages.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace berth::wire {
namespace {

using namespace std::string_literals;

const std::string kStream = "\0\0\0\0\3abc\1\0\0\0\0\0\0\0\1\0"s + std::string(256, 'y');

// The messages as they come in pieces of that size, each with its flag before it.
std::vector<std::string> messages_in(const std::string& stream, size_t piece) {
  std::vector<std::string> messages;
  GrpcMessages taker;
  for (size_t at = 0; at < stream.size(); at += piece) {
    std::string_view bytes = std::string_view(stream).substr(at, piece);
    while (!bytes.empty()) {
      if (taker.missing() == 0) {
        const auto prefix = taker.take_prefix(bytes);
        if (!prefix) break;
        messages.push_back(std::to_string(prefix->flag));
      }
      messages.back() += taker.take_payload(bytes);
    }
  }
  return messages;
}

TEST(GrpcMessages, AreTheSameInPiecesOfAnySize) {
  const std::vector<std::string> expected = {"0abc", "1", "0" + std::string(256, 'y')};
  for (size_t piece = 1; piece <= kStream.size(); ++piece) {
    EXPECT_EQ(messages_in(kStream, piece), expected) << piece;
  }
}

TEST(GrpcMessages, TellWhatIsMissing) {
  GrpcMessages messages;
  std::string_view bytes(kStream.data(), 6);
  EXPECT_EQ(messages.take_prefix(bytes)->length, 3u);
  EXPECT_EQ(messages.missing(), 3u);
  EXPECT_EQ(messages.take_payload(bytes), "a");
  EXPECT_EQ(messages.missing(), 2u);
  std::string_view rest(kStream.data() + 6, 4);
  EXPECT_EQ(messages.take_payload(rest), "bc");
  EXPECT_EQ(messages.missing(), 0u);
  EXPECT_FALSE(messages.take_prefix(rest));
  EXPECT_EQ(messages.half_prefix(), "\1\0"s);
}

TEST(GrpcMessages, APrefixIsWrittenAsItIsRead) {
  std::string bytes;
  append_grpc_prefix({1, 0xfedcba98}, bytes);
  EXPECT_EQ(bytes, "\1\xfe\xdc\xba\x98"s);
  std::string_view rest = bytes;
  GrpcMessages messages;
  const auto prefix = messages.take_prefix(rest);
  EXPECT_EQ(prefix->flag, 1);
  EXPECT_EQ(prefix->length, 0xfedcba98u);
}

}  // namespace
}  // namespace berth::wire
