#include "net/dns_message.h"

#include <gtest/gtest.h>

#include <string>

namespace berth::net {
namespace {

using namespace std::chrono_literals;
using namespace std::string_literals;

std::optional<Duration> ttl(const std::string& message) {
  return least_ttl({reinterpret_cast<const uint8_t*>(message.data()), message.size()});
}

std::string header(char questions, char answers) {
  return "\x12\x34\x81\x80\0"s + questions + '\0' + answers + "\0\0\0\0"s;
}

const std::string kQuestion = "\5_ldap\4_tcp\1d\0\0\x21\0\1"s;

std::string record(const std::string& name, const std::string& ttl, const std::string& data) {
  return name + "\0\x21\0\1"s + ttl + '\0' + static_cast<char>(data.size()) + data;
}

const std::string kPointer = "\xc0\x0c"s;
const std::string kData = "\0\1\0\2\0\x50\1h\0"s;

TEST(DnsMessage, TheLeastTtlOfItsAnswersCounts) {
  const std::string message = header(1, 3) + kQuestion + record(kPointer, "\0\0\1\0"s, kData) +
                              record("\1x\0"s, "\0\0\0\7"s, kData) +
                              record("\1y\xc0\x0c"s, "\0\0\0\x10"s, kData);
  EXPECT_EQ(ttl(message), 7s);
}

TEST(DnsMessage, WithoutAnAnswerItHasNone) {
  EXPECT_EQ(ttl(header(1, 0) + kQuestion), std::nullopt);
  EXPECT_EQ(ttl(""), std::nullopt);
}

TEST(DnsMessage, WhatIsCutShortAnywhereHasNone) {
  const std::string message = header(1, 2) + kQuestion + record(kPointer, "\0\0\0\1"s, kData) +
                              record("\3abc\0"s, "\0\0\0\2"s, kData);
  ASSERT_EQ(ttl(message), 1s);
  for (size_t size = 0; size < message.size(); ++size) {
    EXPECT_EQ(ttl(message.substr(0, size)), std::nullopt) << size;
  }
}

TEST(DnsMessage, AnyBytesMayCome) {
  uint64_t state = 1;
  for (int round = 0; round < 20'000; ++round) {
    std::string message = header(1, 2) + kQuestion + record(kPointer, "\0\0\0\1"s, kData);
    for (int change = 0; change < 4; ++change) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      message[(state >> 33) % message.size()] = static_cast<char>(state >> 24);
    }
    (void)ttl(message);
  }
}

}  // namespace
}  // namespace berth::net
