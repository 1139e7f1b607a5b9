#include "base/command.h"

#include <gtest/gtest.h>

namespace berth {
namespace {

Endpoint endpoint(const char* url) {
  return std::get<Endpoint>(parse_endpoint(url));
}

TEST(Command, HostAndPortOfTheEndpointStandForTheirSigns) {
  const Command command = {"/bin/%h", "%h", "--to=%h:%p", "100%%", "", "%%h"};
  EXPECT_EQ(expand(command, endpoint("tcp://Db.Example:5432")),
            (Command{"/bin/%h", "db.example", "--to=db.example:5432", "100%", "", "%h"}));
}

TEST(Command, AnIpv6AddressHasNoBracketsAndAUnixSocketNoPort) {
  const Command command = {"/x", "%h,%p"};
  EXPECT_EQ(expand(command, endpoint("tcp://[::1]:80"))[1], "::1,80");
  EXPECT_EQ(expand(command, endpoint("unix:///run/x.sock"))[1], "/run/x.sock,");
  EXPECT_EQ(expand(command, endpoint("unix://@name"))[1], "@name,");
}

TEST(Command, AnyOtherPercentSignIsFound) {
  for (const char* right : {"", "h", "%h", "%%", "%%x", "%p%h%%"}) {
    EXPECT_EQ(wrong_percent(right), "") << right;
  }
  EXPECT_EQ(wrong_percent("%d/x"), "%d");
  EXPECT_EQ(wrong_percent("%h %H"), "%H");
  EXPECT_EQ(wrong_percent("100%"), "%");
  EXPECT_EQ(wrong_percent("%%%"), "%");
  EXPECT_EQ(wrong_percent("%ü"), "%ü");
}

}  // namespace
}  // namespace berth
