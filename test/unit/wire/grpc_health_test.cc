#include "wire/grpc_health.h"

#include <gtest/gtest.h>

#include <string>

namespace berth::wire {
namespace {

using namespace std::string_literals;
using Said = GrpcHealth::Said;

const std::string kServes = "\0\0\0\0\2\x08\x01"s;
const std::string kDoesNot = "\0\0\0\0\2\x08\x02"s;
const std::string kEmpty = "\0\0\0\0\0"s;  // UNKNOWN

TEST(GrpcHealth, AMessageSaysWhetherTheServerServes) {
  EXPECT_EQ(GrpcHealth().feed(kServes), Said::serves);
  EXPECT_EQ(GrpcHealth().feed(kDoesNot), Said::does_not_serve);
  EXPECT_EQ(GrpcHealth().feed(kEmpty), Said::does_not_serve);
}

TEST(GrpcHealth, TheLastOfSeveralCounts) {
  EXPECT_EQ(GrpcHealth().feed(kServes + kDoesNot), Said::does_not_serve);
  EXPECT_EQ(GrpcHealth().feed(kDoesNot + kServes), Said::serves);
}

TEST(GrpcHealth, AMessageMayComeByteByByte) {
  GrpcHealth health;
  for (size_t i = 0; i + 1 < kServes.size(); ++i) {
    EXPECT_EQ(health.feed(kServes.substr(i, 1)), Said::nothing) << i;
  }
  EXPECT_EQ(health.feed(kServes.substr(kServes.size() - 1)), Said::serves);
  EXPECT_EQ(health.feed(kDoesNot), Said::does_not_serve);
}

TEST(GrpcHealth, FieldsThatAreNewAreSkipped) {
  EXPECT_EQ(GrpcHealth().feed("\0\0\0\0\6\x12\2ab\x08\x01"s), Said::serves);
}

TEST(GrpcHealth, WhatIsNoAnswerIsNonsense) {
  EXPECT_EQ(GrpcHealth().feed("\1\0\0\0\2\x08\x01"s), Said::nonsense) << "compressed, unasked";
  EXPECT_EQ(GrpcHealth().feed("\0\0\0\1\1"s), Said::nonsense) << "too long";
  EXPECT_EQ(GrpcHealth().feed("\0\0\0\0\1\x08"s), Said::nonsense) << "cut off";
}

TEST(GrpcHealth, TheCallAsksForTheServerAsAWhole) {
  const Http2Headers request = GrpcHealth::request("http", "h:1");
  EXPECT_EQ(request.find(":path")->value, "/grpc.health.v1.Health/Watch");
  EXPECT_EQ(request.find(":authority")->value, "h:1");
  EXPECT_EQ(GrpcHealth::request_body(), kEmpty);
}

}  // namespace
}  // namespace berth::wire
