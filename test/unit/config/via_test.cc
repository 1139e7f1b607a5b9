// Proxies as a file names them: via, via_password_file, and what their writer is told.
#include <sys/stat.h>

#include "base/limits.h"
#include "config/print.h"
#include "unit/config/config_test.h"

namespace berth::config {
namespace {

class ConfigVia : public ConfigTest {
 protected:
  // One pool to tcp://h:1, with these settings.
  Loaded with(const std::string& settings) const {
    return load_main("[pool.redis]\nendpoints = [\"tcp://h:1\"]\nallow_users = [\"root\"]\n" +
                     settings + "\n");
  }

  std::string password_file(const std::string& text, mode_t mode = 0600) const {
    write("password", text);
    ::chmod(path("password").c_str(), mode);
    return "via_password_file = \"" + path("password") + "\"\n";
  }
};

TEST_F(ConfigVia, APasswordIsReadFromItsFileAndPrintedNowhere) {
  const std::string file = password_file("hunter2\n");
  const Loaded loaded = with(file + "via = \"socks5://alice@proxy:1080\"");
  EXPECT_EQ(lines(loaded.problems), Lines{});
  EXPECT_EQ(loaded.settings.pools[0].via_password.secret.bytes(), "hunter2");
  const std::string text = print(loaded.settings);
  EXPECT_EQ(text.find("hunter2"), text.npos);
  EXPECT_NE(text.find("\nvia = \"socks5://alice@proxy:1080\"\n" + file), text.npos) << text;
  EXPECT_EQ(load_main(text).settings, loaded.settings);
  password_file("other");
  EXPECT_NE(load_main(text).settings, loaded.settings);
}

TEST_F(ConfigVia, NoneIsSaidInAWord) {
  const Loaded loaded = with("via = \"none\"\nvia_password_file = \"none\"");
  EXPECT_EQ(lines(loaded.problems), Lines{});
  EXPECT_EQ(loaded.settings, with("").settings);
}

TEST_F(ConfigVia, AMistakeIsToldWithoutWhatWasWritten) {
  EXPECT_EQ(problems_with("via = \"socks5://alice:hunter2@h:1\""),
            Lines{"via: a password does not stand in the URL, which is no secret; put it into a "
                  "file and name that with via_password_file"});
  EXPECT_EQ(problems_with("via = [\"hunter2\"]"),
            Lines{"via must be the URL of a proxy in quotes, or \"none\""});
  EXPECT_EQ(problems_with("via = \"hunter2\""),
            Lines{"via: the scheme must be socks5:// or http://; write socks5://[USER@]HOST:PORT "
                  "or http://[USER@]HOST:PORT"});
  EXPECT_EQ(problems_with("via_password_file = \"hunter2\""),
            Lines{"via_password_file must be the absolute path of a file, or \"%d/NAME\" for a "
                  "credential of systemd"});
  EXPECT_EQ(problems_with("via_password_file = 1234"),
            Lines{"via_password_file must be the path of a file in quotes, or \"none\""});
}

TEST_F(ConfigVia, APasswordFileIsItsOwnersAlone) {
  const Lines told = problems_with(password_file("hunter2", 0644));
  ASSERT_EQ(told.size(), 1u);
  EXPECT_TRUE(told[0].starts_with("via_password_file: ")) << told[0];
  EXPECT_NE(told[0].find("is open to all (mode 0644)"), told[0].npos) << told[0];
}

TEST_F(ConfigVia, UserAndPasswordGoTogether) {
  const std::string file = password_file("hunter2");
  const Lines without_user = {
      "via_password_file (line 3) is without effect: no user stands in via"};
  EXPECT_EQ(problems_with(file), without_user);
  EXPECT_EQ(problems_with(file + "via = \"http://proxy:3128\""), without_user);
  EXPECT_EQ(problems_with("via = \"socks5://alice@proxy:1080\""),
            Lines{"via (line 3) has a user, but no via_password_file; SOCKS5 knows no user without "
                  "password"});
  EXPECT_EQ(problems_with("via = \"http://alice@proxy:3128\""), Lines{});
  EXPECT_EQ(problems_with("via = \"socks5://alice@proxy:1080\"\nvia_password_file = 1").size(), 1u);
}

TEST_F(ConfigVia, APasswordIsAsShortAsItsProtocolWants) {
  const std::string socks = "via = \"socks5://alice@proxy:1080\"";
  const std::string http = "via = \"http://alice@proxy:3128\"";
  EXPECT_EQ(problems_with(password_file(std::string(kMaxSocksPasswordBytes, 'p')) + socks),
            Lines{});
  EXPECT_EQ(problems_with(password_file(std::string(kMaxSocksPasswordBytes + 1, 'p')) + socks),
            Lines{"via_password_file (line 3) holds a password of more than 255 bytes, too long "
                  "for SOCKS5"});
  EXPECT_EQ(problems_with(password_file(std::string(kMaxHttpPasswordBytes, 'p')) + http), Lines{});
  EXPECT_EQ(problems_with(password_file(std::string(kMaxHttpPasswordBytes + 1, 'p')) + http),
            Lines{"via_password_file (line 3) holds a password of more than 2048 bytes, too long "
                  "for HTTP"});
}

TEST_F(ConfigVia, AProxyLeadsToHostsOnly) {
  EXPECT_EQ(problems_in("[pool.a]\nendpoints = [\"unix:///x\", \"unix://@y\"]\n"
                        "via = \"socks5://proxy:1080\"\n"),
            Lines{"3: via (line 3) is without effect: no endpoint of [pool.a] is tcp://, and to "
                  "others no proxy leads"});
  EXPECT_EQ(problems_in("[pool.a]\nendpoints = [\"unix:///x\", \"tcp://h:1\"]\n"
                        "via = \"socks5://proxy:1080\"\n"),
            Lines{});
  EXPECT_EQ(problems_in("[pool.a]\nendpoints = [\"slot:\"]\nvia = \"socks5://proxy:1080\"\n"),
            Lines{"3: via (line 3) is without effect: [pool.a] lends slots, which carry no "
                  "connection"});
}

// There a URL may be that of a Unix socket, too, which is dialled without the proxy.
TEST_F(ConfigVia, PoolsThatUrlsMakeMayHaveOne) {
  const std::string file = password_file("hunter2");
  const Loaded loaded = load_main(
      "[dynamic]\nallow = [\"tcp://*:*\", \"unix:///*\"]\nallow_users = [0]\n"
      "via = \"socks5://alice@proxy:1080\"\n" +
      file);
  EXPECT_EQ(lines(loaded.problems), Lines{});
  EXPECT_EQ(loaded.settings.dynamic.policy.via->url(), "socks5://alice@proxy:1080");
  EXPECT_EQ(load_main(print(loaded.settings)).settings, loaded.settings);
}

}  // namespace
}  // namespace berth::config
