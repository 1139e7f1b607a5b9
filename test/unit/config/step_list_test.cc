// Steps as a file writes them, and what its writer is told of them.
#include "config/step_list.h"

#include <sys/stat.h>

#include "base/limits.h"
#include "config/print.h"
#include "unit/config/config_test.h"

namespace berth::config {
namespace {

using namespace std::chrono_literals;
using Kind = Step::Kind;

class ConfigSteps : public ConfigTest {
 protected:
  static std::string pool_with(const std::string& settings) {
    return "[pool.a]\nendpoints = [\"tcp://h:1\"]\nallow_users = [\"root\"]\n" + settings + "\n";
  }

  pool::PoolPolicy pool(const std::string& settings) const {
    const Loaded loaded = load_main(pool_with(settings));
    EXPECT_EQ(lines(loaded.problems), Lines{});
    return loaded.settings.pools.at(0);
  }

  // Its line and text.
  std::string problem(const std::string& settings) const {
    const Lines all = problems_in(pool_with(settings));
    return all.size() == 1 ? all[0] : std::to_string(all.size()) + " problems";
  }

  std::string secret_file(const std::string& text, mode_t mode = 0600) const {
    write("secret", text);
    ::chmod(path("secret").c_str(), mode);
    return path("secret");
  }
};

TEST_F(ConfigSteps, AreReadInTheirOrder) {
  EXPECT_EQ(pool("check = [{send = \"PING\\r\\n\"}, {expect = \"+PONG\\r\\n\", timeout = "
                 "\"500ms\"},\n{until_re = 'a\\d'}]")
                .check,
            (Steps{{Kind::send, "PING\r\n", {}, {}},
                   {Kind::expect, "+PONG\r\n", {}, 500ms},
                   {Kind::until_re, "a\\d", {}, {}}}));
}

TEST_F(ConfigSteps, OneMayStandAlone) {
  const Steps wanted = {{Kind::expect_re, "220 .*", {}, {}}};
  EXPECT_EQ(pool("greeting = {expect_re = \"220 .*\"}").greeting, wanted);
  EXPECT_EQ(pool("[pool.a.greeting]\nexpect_re = \"220 .*\"").greeting, wanted);
  EXPECT_EQ(pool("[[pool.a.greeting]]\nexpect_re = \"220 .*\"").greeting, wanted);
}

TEST_F(ConfigSteps, AGreetingMayBeLeft) {
  EXPECT_EQ(pool("greeting = \"leave\"").greeting, Steps{});
  EXPECT_EQ(pool("greeting = []").greeting, Steps{});
  EXPECT_EQ(problem("login = \"leave\""),
            "4: login must be an array of steps, such as [{send = \"PING\\r\\n\"}, {expect = "
            "\"+PONG\\r\\n\"}]");
  EXPECT_EQ(problem("greeting = \"take\""),
            "4: greeting must be an array of steps, such as [{send = \"PING\\r\\n\"}, {expect = "
            "\"+PONG\\r\\n\"}], or \"leave\"");
}

TEST_F(ConfigSteps, SendAnyBytes) {
  EXPECT_EQ(pool("login = {send = 'a\\x00\\\\\\xff'}").login[0].text, std::string("a\0\\\xff", 4));
  EXPECT_EQ(pool("login = {send = \"a\\\\x00\\u0001\"}").login[0].text, std::string("a\0\x01", 3));
  EXPECT_EQ(problem("login = [\n{send = 'PING\\r\\n'}]"),
            "5: login: step 1: send: \\r is no escape; after TOML's own, \\xHH is a byte and \\\\ "
            "a backslash");
}

TEST_F(ConfigSteps, EachMistakeIsToldWithItsStep) {
  EXPECT_EQ(problem("check = [{send = \"x\"},\n{expct = \"y\"}]"),
            "5: check: step 2 has an unknown \"expct\"; did you mean \"expect\"?");
  EXPECT_EQ(problem("check = {colour = 1}"),
            "4: check: step 1 has an unknown \"colour\"; it may hold \"send\", \"send_file\", "
            "\"expect\", \"expect_re\", \"until_re\", \"tls\" or \"timeout\"");
  EXPECT_EQ(problem("check = [{}]"),
            "4: check: step 1 neither sends nor expects; it needs one of \"send\", \"send_file\", "
            "\"expect\", \"expect_re\", \"until_re\" or \"tls\"");
  EXPECT_EQ(problem("check = {send = \"a\", expect = \"b\"}"),
            "4: check: step 1 has both send and expect; each needs a step of its own");
  EXPECT_EQ(problem("check = {expect = 3}"), "4: check: step 1: expect must be a string");
  EXPECT_EQ(problem("check = {expect = \"\"}"), "4: check: step 1: expect is empty");
  EXPECT_EQ(problem("check = [{send = \"a\"}, \"b\"]"),
            "4: check: step 2 must be a table, such as {send = \"PING\\r\\n\"}");
  EXPECT_EQ(problem("check = {send = \"a\", timeout = 3}"),
            "4: check: step 1: timeout must be a duration with its unit, such as \"250ms\" or "
            "\"10m\"; found 3");
  EXPECT_EQ(problem("check = {send = \"a\", timeout = \"0s\"}"),
            "4: check: step 1: timeout must be from 1ms to 1h; found \"0s\"");
}

TEST_F(ConfigSteps, StartTlsOnceInGreetingOrLogin) {
  const std::string tls = "[{send = \"a\"}, {tls = \"start\"}, {send = \"b\"}]";
  const Steps steps = {{Step::Kind::send, "a", {}, {}},
                       {Step::Kind::start_tls, "start", {}, {}},
                       {Step::Kind::send, "b", {}, {}}};
  EXPECT_EQ(pool("greeting = " + tls).greeting, steps);
  EXPECT_EQ(pool("login = " + tls).login, steps);
  EXPECT_EQ(problem("check = {tls = \"start\"}"),
            "4: check: step 1: TLS begins in greeting or login, not here");
  EXPECT_EQ(problem("reset = [{send = \"a\"},\n{tls = \"start\"}]"),
            "5: reset: step 2: TLS begins in greeting or login, not here");
  EXPECT_EQ(problem("login = [{tls = \"start\"}, {send = \"a\"},\n{tls = \"start\"}]"),
            "5: login: step 3: TLS has begun in step 1");
  EXPECT_EQ(problem("login = {tls = \"stop\"}"), "4: login: step 1: tls must be \"start\"");
  EXPECT_EQ(problem("login = {tls = true}"), "4: login: step 1: tls must be a string");
  EXPECT_EQ(problem("login = {tls = \"start\", timeout = \"1s\"}"),
            "4: login: step 1: timeout is without effect: TLS has the time that all steps have");
}

TEST_F(ConfigSteps, SeveralMistakesAreAllTold) {
  EXPECT_EQ(problems_in(pool_with("check = [\n{send = 1},\n{expect = 2, timeout = 3}]")).size(),
            3u);
}

TEST_F(ConfigSteps, PatternsAreCompiled) {
  EXPECT_EQ(problem("check = {until_re = \"a(b\"}"),
            "4: check: step 1: until_re is no pattern: missing ): a(b");
  EXPECT_EQ(problem("check = {expect_re = '\\y'}"),
            "4: check: step 1: expect_re is no pattern: invalid escape sequence: \\y");
  EXPECT_EQ(problem("check = {expect_re = '((a{1000}){1000}){1000}'}").substr(0, 40),
            "4: check: step 1: expect_re is no patter");
}

TEST_F(ConfigSteps, HaveBounds) {
  const auto many = [](size_t count) {
    std::string list;
    for (size_t i = 0; i < count; ++i) list += "{send = \"x\"},\n";
    return "check = [\n" + list + "]";
  };
  EXPECT_EQ(pool(many(kMaxSteps)).check.size(), kMaxSteps);
  EXPECT_EQ(problem(many(kMaxSteps + 1)), "37: check has more than 32 steps");
  const auto text = [](size_t size) {
    return "check = {send = \"" + std::string(size, 'x') + "\"}";
  };
  EXPECT_EQ(pool(text(kMaxStepBytes)).check[0].text.size(), kMaxStepBytes);
  EXPECT_EQ(problem(text(kMaxStepBytes + 1)), "4: check: step 1: send is longer than 4096 bytes");
}

TEST_F(ConfigSteps, ASecretIsReadFromItsFile) {
  const std::string file = secret_file("hunter2\n");
  const Steps login = pool("login = {send_file = \"" + file + "\"}").login;
  EXPECT_EQ(login[0].text, file);
  EXPECT_EQ(login[0].secret.bytes(), "hunter2");
  secret_file("other");
  EXPECT_NE(pool("login = {send_file = \"" + file + "\"}").login, login);
}

TEST_F(ConfigSteps, ASecretMayBeACredentialOfSystemd) {
  secret_file("hunter2");
  EXPECT_EQ(problem("login = {send_file = \"%d/secret\"}"),
            "4: login: step 1: send_file: %d is $CREDENTIALS_DIRECTORY, which is not set; systemd "
            "sets it for a service with LoadCredential=");
  const Variable credentials("CREDENTIALS_DIRECTORY", folder_.c_str());
  const Steps login = pool("login = {send_file = \"%d/secret\"}").login;
  EXPECT_EQ(login[0].text, "%d/secret");
  EXPECT_EQ(login[0].secret.bytes(), "hunter2");
}

TEST_F(ConfigSteps, APathIsWhole) {
  for (const char* wrong : {"hunter2", "%d", "%d/", "%d/..", "%d/a/b", "/a/", "/a\\u0000"}) {
    EXPECT_EQ(problem("login = {send_file = \"" + std::string(wrong) + "\"}"),
              "4: login: step 1: send_file must be the absolute path of a file, or \"%d/NAME\" for "
              "a credential of systemd")
        << wrong;
  }
  const std::string unreadable = problem("login = {send_file = \"/no/such/file\"}");
  EXPECT_TRUE(unreadable.starts_with(
      "4: login: step 1: send_file: /no/such/file cannot be read: No such file"))
      << unreadable;
  const std::string file = secret_file("x", 0644);
  EXPECT_TRUE(
      problem("login = {send_file = \"" + file + "\"}")
          .starts_with("4: login: step 1: send_file: DIR/secret is open to all (mode 0644)"));
}

TEST_F(ConfigSteps, NoSecretIsPrintedOrToldOf) {
  const std::string file = secret_file("hunter2");
  const Loaded loaded = load_main(
      pool_with("login = [{send = \"AUTH \"}, {send_file = \"" + file + "\"}, {send = '\\xff'}]"));
  const std::string text = print(loaded.settings);
  EXPECT_EQ(text.find("hunter2"), text.npos);
  EXPECT_NE(text.find("\nlogin = [{send = \"AUTH \"}, {send_file = \"" + file +
                      "\"}, {send = \"\\\\xff\"}]\n"),
            text.npos)
      << text;
  EXPECT_EQ(load_main(text).settings, loaded.settings);
  for (const char* wrong : {"\"hunter2\"", "[\"hunter2\"]", "{send = \"hunter2\\\\q\"}",
                            "{send_file = \"hunter2\"}", "{send = [\"hunter2\"]}"}) {
    const std::string told = problem(std::string("login = ") + wrong);
    EXPECT_EQ(told.find("hunter2"), told.npos) << told;
  }
}

TEST_F(ConfigSteps, LoginAgainNeedsLoginAndReset) {
  const std::string login = "login = {send = \"a\"}\n";
  const std::string reset = "reset = {send = \"b\"}\n";
  EXPECT_TRUE(pool(login + reset + "relogin = true").relogin);
  EXPECT_EQ(problem(login + "relogin = true"),
            "5: relogin = true (line 5) is without effect: [pool.a] has no reset");
  EXPECT_EQ(problem(reset + "relogin = true"),
            "5: relogin = true (line 5) is without effect: [pool.a] has no login");
  EXPECT_EQ(problem(reset + "login = {send = 1}\nrelogin = true"),
            "5: login: step 1: send must be a string");
  EXPECT_FALSE(pool("relogin = false").relogin);
}

TEST_F(ConfigSteps, TimesOfChecksNeedACheck) {
  EXPECT_EQ(pool("check_after = \"30s\"\ncheck_interval = \"120s\"\ncheck_timeout = \"1s\""),
            pool(""));
  EXPECT_EQ(problem("check_after = \"0s\""),
            "4: check_after = \"0s\" (line 4) is without effect: [pool.a] has no check");
  EXPECT_EQ(problem("check_interval = \"never\""),
            "4: check_interval = \"0s\" (line 4) is without effect: [pool.a] has no check");
  EXPECT_EQ(problem("check_timeout = \"2s\""),
            "4: check_timeout = \"2s\" (line 4) is without effect: [pool.a] has no check");
  EXPECT_EQ(pool("check = {send = \"x\"}\ncheck_interval = \"never\"").check_interval, 0s);
}

}  // namespace
}  // namespace berth::config
