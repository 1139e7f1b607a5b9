// The access log: what its lines say.
#include "broker/access_log.h"

#include <gtest/gtest.h>

namespace berth::broker {
namespace {

using namespace std::chrono_literals;
using channel::GrpcCode;
using wire::Http2Headers;

constexpr TimePoint kBegun = TimePoint() + 1h;

AccessRecord record(std::string_view path) {
  Http2Headers request;
  request.add(":path", path);
  return {kBegun, "up", request};
}

Http2Headers headers(std::string_view name, std::string_view value) {
  Http2Headers headers;
  headers.add(name, value);
  return headers;
}

TEST(AccessLog, OneThatWasAnsweredSaysByWhomAndHow) {
  AccessRecord call = record("/a.B/C");
  call.request_bytes(5);
  call.sent(kBegun + 2ms, "192.0.2.1:50051");
  call.response(headers(":status", "200"));
  call.response_bytes(7);
  call.response_bytes(8);
  call.response(headers("grpc-status", "0"));
  call.over();
  EXPECT_EQ(call.fields(kBegun + 3500us, {.pid = 12, .uid = 34}),
            R"("pool":"up","pid":12,"uid":34,"method":"/a.B/C","server":"192.0.2.1:50051",)"
            R"("attempts":1,"waited_ms":2.000,"ms":3.500,"request_bytes":5,"response_bytes":15,)"
            R"("http_status":"200","status":"OK","ended_by":"server")");
}

TEST(AccessLog, OneThatWasTriedAgainNamesTheLastServer) {
  AccessRecord call = record("/a.B/C");
  call.sent(kBegun, "192.0.2.1:1");
  call.sent(kBegun + 1s, "192.0.2.2:1");
  const std::string fields = call.fields(kBegun + 2s, {});
  EXPECT_NE(fields.find(R"("server":"192.0.2.2:1","attempts":2,"waited_ms":0.000)"), fields.npos);
}

TEST(AccessLog, OneThatNoServerGotSaysWhy) {
  AccessRecord call = record("/a.B/C");
  call.answered(GrpcCode::unavailable, "192.0.2.1:1: refused");
  EXPECT_EQ(call.fields(kBegun + 1ms, {}),
            R"("pool":"up","pid":0,"uid":0,"method":"/a.B/C","attempts":0,"waited_ms":1.000,)"
            R"("ms":1.000,"request_bytes":0,"response_bytes":0,"status":"UNAVAILABLE",)"
            R"("ended_by":"berthd","message":"192.0.2.1:1: refused")");
}

TEST(AccessLog, OneThatItsClientGaveUpIsCancelled) {
  AccessRecord call = record("/a.B/C");
  call.sent(kBegun, "192.0.2.1:1");
  call.response(headers(":status", "200"));
  const std::string fields = call.fields(kBegun, {});
  EXPECT_NE(fields.find(R"("status":"CANCELLED","ended_by":"client")"), fields.npos) << fields;
}

TEST(AccessLog, WhatIsNoGrpcHasAStatusOfHttpAlone) {
  AccessRecord call = record("/index.html");
  call.response(headers(":status", "404"));
  call.over();
  const std::string fields = call.fields(kBegun, {});
  EXPECT_NE(fields.find(R"("http_status":"404","ended_by":"server")"), fields.npos) << fields;
}

TEST(AccessLog, WhateverAPathHoldsItsLineIsJson) {
  const std::string fields = record("/\"\\\n\x01\xff\xc3\xa4").fields(kBegun, {});
  EXPECT_NE(fields.find("\"method\":\"/\\\"\\\\\\u000a\\u0001\xef\xbf\xbd\xc3\xa4\","), fields.npos)
      << fields;
}

TEST(AccessLog, ALongPathIsCut) {
  const std::string fields = record("/" + std::string(10'000, 'x')).fields(kBegun, {});
  EXPECT_LT(fields.size(), 800u);
}

}  // namespace
}  // namespace berth::broker
