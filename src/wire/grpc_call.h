// What gRPC puts into the header fields of a call (gRPC's PROTOCOL-HTTP2.md). Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/time.h"
#include "channel/grpc_code.h"
#include "wire/http2_error.h"
#include "wire/http2_headers.h"

namespace berth::wire {

// Of `grpc-timeout`: up to eight digits and one of the units H, M, S, m, u, n, rounded up to whole
// milliseconds, and a year at most. Nothing: it is not one.
std::optional<Duration> parse_grpc_timeout(std::string_view text);
// Such a text, of whole milliseconds (seconds, if it is a day and more): none longer than
// `timeout`, and at least one millisecond.
std::string format_grpc_timeout(Duration timeout);

// Of `grpc-status`. Nothing: the field is missing. What is no number of a status is `unknown`.
std::optional<channel::GrpcCode> grpc_status_of(const Http2Headers& headers);

// Whether a request is a call of gRPC: its content-type says so.
bool is_grpc(const Http2Headers& request);

// Of one that was reset with that code, as clients read it.
channel::GrpcCode grpc_code_of_reset(uint32_t http2_error);

// A whole answer without a message ("trailers-only"), for a call that ends in this status; or, for
// a request that is none of gRPC, one with status 503.
Http2Headers failed_answer(bool grpc, channel::GrpcCode code, std::string_view text);
// What ends an answer that has begun.
Http2Headers failed_trailers(channel::GrpcCode code, std::string_view text);

// `grpc-message`: what is no printable ASCII goes as %XX, and so does '%'; at most
// kMaxMessageBytes of `text`.
std::string percent_encoded(std::string_view text);

}  // namespace berth::wire
