#include "wire/grpc_health.h"

#include <cstdint>
#include <protozero/pbf_reader.hpp>

namespace berth::wire {
namespace {

// HealthCheckResponse.status of grpc/health/v1/health.proto.
constexpr uint32_t kStatusField = 1;
constexpr int kServing = 1;

// Throws protozero::exception.
bool says_serving(std::string_view message) {
  protozero::pbf_reader reader(message.data(), message.size());
  int status = 0;
  while (reader.next()) {
    if (reader.tag() == kStatusField && reader.wire_type() == protozero::pbf_wire_type::varint) {
      status = reader.get_enum();
    } else {
      reader.skip();
    }
  }
  return status == kServing;
}

uint32_t length_in(std::string_view prefix) {
  uint32_t length = 0;
  for (const char each : prefix.substr(1)) length = length << 8 | static_cast<unsigned char>(each);
  return length;
}

}  // namespace

Http2Headers GrpcHealth::request(std::string_view scheme, std::string_view authority) {
  constexpr auto kOutlives = Http2Headers::Text::outlives;
  Http2Headers headers;
  headers.add(":method", "POST", false, kOutlives);
  headers.add(":scheme", scheme, false, kOutlives);
  headers.add(":path", "/grpc.health.v1.Health/Watch", false, kOutlives);
  headers.add(":authority", authority, false, kOutlives);
  headers.add("te", "trailers", false, kOutlives);
  headers.add("content-type", "application/grpc", false, kOutlives);
  headers.add("user-agent", "berthd", false, kOutlives);
  return headers;
}

GrpcHealth::Said GrpcHealth::feed(std::string_view bytes) {
  Said said = Said::nothing;
  pending_ += bytes;
  while (pending_.size() >= kPrefix) {
    const uint32_t length = length_in(std::string_view(pending_).substr(0, kPrefix));
    if (pending_[0] != 0 || length > kMostBytes) return Said::nonsense;
    if (pending_.size() < kPrefix + length) break;
    try {
      const bool serves = says_serving(std::string_view(pending_).substr(kPrefix, length));
      said = serves ? Said::serves : Said::does_not_serve;
    } catch (const protozero::exception&) {
      return Said::nonsense;
    }
    pending_.erase(0, kPrefix + length);
  }
  return said;
}

}  // namespace berth::wire
