#include "base/proxy.h"

#include <gtest/gtest.h>

namespace berth {
namespace {

std::string normal(std::string_view text) {
  const auto parsed = parse_proxy(text);
  const Proxy* proxy = std::get_if<Proxy>(&parsed);
  return proxy != nullptr ? proxy->url() : "error: " + std::get<std::string>(parsed);
}

std::string user_of(std::string_view text) {
  return std::get<Proxy>(parse_proxy(text)).user;
}

std::string error(std::string_view text) {
  const auto parsed = parse_proxy(text);
  return std::holds_alternative<std::string>(parsed) ? std::get<std::string>(parsed) : "no error";
}

constexpr const char* kRight = "write socks5://[USER@]HOST:PORT or http://[USER@]HOST:PORT";

TEST(Proxy, IsNormalised) {
  EXPECT_EQ(normal("socks5://127.0.0.1:1080"), "socks5://127.0.0.1:1080");
  EXPECT_EQ(normal("HTTP://Proxy.Example.COM:03128/"), "http://proxy.example.com:3128");
  EXPECT_EQ(normal("socks5://Alice@[2001:DB8::1]:1080"), "socks5://Alice@[2001:db8::1]:1080");
  EXPECT_EQ(normal("http://a%2eb%7E@h:1"), "http://a.b~@h:1");
}

TEST(Proxy, AUserMayHoldAnyPrintableByte) {
  EXPECT_EQ(user_of("socks5://corp%5Calice%40example%3a1%25@h:1"), "corp\\alice@example:1%");
  EXPECT_EQ(normal("socks5://corp%5Calice%40example%3a1%25@h:1"),
            "socks5://corp%5Calice%40example%3A1%25@h:1");
  EXPECT_EQ(user_of("http://alice@example@h:1"), "alice@example");
  EXPECT_EQ(user_of("http://jürgen@h:1"), "jürgen");
  EXPECT_EQ(normal(normal("http://jürgen x@h:1")), "http://j%C3%BCrgen%20x@h:1");
}

TEST(Proxy, ItsNameLeavesTheUserOut) {
  EXPECT_EQ(std::get<Proxy>(parse_proxy("socks5://alice@[::1]:1080")).name(),
            "proxy socks5://[::1]:1080");
  EXPECT_EQ(std::get<Proxy>(parse_proxy("http://h:3128")).name(), "proxy http://h:3128");
}

TEST(Proxy, APasswordHasNoPlaceInIt) {
  for (const char* text : {"socks5://alice:hunter2@h:1", "http://:hunter2@h:1", "http://alice:@h:1",
                           "socks5://alice:hunter2@", "socks5://alice:hun@ter2@h:1"}) {
    EXPECT_EQ(error(text),
              "a password does not stand in the URL, which is no secret; put it into a file and "
              "name that with via_password_file")
        << text;
  }
}

TEST(Proxy, SaysWhatIsWrongAndNeverWhatWasWritten) {
  const std::string scheme = std::string("the scheme must be socks5:// or http://; ") + kRight;
  const std::string address =
      std::string(
          "HOST is a name, an IPv4 address or an IPv6 address in brackets, and PORT a "
          "number from 1 to 65535; ") +
      kRight;
  for (const char* text : {"", "h:1080", "socks4://h:1", "https://h:1", "://h:1", "hunter2://"}) {
    EXPECT_EQ(error(text), scheme) << text;
  }
  for (const char* text : {"socks5://h", "socks5://", "http://h:0", "http://h:65536",
                           "http://a b:1", "http://h:1/path", "http://alice@", "http://::1:80",
                           "http://[h]:1", "socks5://h:hunter2"}) {
    EXPECT_EQ(error(text), address) << text;
  }
  EXPECT_EQ(error("socks5h://h:1"),
            "socks5h:// is socks5:// here: the proxy looks up the names of servers in any case");
  EXPECT_EQ(error("http://@h:1"), std::string("the user is missing before the '@'; ") + kRight);
  for (const char* user : {"%", "%4", "%4g", "a%", "%-1", "% 1", "%+1"}) {
    EXPECT_EQ(error("http://" + std::string(user) + "@h:1"),
              "a '%' in the user is followed by two hexadecimal digits; '%' itself is %25")
        << user;
  }
  EXPECT_EQ(error("http://a%3Ab@h:1"), "a ':' in the user would end it for an HTTP proxy");
  EXPECT_EQ(error("socks5://a%0Ab@h:1"), "the user has a control character");
  EXPECT_EQ(error("socks5://a%00@h:1"), "the user has a control character");
  EXPECT_EQ(error("http://a\x7f@h:1"), "the user has a control character");
}

TEST(Proxy, AUserHasTheLimitOfSocks5) {
  EXPECT_EQ(error("socks5://" + std::string(255, 'u') + "@h:1"), "no error");
  EXPECT_EQ(error("http://" + std::string(256, 'u') + "@h:1"), "the user has more than 255 bytes");
}

}  // namespace
}  // namespace berth
