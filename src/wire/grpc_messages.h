// GrpcMessages: takes one direction of a call apart into messages, as their bytes come: a byte that
// says whether the message is compressed, its length in four, big-endian, and so many bytes (gRPC's
// PROTOCOL-HTTP2.md, "Length-Prefixed-Message"). Pure; keeps nothing of a message.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace berth::wire {

struct GrpcPrefix {
  static constexpr size_t kBytes = 5;

  uint8_t flag = 0;  // 1: compressed; there is no other
  uint32_t length = 0;
};

void append_grpc_prefix(GrpcPrefix prefix, std::string& out);

class GrpcMessages {
 public:
  // Between messages: takes the next prefix from the front of `bytes`. Nothing: all of them were
  // taken, and it goes on with those that come next.
  std::optional<GrpcPrefix> take_prefix(std::string_view& bytes);
  // Takes what there is of the message that has begun from the front of `bytes`.
  std::string_view take_payload(std::string_view& bytes);

  // What is missing of the message that has begun; 0: the next one is expected.
  uint32_t missing() const { return missing_; }
  // What has come of a prefix that is not whole.
  std::string_view half_prefix() const { return {prefix_.data(), size_}; }

 private:
  std::array<char, GrpcPrefix::kBytes> prefix_{};
  size_t size_ = 0;
  uint32_t missing_ = 0;
};

}  // namespace berth::wire
