#include "wire/grpc_call.h"

#include <gtest/gtest.h>

#include "base/limits.h"

namespace berth::wire {
namespace {

using namespace std::chrono_literals;
using channel::GrpcCode;

TEST(GrpcTimeout, EachUnitCounts) {
  EXPECT_EQ(parse_grpc_timeout("2H"), Duration(2h));
  EXPECT_EQ(parse_grpc_timeout("3M"), Duration(3min));
  EXPECT_EQ(parse_grpc_timeout("10S"), Duration(10s));
  EXPECT_EQ(parse_grpc_timeout("250m"), Duration(250ms));
  EXPECT_EQ(parse_grpc_timeout("5000u"), Duration(5ms));
  EXPECT_EQ(parse_grpc_timeout("7000000n"), Duration(7ms));
  EXPECT_EQ(parse_grpc_timeout("0S"), Duration(0s));
}

TEST(GrpcTimeout, WhatIsLongerThanAYearIsAYear) {
  EXPECT_EQ(parse_grpc_timeout("8759H"), Duration(8759h));
  EXPECT_EQ(parse_grpc_timeout("99999999H"), Duration(8760h));
}

TEST(GrpcTimeout, APartOfAMillisecondIsAWholeOne) {
  EXPECT_EQ(parse_grpc_timeout("1n"), Duration(1ms));
  EXPECT_EQ(parse_grpc_timeout("1001u"), Duration(2ms));
}

TEST(GrpcTimeout, WhatIsNoneIsNone) {
  for (const char* text : {"", "S", "1", "1s", "-1S", "+1S", "1 S", "123456789S", "1.5S", "S1"}) {
    EXPECT_EQ(parse_grpc_timeout(text), std::nullopt) << text;
  }
}

TEST(GrpcTimeout, IsWrittenNeverLongerThanItIs) {
  EXPECT_EQ(format_grpc_timeout(1500us), "1m");
  EXPECT_EQ(format_grpc_timeout(10s), "10000m");
  EXPECT_EQ(format_grpc_timeout(99'999'999ms), "99999999m");
  EXPECT_EQ(format_grpc_timeout(100'000'999ms), "100000S");
  EXPECT_EQ(format_grpc_timeout(8760h), "31536000S");
}

TEST(GrpcTimeout, OneThatIsOverIsWrittenAsAMillisecond) {
  EXPECT_EQ(format_grpc_timeout(0s), "1m");
  EXPECT_EQ(format_grpc_timeout(-3s), "1m");
}

TEST(GrpcStatus, IsReadFromItsField) {
  Http2Headers headers;
  EXPECT_EQ(grpc_status_of(headers), std::nullopt);
  headers.set("grpc-status", "14");
  EXPECT_EQ(grpc_status_of(headers), GrpcCode::unavailable);
  for (const char* text : {"17", "-1", "x", "", "1x"}) {
    headers.set("grpc-status", text);
    EXPECT_EQ(grpc_status_of(headers), GrpcCode::unknown) << text;
  }
}

TEST(GrpcAnswer, ACallThatFailsIsAnsweredWithoutAMessage) {
  const Http2Headers answer = failed_answer(true, GrpcCode::unavailable, "no upstream");
  EXPECT_EQ(answer.find(":status")->value, "200");
  EXPECT_EQ(answer.find("content-type")->value, "application/grpc");
  EXPECT_EQ(answer.find("grpc-status")->value, "14");
  EXPECT_EQ(answer.find("grpc-message")->value, "no upstream");
}

TEST(GrpcAnswer, WhatIsNoCallHearsOfItAsAnyHttpClientDoes) {
  const Http2Headers answer = failed_answer(false, GrpcCode::unavailable, "no upstream");
  EXPECT_EQ(answer.find(":status")->value, "503");
  EXPECT_EQ(answer.find("grpc-status"), nullptr);
}

TEST(GrpcAnswer, TheContentTypeTellsACall) {
  Http2Headers request;
  EXPECT_FALSE(is_grpc(request));
  request.set("content-type", "application/grpc+proto");
  EXPECT_TRUE(is_grpc(request));
  request.set("content-type", "application/json");
  EXPECT_FALSE(is_grpc(request));
}

TEST(GrpcMessage, WhatIsNotPrintableIsEncoded) {
  EXPECT_EQ(percent_encoded("plain, with spaces"), "plain, with spaces");
  EXPECT_EQ(percent_encoded("100%\n\xc3\xa4"), "100%25%0A%C3%A4");
  EXPECT_EQ(percent_encoded(std::string(2 * kMaxMessageBytes, 'a')).size(), kMaxMessageBytes);
}

TEST(GrpcReset, ClientsReadItAsAStatus) {
  EXPECT_EQ(grpc_code_of_reset(kHttp2RefusedStream), GrpcCode::unavailable);
  EXPECT_EQ(grpc_code_of_reset(kHttp2Cancel), GrpcCode::cancelled);
  EXPECT_EQ(grpc_code_of_reset(kHttp2EnhanceYourCalm), GrpcCode::resource_exhausted);
  EXPECT_EQ(grpc_code_of_reset(kHttp2InadequateSecurity), GrpcCode::permission_denied);
  EXPECT_EQ(grpc_code_of_reset(kHttp2ProtocolError), GrpcCode::internal);
  EXPECT_EQ(grpc_code_of_reset(0xffff), GrpcCode::internal);
}

}  // namespace
}  // namespace berth::wire
