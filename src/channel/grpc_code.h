// GrpcCode: the status of a call, as gRPC numbers it (gRPC's statuscodes.md).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace berth::channel {

enum class GrpcCode : uint8_t {
  ok = 0,
  cancelled = 1,
  unknown = 2,
  invalid_argument = 3,
  deadline_exceeded = 4,
  not_found = 5,
  already_exists = 6,
  permission_denied = 7,
  resource_exhausted = 8,
  failed_precondition = 9,
  aborted = 10,
  out_of_range = 11,
  unimplemented = 12,
  internal = 13,
  unavailable = 14,
  data_loss = 15,
  unauthenticated = 16,
};
inline constexpr size_t kGrpcCodes = static_cast<size_t>(GrpcCode::unauthenticated) + 1;

inline constexpr std::array<std::string_view, kGrpcCodes> kGrpcCodeNames = {
    "OK",        "CANCELLED",      "UNKNOWN",           "INVALID_ARGUMENT",   "DEADLINE_EXCEEDED",
    "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
    "ABORTED",   "OUT_OF_RANGE",   "UNIMPLEMENTED",     "INTERNAL",           "UNAVAILABLE",
    "DATA_LOSS", "UNAUTHENTICATED"};

constexpr std::string_view name_of(GrpcCode code) {
  return kGrpcCodeNames[static_cast<size_t>(code)];
}

// A set of codes, one bit each.
using GrpcCodes = uint32_t;
constexpr GrpcCodes only(GrpcCode code) {
  return GrpcCodes{1} << static_cast<unsigned>(code);
}
constexpr bool contains(GrpcCodes codes, GrpcCode code) {
  return (codes & only(code)) != 0;
}

}  // namespace berth::channel
