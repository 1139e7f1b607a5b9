// The access log: what became of each call of a channel pool, a line each. Loop thread only.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/time.h"
#include "channel/grpc_code.h"
#include "wire/http2_headers.h"

namespace berth::broker {

// One call, from its request on; kept by who carries it.
class AccessRecord {
 public:
  // Keeps no more than kMaxLoggedPath of the request's path.
  AccessRecord(TimePoint now, std::string_view pool, const wire::Http2Headers& request);

  // It goes to a server, for the first time or once more.
  void sent(TimePoint now, std::string_view server);
  void request_bytes(size_t bytes) { request_bytes_ += bytes; }
  void response_bytes(size_t bytes) { response_bytes_ += bytes; }
  // Header fields of the response, or its trailers.
  void response(const wire::Http2Headers& headers);
  // In place of a response, or of the rest of it.
  void answered(channel::GrpcCode code, std::string_view why);
  // Its client heard all that it will hear.
  void over() { over_ = true; }

  struct Client {
    int32_t pid = 0;  // 0: in another pid namespace
    uint32_t uid = 0;
  };
  // Members of an object of JSON, without its braces. A call that is not over was given up by its
  // client.
  std::string fields(TimePoint now, Client client) const;

 private:
  const TimePoint begun_;
  const std::string pool_;
  TimePoint sent_ = kNever;
  std::string method_;
  std::string server_;  // the last one
  uint32_t attempts_ = 0;
  uint64_t request_bytes_ = 0;
  uint64_t response_bytes_ = 0;
  std::optional<channel::GrpcCode> code_;
  std::string http_status_;
  std::string why_;  // berthd's words
  bool answered_ = false;
  bool over_ = false;
};

}  // namespace berth::broker
