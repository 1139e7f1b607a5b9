#include "base/endpoint.h"

#include <gtest/gtest.h>

namespace berth {
namespace {

std::string normal(std::string_view text) {
  const auto parsed = parse_endpoint(text);
  const Endpoint* endpoint = std::get_if<Endpoint>(&parsed);
  return endpoint != nullptr ? endpoint->url() : "error: " + std::get<std::string>(parsed);
}

std::string error(std::string_view text) {
  const auto parsed = parse_endpoint(text);
  return std::holds_alternative<std::string>(parsed) ? std::get<std::string>(parsed) : "no error";
}

TEST(Endpoint, IsNormalised) {
  EXPECT_EQ(normal("tcp://localhost:6379"), "tcp://localhost:6379");
  EXPECT_EQ(normal("TCP://DB.Example.COM:5432/"), "tcp://db.example.com:5432");
  EXPECT_EQ(normal("tcp://192.0.2.1:0080"), "tcp://192.0.2.1:80");
  EXPECT_EQ(normal("tcp://[2001:DB8::1]:443"), "tcp://[2001:db8::1]:443");
  EXPECT_EQ(normal("tcp://[fe80::1%eth0]:443"), "tcp://[fe80::1%eth0]:443");
  EXPECT_EQ(normal("unix:///run/mysqld/Mysqld.sock"), "unix:///run/mysqld/Mysqld.sock");
  EXPECT_EQ(normal("UNIX://@Name"), "unix://@Name");
}

TEST(Endpoint, SaysWhatIsMissing) {
  EXPECT_EQ(
      error("localhost:6379"),
      "\"localhost:6379\": no scheme; write tcp://HOST:PORT, tls://HOST:PORT or unix:///PATH");
  EXPECT_EQ(error(""), "\"\": no scheme; write tcp://HOST:PORT, tls://HOST:PORT or unix:///PATH");
  EXPECT_EQ(error("tcp://localhost"),
            "\"tcp://localhost\": the port is missing; write tcp://HOST:PORT");
  EXPECT_EQ(error("tcp://:80"), "\"tcp://:80\": the host is missing; write tcp://HOST:PORT");
  EXPECT_EQ(error("tcp://[::1]"),
            "\"tcp://[::1]\": the port is missing; write tcp://[ADDRESS]:PORT");
  EXPECT_EQ(error("unix://@"), "\"unix://@\": the abstract name is missing; write unix://@NAME");
  EXPECT_EQ(error("unix://run/x.sock"),
            "\"unix://run/x.sock\": the path must be absolute: unix:///PATH (or unix://@NAME)");
}

TEST(Endpoint, SaysWhatIsWrong) {
  for (const char* port : {"0", "65536", "x", "80x", "-1", "+80", ""}) {
    EXPECT_EQ(error("tcp://h:" + std::string(port)),
              "\"tcp://h:" + std::string(port) + "\": the port must be a number from 1 to 65535");
  }
  EXPECT_EQ(error("tcp://2001:db8::1:443"),
            "\"tcp://2001:db8::1:443\": an IPv6 address stands in brackets: tcp://[ADDRESS]:PORT");
  EXPECT_EQ(error("tcp://[::1:443"),
            "\"tcp://[::1:443\": the bracket of the IPv6 address is not closed");
  EXPECT_EQ(error("tcp://[localhost]:1"),
            "\"tcp://[localhost]:1\": only an IPv6 address stands in brackets");
  EXPECT_EQ(error("tcp://h:80/path"),
            "\"tcp://h:80/path\": an endpoint ends with its port; it has no path");
  EXPECT_EQ(error("tcp://a b:80"),
            "\"tcp://a b:80\": the host may have letters, digits, '.', '-' and '_' only");
  EXPECT_EQ(error("http://h:80"),
            "\"http://h:80\": the scheme \"http\" is not known here; write tcp://HOST:PORT, "
            "tls://HOST:PORT or unix:///PATH");
  EXPECT_EQ(error("unix:///run/"), "\"unix:///run/\": the path names a folder, not a socket");
}

TEST(Endpoint, AServiceHasNoPort) {
  EXPECT_EQ(normal("tcp://_Redis._tcp.Example.COM/"), "tcp://_redis._tcp.example.com");
  EXPECT_TRUE(std::get<Endpoint>(parse_endpoint("tcp://_redis._tcp.example.com")).is_service());
  EXPECT_FALSE(std::get<Endpoint>(parse_endpoint("tcp://_redis.example.com:80")).is_service());
  for (const char* name : {"_", "_redis", "_redis.example.com", "_redis._tcp", "_redis._tcp."}) {
    EXPECT_EQ(error("tcp://" + std::string(name)),
              "\"tcp://" + std::string(name) +
                  "\": a service is named as tcp://_SERVICE._PROTO.DOMAIN; any other host has a "
                  "port");
  }
  EXPECT_EQ(error("tcp://_a b._tcp.c"),
            "\"tcp://_a b._tcp.c\": the host may have letters, digits, '.', '-' and '_' only");
}

TEST(Endpoint, IsAlikeWithTls) {
  EXPECT_EQ(normal("TLS://DB.Example.COM:6380/"), "tls://db.example.com:6380");
  EXPECT_EQ(normal("tls://[::1]:443"), "tls://[::1]:443");
  EXPECT_EQ(normal("tls://_imaps._tcp.example.com"), "tls://_imaps._tcp.example.com");
  const Endpoint endpoint = std::get<Endpoint>(parse_endpoint("tls://h:1"));
  EXPECT_EQ(endpoint.kind, Endpoint::Kind::tcp);
  EXPECT_TRUE(endpoint.secure);
  EXPECT_EQ(endpoint.address(), "h:1");
  EXPECT_NE(endpoint, std::get<Endpoint>(parse_endpoint("tcp://h:1")));
  EXPECT_EQ(error("tls://h"), "\"tls://h\": the port is missing; write tls://HOST:PORT");
  EXPECT_EQ(error("tls://:1"), "\"tls://:1\": the host is missing; write tls://HOST:PORT");
  EXPECT_EQ(error("tls://[::1]"),
            "\"tls://[::1]\": the port is missing; write tls://[ADDRESS]:PORT");
  EXPECT_EQ(error("tls://::1:1"),
            "\"tls://::1:1\": an IPv6 address stands in brackets: tls://[ADDRESS]:PORT");
  EXPECT_EQ(error("tls://_imaps"),
            "\"tls://_imaps\": a service is named as tls://_SERVICE._PROTO.DOMAIN; any other host "
            "has a port");
}

TEST(Endpoint, IsAlikeWithGrpc) {
  EXPECT_EQ(normal("GRPC://API.Example.COM:50051/"), "grpc://api.example.com:50051");
  EXPECT_EQ(normal("grpcs://[2001:DB8::1]:443"), "grpcs://[2001:db8::1]:443");
  EXPECT_EQ(normal("grpc://192.0.2.1:1"), "grpc://192.0.2.1:1");
  EXPECT_EQ(normal("grpcs://_grpc._tcp.example.com"), "grpcs://_grpc._tcp.example.com");
  const Endpoint plain = std::get<Endpoint>(parse_endpoint("grpc://h:1"));
  const Endpoint secure = std::get<Endpoint>(parse_endpoint("grpcs://h:1"));
  EXPECT_EQ(plain.kind, Endpoint::Kind::tcp);
  EXPECT_TRUE(plain.grpc && !plain.secure);
  EXPECT_TRUE(secure.grpc && secure.secure);
  EXPECT_EQ(secure.certificate_name(), "h");
  EXPECT_NE(plain, std::get<Endpoint>(parse_endpoint("tcp://h:1")));
  EXPECT_NE(secure, std::get<Endpoint>(parse_endpoint("tls://h:1")));
  EXPECT_EQ(error("grpc://h"), "\"grpc://h\": the port is missing; write grpc://HOST:PORT");
  EXPECT_EQ(error("grpcs://_grpc"),
            "\"grpcs://_grpc\": a service is named as grpcs://_SERVICE._PROTO.DOMAIN; any other "
            "host has a port");
}

TEST(Endpoint, ACertificateIsForTheHostOrTheDomainOfTheService) {
  const auto name = [](const char* url) {
    return std::get<Endpoint>(parse_endpoint(url)).certificate_name();
  };
  EXPECT_EQ(name("tls://DB.example.com:1"), "db.example.com");
  EXPECT_EQ(name("tls://db.example.com.:1"), "db.example.com");
  EXPECT_EQ(name("tls://192.0.2.1:1"), "192.0.2.1");
  EXPECT_EQ(name("tls://[fe80::1%eth0]:1"), "fe80::1");
  EXPECT_EQ(name("tls://_imaps._tcp.example.com"), "example.com");
  EXPECT_EQ(name("tls://_x.y._tcp.example.com."), "example.com");
}

TEST(Endpoint, ThePlainHostHasNoBracketsPercentOrColons) {
  EXPECT_EQ(error("tcp://a%b:80"),
            "\"tcp://a%b:80\": the host may have letters, digits, '.', '-' and '_' only");
  EXPECT_EQ(error("tcp://[::1]x:80"),
            "\"tcp://[::1]x:80\": the port is missing; write tcp://[ADDRESS]:PORT");
}

TEST(Endpoint, HasTheKernelsAndTheDnsLimits) {
  EXPECT_EQ(normal("tcp://" + std::string(253, 'a') + ":1").size(), 253u + 8);
  EXPECT_NE(error("tcp://" + std::string(254, 'a') + ":1").find("at most 253 bytes"),
            std::string::npos);
  EXPECT_EQ(error("unix:///" + std::string(106, 'a')), "no error");
  EXPECT_NE(error("unix:///" + std::string(107, 'a')).find("at most 107 bytes"), std::string::npos);
  EXPECT_EQ(error("unix://@" + std::string(106, 'a')), "no error");
  EXPECT_NE(error("unix://@" + std::string(107, 'a')).find("at most 107 bytes"), std::string::npos);
}

TEST(Endpoint, ErrorsQuoteNoControlCharactersAndNoNovels) {
  EXPECT_EQ(error("x\n\x1b[31m"),
            "\"x??[31m\": no scheme; write tcp://HOST:PORT, tls://HOST:PORT or unix:///PATH");
  EXPECT_LT(error(std::string(100'000, 'x')).size(), 200u);
  EXPECT_EQ(error(std::string("unix:///a\0b", 11)),
            "\"unix:///a?b\": a socket's path has no zero byte");
  EXPECT_EQ(error(std::string("\n\n://", 5)),
            "\"??://\": the scheme \"??\" is not known here; write tcp://HOST:PORT, "
            "tls://HOST:PORT or unix:///PATH");
}

}  // namespace
}  // namespace berth
