// GrpcHealth: what a server says of its health to whoever watches it (gRPC's health-checking.md):
// the call grpc.health.v1.Health/Watch for the server as a whole, over HTTP/2. Pure.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "wire/http2_headers.h"

namespace berth::wire {

class GrpcHealth {
 public:
  // The call. `scheme` and `authority` outlive it.
  static Http2Headers request(std::string_view scheme, std::string_view authority);
  // Its one message, which names no service.
  static std::string_view request_body() { return std::string_view("\0\0\0\0\0", 5); }

  enum class Said { nothing, serves, does_not_serve, nonsense };
  // Bytes of the answer: what the last whole message among them says. `nonsense` is final.
  Said feed(std::string_view bytes);

 private:
  // gRPC's PROTOCOL-HTTP2.md: a flag, and the length in four bytes.
  static constexpr size_t kPrefix = 5;
  // HealthCheckResponse is two bytes long; whoever adds fields to it needs few more.
  static constexpr size_t kMostBytes = 256;

  std::string pending_;
};

}  // namespace berth::wire
