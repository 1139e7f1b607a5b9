#include "wire/grpc_call.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cstdint>

#include "base/limits.h"

namespace berth::wire {
namespace {

using channel::GrpcCode;

constexpr size_t kMostDigits = 8;
// Eleven thousand years can be said, and not added to a time.
constexpr std::chrono::nanoseconds kLongest = std::chrono::hours(365 * 24);

// Nanoseconds; 0: there is no such unit.
constexpr int64_t length_of(char unit) {
  switch (unit) {
    case 'H': return 3'600'000'000'000;
    case 'M': return 60'000'000'000;
    case 'S': return 1'000'000'000;
    case 'm': return 1'000'000;
    case 'u': return 1'000;
    case 'n': return 1;
    default: return 0;
  }
}

void add_status(Http2Headers& headers, GrpcCode code, std::string_view text) {
  headers.add("grpc-status", std::to_string(static_cast<int>(code)));
  if (!text.empty()) headers.add("grpc-message", percent_encoded(text));
}

}  // namespace

std::optional<Duration> parse_grpc_timeout(std::string_view text) {
  if (text.size() < 2 || text.size() > kMostDigits + 1) return std::nullopt;
  const int64_t unit = length_of(text.back());
  const std::string_view digits = text.substr(0, text.size() - 1);
  int64_t count = 0;
  const auto [end, error] = std::from_chars(digits.begin(), digits.end(), count);
  if (unit == 0 || error != std::errc() || end != digits.end() || count < 0) return std::nullopt;
  if (count > kLongest.count() / unit) return std::chrono::duration_cast<Duration>(kLongest);
  return std::chrono::ceil<std::chrono::milliseconds>(std::chrono::nanoseconds(count * unit));
}

std::string format_grpc_timeout(Duration timeout) {
  using namespace std::chrono;
  constexpr milliseconds kMostMs(99'999'999);  // eight digits
  const auto ms = std::max(milliseconds(1), floor<milliseconds>(timeout));
  if (ms <= kMostMs) return std::to_string(ms.count()) + "m";
  return std::to_string(floor<seconds>(ms).count()) + "S";
}

std::optional<GrpcCode> grpc_status_of(const Http2Headers& headers) {
  const Http2Field* field = headers.find("grpc-status");
  if (field == nullptr) return std::nullopt;
  size_t code = 0;
  const auto [end, error] = std::from_chars(field->value.begin(), field->value.end(), code);
  const bool known =
      error == std::errc() && end == field->value.end() && code < channel::kGrpcCodes;
  return known ? static_cast<GrpcCode>(code) : GrpcCode::unknown;
}

bool is_grpc(const Http2Headers& request) {
  const Http2Field* type = request.find("content-type");
  return type != nullptr && type->value.starts_with("application/grpc");
}

GrpcCode grpc_code_of_reset(uint32_t http2_error) {
  switch (http2_error) {
    case kHttp2RefusedStream: return GrpcCode::unavailable;
    case kHttp2Cancel: return GrpcCode::cancelled;
    case kHttp2EnhanceYourCalm: return GrpcCode::resource_exhausted;
    case kHttp2InadequateSecurity: return GrpcCode::permission_denied;
    default: return GrpcCode::internal;
  }
}

Http2Headers failed_answer(bool grpc, GrpcCode code, std::string_view text) {
  Http2Headers headers;
  headers.add(":status", grpc ? "200" : "503");
  if (!grpc) return headers;
  headers.add("content-type", "application/grpc");
  add_status(headers, code, text);
  return headers;
}

Http2Headers failed_trailers(GrpcCode code, std::string_view text) {
  Http2Headers trailers;
  add_status(trailers, code, text);
  return trailers;
}

std::string percent_encoded(std::string_view text) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  std::string encoded;
  for (const char each : text.substr(0, kMaxMessageBytes)) {
    const auto byte = static_cast<unsigned char>(each);
    if (byte >= 0x20 && byte < 0x7f && byte != '%') {
      encoded += each;
    } else {
      encoded += {'%', kDigits[byte >> 4], kDigits[byte & 15]};
    }
  }
  return encoded;
}

}  // namespace berth::wire
