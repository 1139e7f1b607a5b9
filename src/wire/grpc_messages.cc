#include "wire/grpc_messages.h"

#include <algorithm>

#include "base/check.h"

namespace berth::wire {

void append_grpc_prefix(GrpcPrefix prefix, std::string& out) {
  out += static_cast<char>(prefix.flag);
  for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(prefix.length >> shift);
}

std::optional<GrpcPrefix> GrpcMessages::take_prefix(std::string_view& bytes) {
  BERTH_CHECK(missing_ == 0, "a message comes to its end before the next");
  const size_t taken = bytes.copy(prefix_.data() + size_, prefix_.size() - size_);
  bytes.remove_prefix(taken);
  size_ += taken;
  if (size_ < prefix_.size()) return std::nullopt;
  size_ = 0;
  uint32_t length = 0;
  for (size_t i = 1; i < prefix_.size(); ++i) {
    length = length << 8 | static_cast<uint8_t>(prefix_[i]);
  }
  missing_ = length;
  return GrpcPrefix{static_cast<uint8_t>(prefix_[0]), length};
}

std::string_view GrpcMessages::take_payload(std::string_view& bytes) {
  const std::string_view payload = bytes.substr(0, missing_);
  bytes.remove_prefix(payload.size());
  missing_ -= static_cast<uint32_t>(payload.size());
  return payload;
}

}  // namespace berth::wire
