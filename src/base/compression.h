// How messages of a call are compressed, and what gRPC calls it in `grpc-encoding`.
#pragma once

#include <cstdint>
#include <string_view>

namespace berth {

enum class Compression : uint8_t { none, snappy, gzip };

constexpr std::string_view name_of(Compression compression) {
  switch (compression) {
    case Compression::none: break;
    case Compression::snappy: return "snappy";
    case Compression::gzip: return "gzip";
  }
  return "identity";
}

}  // namespace berth
