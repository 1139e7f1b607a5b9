#include "broker/access_log.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <iterator>

#include "base/limits.h"
#include "base/utf8.h"
#include "wire/grpc_call.h"

namespace berth::broker {
namespace {

using channel::GrpcCode;

// A string of JSON (RFC 8259, section 7). What is no UTF-8 becomes U+FFFD.
std::string quoted(std::string_view text) {
  std::string json = "\"";
  while (!text.empty()) {
    const size_t length = utf8_sequence(text);
    const std::string_view each = text.substr(0, std::max<size_t>(length, 1));
    text.remove_prefix(each.size());
    if (length == 0) {
      json += "\uFFFD";
    } else if (each == "\"" || each == "\\") {
      json += '\\';
      json += each;
    } else if (static_cast<unsigned char>(each[0]) < 0x20) {
      json += fmt::format("\\u{:04x}", static_cast<unsigned>(each[0]));
    } else {
      json += each;
    }
  }
  json += '"';
  return json;
}

double ms(Duration duration) {
  return std::chrono::duration<double, std::milli>(duration).count();
}

}  // namespace

AccessRecord::AccessRecord(TimePoint now, std::string_view pool, const wire::Http2Headers& request)
    : begun_(now), pool_(pool) {
  if (const wire::Http2Field* path = request.find(":path")) {
    method_ = path->value.substr(0, kMaxLoggedPath);
  }
}

void AccessRecord::sent(TimePoint now, std::string_view server) {
  if (sent_ == kNever) sent_ = now;
  server_ = server;
  ++attempts_;
}

void AccessRecord::response(const wire::Http2Headers& headers) {
  if (const wire::Http2Field* status = headers.find(":status")) http_status_ = status->value;
  if (const auto code = wire::grpc_status_of(headers)) code_ = code;
}

void AccessRecord::answered(GrpcCode code, std::string_view why) {
  answered_ = over_ = true;
  code_ = code;
  why_ = why;
}

std::string AccessRecord::fields(TimePoint now, Client client) const {
  const std::string_view by = answered_ ? "berthd" : over_ ? "server" : "client";
  const auto code = over_ ? code_ : std::optional(GrpcCode::cancelled);
  const Duration waited = (sent_ == kNever ? now : sent_) - begun_;
  std::string json = fmt::format("\"pool\":{},\"pid\":{},\"uid\":{},\"method\":{}", quoted(pool_),
                                 client.pid, client.uid, quoted(method_));
  const auto out = std::back_inserter(json);
  if (attempts_ > 0) fmt::format_to(out, ",\"server\":{}", quoted(server_));
  fmt::format_to(out, ",\"attempts\":{},\"waited_ms\":{:.3f},\"ms\":{:.3f}", attempts_, ms(waited),
                 ms(now - begun_));
  fmt::format_to(out, ",\"request_bytes\":{},\"response_bytes\":{}", request_bytes_,
                 response_bytes_);
  if (!http_status_.empty()) fmt::format_to(out, ",\"http_status\":{}", quoted(http_status_));
  if (code) fmt::format_to(out, ",\"status\":\"{}\"", channel::name_of(*code));
  fmt::format_to(out, ",\"ended_by\":\"{}\"", by);
  if (!why_.empty()) fmt::format_to(out, ",\"message\":{}", quoted(why_));
  return json;
}

}  // namespace berth::broker
