#include "base/endpoint_pattern.h"

#include <gtest/gtest.h>

namespace berth {
namespace {

EndpointPattern pattern(std::string_view text) {
  auto parsed = parse_endpoint_pattern(text);
  if (const auto* wrong = std::get_if<std::string>(&parsed)) ADD_FAILURE() << *wrong;
  return std::get<EndpointPattern>(parsed);
}

bool matches(std::string_view text, std::string_view url) {
  return pattern(text).matches(std::get<Endpoint>(parse_endpoint(url)));
}

std::string fault(std::string_view text) {
  const auto parsed = parse_endpoint_pattern(text);
  const auto* wrong = std::get_if<std::string>(&parsed);
  return wrong != nullptr ? *wrong : "";
}

TEST(EndpointPattern, AHostIsExactOrAWildcard) {
  EXPECT_TRUE(matches("tcp://127.0.0.1:6379", "tcp://127.0.0.1:6379"));
  EXPECT_TRUE(matches("tcp://DB.example:1", "tcp://db.Example:1"));
  EXPECT_FALSE(matches("tcp://127.0.0.1:6379", "tcp://127.0.0.2:6379"));
  EXPECT_TRUE(matches("tcp://*:1", "tcp://anything.example:1"));
  EXPECT_TRUE(matches("tcp://*:1", "tcp://[::1]:1"));
  EXPECT_TRUE(matches("tcp://[::1]:*", "tcp://[::1]:80"));
  EXPECT_FALSE(matches("tcp://[::1]:*", "tcp://[::2]:80"));
}

TEST(EndpointPattern, AStarBeforeADomainMeansNamesBelowIt) {
  EXPECT_TRUE(matches("tcp://*.example:1", "tcp://a.example:1"));
  EXPECT_TRUE(matches("tcp://*.example:1", "tcp://a.b.example:1"));
  EXPECT_FALSE(matches("tcp://*.example:1", "tcp://example:1"));
  EXPECT_FALSE(matches("tcp://*.example:1", "tcp://badexample:1"));
  EXPECT_FALSE(matches("tcp://*.example:1", "tcp://a.example.org:1"));
}

TEST(EndpointPattern, TlsIsASchemeOfItsOwn) {
  EXPECT_TRUE(matches("tls://*.example:*", "tls://a.example:1"));
  EXPECT_FALSE(matches("tls://*.example:*", "tcp://a.example:1"));
  EXPECT_FALSE(matches("tcp://*.example:*", "tls://a.example:1"));
  EXPECT_EQ(pattern("tls://*.Example:8000-8099").text(), "tls://*.example:8000-8099");
  EXPECT_EQ(pattern("tls://[::1]:*").text(), "tls://[::1]:*");
  EXPECT_EQ(fault("tls://h:x"), "\"tls://h:x\": the port must be a number, FIRST-LAST, or *");
}

TEST(EndpointPattern, ChannelPoolsAreNotForUrls) {
  for (const char* scheme : {"grpc", "grpcs"}) {
    const std::string text = std::string(scheme) + "://*:1";
    EXPECT_EQ(fault(text), "\"" + text +
                               "\": a channel pool has a table of its own, [pool.NAME]; no URL "
                               "makes one");
  }
  EXPECT_FALSE(matches("tcp://h:1", "grpc://h:1"));
  EXPECT_FALSE(matches("tls://h:1", "grpcs://h:1"));
}

TEST(EndpointPattern, APortIsANumberARangeOrAny) {
  EXPECT_TRUE(matches("tcp://h:*", "tcp://h:65535"));
  EXPECT_TRUE(matches("tcp://h:8000-8099", "tcp://h:8000"));
  EXPECT_TRUE(matches("tcp://h:8000-8099", "tcp://h:8099"));
  EXPECT_FALSE(matches("tcp://h:8000-8099", "tcp://h:8100"));
  EXPECT_FALSE(matches("tcp://h:80", "tcp://h:8080"));
}

TEST(EndpointPattern, APathsStarStopsAtASlash) {
  EXPECT_TRUE(matches("unix:///run/*.sock", "unix:///run/a.sock"));
  EXPECT_FALSE(matches("unix:///run/*.sock", "unix:///run/a/b.sock"));
  EXPECT_TRUE(matches("unix:///run/*/*.sock", "unix:///run/a/b.sock"));
  EXPECT_TRUE(matches("unix:///run/*b*", "unix:///run/abab"));
  EXPECT_FALSE(matches("unix:///run/*c*", "unix:///run/abab"));
  EXPECT_TRUE(matches("unix://@app-*", "unix://@app-1/x"));
  EXPECT_FALSE(matches("unix://@*", "unix:///run/a"));
}

TEST(EndpointPattern, AStarAloneIsEverythingAndSlotsAreASchemeOfTheirOwn) {
  for (const char* url : {"tcp://h:1", "unix:///x", "unix://@x", "slot:"}) {
    EXPECT_TRUE(matches("*", url)) << url;
    EXPECT_EQ(matches("slot:", url), std::string_view(url) == "slot:") << url;
    EXPECT_FALSE(matches("tcp://other:1", url)) << url;
  }
}

TEST(EndpointPattern, ReadsWhatItWrites) {
  for (const char* text : {"*", "tcp://*:*", "tcp://*.example:1-2", "tcp://[::1]:7", "tcp://h:*",
                           "unix:///run/*/x", "unix://@a*", "slot:"}) {
    EXPECT_EQ(pattern(text).text(), text);
    EXPECT_EQ(pattern(pattern(text).text()), pattern(text));
  }
}

TEST(EndpointPattern, WhatIsWrongIsNamed) {
  EXPECT_EQ(fault("tcp://h"), "\"tcp://h\": the port must be a number, FIRST-LAST, or *");
  EXPECT_EQ(fault("tcp://h:0"), "\"tcp://h:0\": the port must be a number, FIRST-LAST, or *");
  EXPECT_EQ(fault("tcp://h:2-1"), "\"tcp://h:2-1\": the port must be a number, FIRST-LAST, or *");
  EXPECT_EQ(fault("tcp://a*:1"),
            "\"tcp://a*:1\": a * stands for the host as a whole, or at its beginning as in "
            "*.example");
  EXPECT_NE(fault("127.0.0.1:*"), "");
  EXPECT_NE(fault("unix://run/x"), "");
  EXPECT_NE(fault(""), "");
}

}  // namespace
}  // namespace berth
