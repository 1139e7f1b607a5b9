// Settings of TLS: what is wrong with each, and what of them is wrong together.
#include "config/print.h"
#include "config/tls_contradictions.h"
#include "unit/config/config_test.h"

namespace berth::config {
namespace {

class ConfigTls : public ConfigTest {
 protected:
  // The problems of a pool of which line 3 and what follows are these.
  Lines problems(const std::string& endpoint, const std::string& settings) const {
    return texts(load_pool(endpoint, settings).problems);
  }
  Lines warnings(const std::string& endpoint, const std::string& settings) const {
    return texts(load_pool(endpoint, settings + "allow_users = [0]\n").warnings);
  }

 private:
  Loaded load_pool(const std::string& endpoint, const std::string& settings) const {
    return load_main("[pool.p]\nendpoints = [" + endpoint + "]\n" + settings + "\n");
  }
  static Lines texts(const std::vector<Problem>& problems) {
    Lines out;
    for (const Problem& problem : problems) out.push_back(problem.text);
    return out;
  }
};

const std::string kTls = "\"tls://h:1\"";
const std::string kTcp = "\"tcp://h:1\"";
const std::string kStart = "greeting = {tls = \"start\"}\n";

TEST_F(ConfigTls, FilesAreNamedByAbsolutePathsOrAsCredentials) {
  const std::string expected =
      " must be the absolute path of a file, or \"%d/NAME\" for a credential of systemd";
  for (const std::string name : {"certificate", "private_key"}) {
    const std::string other =
        name == "certificate" ? "\nprivate_key = \"/k\"" : "\ncertificate = \"/c\"";
    for (const char* path : {"relative.pem", "", "/folder/", "%d/", "%d/../x", "-----BEGIN"}) {
      EXPECT_EQ(problems(kTls, name + " = \"" + path + "\"" + other), Lines{name + expected});
    }
    EXPECT_EQ(problems(kTls, name + " = 3" + other),
              Lines{name + " must be the path of a file in quotes, or \"none\""});
  }
  EXPECT_EQ(problems(kTls, "ca = \"none\""), Lines{"ca" + expected});
  EXPECT_EQ(problems(kTls, "ca = \"/folder/\""), Lines{});
  EXPECT_EQ(problems(kTls, "ca = []"),
            Lines{"ca must be the path of a file in quotes, or \"system\""});
}

TEST_F(ConfigTls, AServerNameIsAHostsNameOrAddress) {
  for (const char* name : {"h", "*.example", "a b", "h:1", "[::1]", "tls://h", "x/", "::g"}) {
    const bool right = std::string(name) == "h";
    const Lines wrong = {
        "server_name must be the name or the address of a host, such as \"db.example\"; found \"" +
        std::string(name) + "\""};
    EXPECT_EQ(problems(kTls, "server_name = \"" + std::string(name) + "\""),
              right ? Lines{} : wrong);
  }
  EXPECT_EQ(problems(kTls, "server_name = \"192.0.2.1\""), Lines{});
  EXPECT_EQ(problems(kTls, "server_name = \"::1\""), Lines{});
  EXPECT_EQ(problems(kTls, "server_name = 3"),
            Lines{"server_name must be the name or the address of a host, such as \"db.example\"; "
                  "found 3"});
}

TEST_F(ConfigTls, ProtocolsOfAlpnHaveNamesOfTheirBoundsEachOnce) {
  EXPECT_EQ(problems(kTls, "alpn = \"h2\""),
            Lines{"alpn must be an array of names of protocols, such as [\"http/1.1\"]; found "
                  "\"h2\""});
  EXPECT_EQ(problems(kTls, "alpn = [\"h2\", \"h2\"]"), Lines{"alpn names \"h2\" twice"});
  EXPECT_EQ(problems(kTls, "alpn = [\"\"]"),
            Lines{"alpn must be an array of names of 1 to 255 bytes; found \"\""});
  EXPECT_EQ(problems(kTls, "alpn = [3]"),
            Lines{"alpn must be an array of names of 1 to 255 bytes; found 3"});
  EXPECT_EQ(problems(kTls, "alpn = [\"a\\u0000b\"]").size(), 1u);
  EXPECT_EQ(problems(kTls, "alpn = [\"" + std::string(255, 'x') + "\"]"), Lines{});
  EXPECT_EQ(problems(kTls, "alpn = [\"" + std::string(256, 'x') + "\"]").size(), 1u);
  std::string many;
  for (char c = 'a'; c <= 'p'; ++c) many += std::string("\"") + c + "\", ";
  EXPECT_EQ(problems(kTls, "alpn = [" + many + "]"), Lines{});
  EXPECT_EQ(problems(kTls, "alpn = [" + many + "\"q\"]"), Lines{"alpn has more than 16 protocols"});
}

TEST_F(ConfigTls, NoVerificationHasToBeConfirmedAndIsWarnedOf) {
  const std::string none = "verify = \"none\"\n";
  EXPECT_EQ(problems(kTls, none),
            Lines{"verify = \"none\" (line 3) lets everybody who is on the way be the server; if "
                  "that is meant, say insecure = true beside it"});
  EXPECT_EQ(problems(kTls, none + "insecure = true\n"), Lines{});
  EXPECT_EQ(warnings(kTls, none + "insecure = true\n"),
            Lines{"[pool.p]: verify = \"none\" (line 3): everybody who is on the way can be the "
                  "server"});
  EXPECT_EQ(warnings(kTls, "verify = \"chain-only\"\n"), Lines{});
  EXPECT_EQ(problems(kTls, "insecure = true"),
            Lines{"insecure = true (line 3) is without effect: it confirms verify = \"none\", and "
                  "this is verify = \"full\" (default)"});
  EXPECT_EQ(problems(kTls, "verify = \"chain-only\"\ninsecure = true"),
            Lines{"insecure = true (line 4) is without effect: it confirms verify = \"none\", and "
                  "this is verify = \"chain-only\" (line 3)"});
  EXPECT_EQ(problems(kTls, none + "insecure = true\nca = \"/ca\""),
            Lines{"ca (line 5) is without effect with verify = \"none\" (line 3)"});
  EXPECT_EQ(problems(kTls, "verify = \"off\""),
            Lines{"verify must be \"full\", \"chain-only\" or \"none\"; found \"off\""});
}

TEST_F(ConfigTls, ACertificateAndItsKeyComeTogether) {
  EXPECT_EQ(problems(kTls, "certificate = \"/c\""),
            Lines{"certificate (line 3) needs a private_key beside it"});
  EXPECT_EQ(problems(kTls, "private_key = \"/k\""),
            Lines{"private_key (line 3) needs a certificate beside it"});
}

TEST_F(ConfigTls, WithoutTlsItsSettingsAreWithoutEffect) {
  const std::string why =
      " is without effect: no endpoint of [pool.p] is tls://, and no step starts TLS";
  for (const std::string setting :
       {"ca = \"/x\"", "certificate = \"/x\"", "private_key = \"/x\"", "server_name = \"x\"",
        "verify = \"none\"", "insecure = true", "alpn = [\"x\"]"}) {
    const std::string name = setting.substr(0, setting.find(' '));
    EXPECT_EQ(problems(kTcp, setting), Lines{name + " (line 3)" + why});
    EXPECT_EQ(problems("\"unix:///x\"", setting), Lines{name + " (line 3)" + why});
  }
  EXPECT_EQ(problems(kTcp, "handoff = \"ktls\""), Lines{"handoff = \"ktls\" (line 3)" + why});
  EXPECT_EQ(problems(kTcp, kStart + "ca = \"/x\"\nhandoff = \"ktls\""), Lines{});
  EXPECT_EQ(problems(kTcp, "ca = \"system\"\nverify = \"full\"\ncertificate = \"none\""), Lines{});
}

TEST_F(ConfigTls, ABareSocketIsOfNoUseWithoutTheKernelsTls) {
  EXPECT_EQ(problems(kTls, "handoff = \"direct\""),
            Lines{"handoff = \"direct\" (line 3): [pool.p] speaks TLS, which a program with the "
                  "bare socket would have to speak itself; say \"ktls\" or \"auto\""});
  EXPECT_EQ(problems(kTls, "handoff = \"ktls\"\nlisten = \"/x\""),
            Lines{"handoff = \"ktls\" (line 3) contradicts listen (line 4), whose programs do not "
                  "get the server's socket"});
  const std::string program = "login_command = [\"/bin/sh\"]\n";
  for (const std::string handoff : {"auto", "relay"}) {
    EXPECT_EQ(problems(kTls, program + "handoff = \"" + handoff + "\""),
              Lines{"login_command (line 3) gets the server's socket, on which it can log in with "
                    "TLS only where the kernel encrypts; say handoff = \"ktls\", or log in with "
                    "login"});
  }
  EXPECT_EQ(problems(kTls, program + "handoff = \"ktls\""), Lines{});
  EXPECT_EQ(problems(kTls, "dial_command = [\"/bin/sh\"]"), Lines{});
  EXPECT_EQ(problems(kTls, "via = \"socks5://proxy:1\""), Lines{});
}

TEST_F(ConfigTls, KernelTlsIsASocketThatHoldersMayHaveKept) {
  EXPECT_EQ(problems(kTls, "handoff = \"ktls\"\nshare = \"any\"").size(), 1u);
  EXPECT_EQ(problems(kTls, "handoff = \"relay\"\nshare = \"any\""), Lines{});
}

TEST_F(ConfigTls, APoolIsEncryptedAsAWhole) {
  EXPECT_EQ(problems(kTcp + ", " + kTls, ""),
            Lines{"endpoints (line 2) has tls:// and tcp://h:1, which is without TLS; give each "
                  "kind a pool of its own"});
  EXPECT_EQ(problems(kTls + ", \"unix:///x\"", "").size(), 1u);
  EXPECT_EQ(problems("\"unix:///x\"", kStart),
            Lines{"unix:///x: berth speaks TLS over TCP only, which [pool.p] turns to after its "
                  "first steps"});
}

TEST_F(ConfigTls, TlsBeginsOnce) {
  EXPECT_EQ(problems(kTls, kStart),
            Lines{"greeting (line 3), which starts TLS, contradicts endpoints (line 2), which are "
                  "tls:// from the first byte on"});
  EXPECT_EQ(problems(kTls, "login = {tls = \"start\"}"),
            Lines{"login (line 3), which starts TLS, contradicts endpoints (line 2), which are "
                  "tls:// from the first byte on"});
  EXPECT_EQ(problems(kTcp, kStart + "login = {tls = \"start\"}"),
            Lines{"login (line 4), which starts TLS, contradicts greeting (line 3), which has done "
                  "so"});
  EXPECT_EQ(problems(kTcp, "login = {tls = \"start\"}\nreset = {send = \"x\"}\nrelogin = true"),
            Lines{"relogin = true (line 5) contradicts login (line 3), which starts TLS and cannot "
                  "do it again; move that into greeting"});
  EXPECT_EQ(
      problems(kTcp, kStart + "login = {send = \"x\"}\nreset = {send = \"x\"}\nrelogin = true"),
      Lines{});
}

TEST_F(ConfigTls, ProtocolsThatTurnToTlsAreToldFromThoseThatDoNot) {
  const auto told = [this](const std::string& protocol) {
    return problems(kTcp, "protocol = \"" + protocol + "\"\nstarttls = true");
  };
  for (const char* protocol : {"smtp", "ldap", "postgres"}) EXPECT_EQ(told(protocol), Lines{});
  for (const std::string protocol : {"redis", "http1", "memcached"}) {
    EXPECT_EQ(told(protocol),
              Lines{"starttls = true (line 4) contradicts protocol = \"" + protocol +
                    "\" (line 3), whose servers know TLS from the first byte on only; give "
                    "endpoints with tls://"});
  }
  EXPECT_EQ(told("mysql"),
            Lines{"starttls = true (line 4) contradicts protocol = \"mysql\" (line 3), whose TLS "
                  "begins within a handshake of its own that berth does not speak"});
  EXPECT_EQ(problems(kTcp, "starttls = true"),
            Lines{"starttls = true (line 3) contradicts protocol = \"raw\" (default), which knows "
                  "no command for it; give greeting a step {tls = \"start\"}, or endpoints with "
                  "tls://"});
}

TEST_F(ConfigTls, StarttlsIsWhatTheGreetingOfTheProtocolDoes) {
  const std::string smtp = "protocol = \"smtp\"\nstarttls = true\n";
  EXPECT_EQ(problems(kTls, smtp),
            Lines{"starttls = true (line 4) contradicts endpoints (line 2), which are tls:// from "
                  "the first byte on"});
  EXPECT_EQ(problems(kTcp, smtp + "greeting = {until_re = '^220 .*\\n'}"),
            Lines{"starttls = true (line 4) contradicts greeting (line 5), which has no step {tls "
                  "= \"start\"}; leave either out"});
  EXPECT_EQ(problems(kTcp, smtp + kStart), Lines{});
}

// Who connects there to PostgreSQL speaks first, though berth has done so before.
TEST_F(ConfigTls, ProgramsMayConnectToWhatHasTurnedToTlsUnlessTheServerGreets) {
  EXPECT_EQ(problems(kTcp, "protocol = \"postgres\"\nstarttls = true\nlisten = \"/x\""), Lines{});
  EXPECT_EQ(problems(kTcp, "protocol = \"smtp\"\nstarttls = true\nlisten = \"/x\"").size(), 1u);
  EXPECT_EQ(problems(kTls, "protocol = \"redis\"\nlisten = \"/x\""), Lines{});
}

TEST_F(ConfigTls, UrlKeysMayBeTls) {
  const std::string dynamic = "[dynamic]\nallow = [\"tls://*.example:*\"]\nallow_users = [0]\n";
  const Loaded loaded = load_main(dynamic + "ca = \"/ca\"\nhandoff = \"ktls\"\n");
  EXPECT_EQ(lines(loaded.problems), Lines{});
  EXPECT_EQ(load_main(print(loaded.settings)).settings, loaded.settings);
  EXPECT_EQ(problems_in(dynamic + "verify = \"none\"\n").size(), 1u);
  EXPECT_EQ(problems_in(dynamic + "certificate = \"/c\"\n").size(), 1u);
}

TEST_F(ConfigTls, AUrlThatCannotBeWhatDynamicSaysIsRefused) {
  const auto fault = [](const char* url, auto change) {
    pool::PoolPolicy policy;
    policy.endpoints = {std::get<Endpoint>(parse_endpoint(url))};
    change(policy);
    return fault_of_url_pool(policy);
  };
  const Steps start = {{Step::Kind::start_tls, "start", {}, {}}};
  const auto greets = [&](auto& p) { p.greeting = start; };
  const auto direct = [](auto& p) { p.handoff = pool::Handoff::direct; };
  const auto ktls = [](auto& p) { p.handoff = pool::Handoff::ktls; };
  const auto program = [](auto& p) { p.login_command = {"/bin/sh"}; };
  EXPECT_EQ(fault("tls://h:1", greets),
            "\"tls://h:1\": [dynamic] turns connections to TLS itself; write tcp://");
  EXPECT_EQ(fault("tcp://h:1", greets), "");
  EXPECT_EQ(fault("unix:///x", greets),
            "\"unix:///x\": [dynamic] turns connections to TLS, which berth speaks over TCP only");
  EXPECT_EQ(fault("tls://h:1", direct),
            "\"tls://h:1\": [dynamic] says handoff = \"direct\", which is not for TLS");
  EXPECT_EQ(fault("tcp://h:1", direct), "");
  EXPECT_EQ(fault("tcp://h:1", ktls),
            "\"tcp://h:1\": [dynamic] says handoff = \"ktls\", which is for TLS only");
  EXPECT_EQ(fault("tls://h:1", ktls), "");
  EXPECT_EQ(fault("slot:", ktls), "");
  EXPECT_EQ(fault("tls://h:1", program),
            "\"tls://h:1\": [dynamic] has a login_command, which takes handoff = \"ktls\" with "
            "TLS");
  EXPECT_EQ(fault("tcp://h:1", program), "");
}

TEST_F(ConfigTls, AFileThatCannotBeUsedIsAProblemOfTheSettingThatNamesIt) {
  std::vector<TlsSettings> asked;
  options_.probe_tls = [&](const TlsSettings& tls) {
    asked.push_back(tls);
    if (tls.certificate == "/bad") return TlsProbe{"certificate: /bad is no certificate", nullptr};
    if (tls.private_key == "/open") return TlsProbe{"private_key: /open is everybody's", nullptr};
    return TlsProbe{tls.ca == "system" ? "ca: /none cannot be read" : "", nullptr};
  };
  const auto pool = [](const std::string& name, const std::string& settings) {
    return "[pool." + name + "]\nendpoints = [\"tls://h:1\"]\n" + settings;
  };
  const std::string ca = "ca = \"/ca\"\n";
  EXPECT_EQ(problems_in(pool("a", ca + "certificate = \"/bad\"\nprivate_key = \"/k\"\n")),
            Lines{"4: certificate: /bad is no certificate"});
  EXPECT_EQ(problems_in(pool("a", ca + "certificate = \"/c\"\nprivate_key = \"/open\"\n")),
            Lines{"5: private_key: /open is everybody's"});
  EXPECT_EQ(problems_in(pool("a", "")), Lines{"1: ca: /none cannot be read"}) << "of the default";
  EXPECT_EQ(problems_in("[dynamic]\nallow = [\"*\"]\nca = \"system\"\n"),
            Lines{"3: ca: /none cannot be read"});
  asked.clear();
  EXPECT_EQ(problems_in(pool("a", ca) + pool("b", ca)), Lines{});
  EXPECT_EQ(asked.size(), 1u) << "what two pools say is asked once";
  asked.clear();
  EXPECT_EQ(problems_in("[pool.a]\nendpoints = [\"tcp://h:1\"]\n"), Lines{});
  EXPECT_EQ(problems_in("[dynamic]\nallow = [\"*\"]\n"), Lines{});
  EXPECT_EQ(problems_in(pool("a", ca + "certificate = 3\n")).size(), 1u);
  EXPECT_EQ(problems_in(pool("a", ca + "certificate = \"/bad\"\n")).size(), 1u);
  EXPECT_TRUE(asked.empty()) << "where there is no TLS, or something is wrong already";
}

TEST_F(ConfigTls, SlotsHaveNone) {
  EXPECT_EQ(problems("\"slot:\"", "ca = \"/x\"").size(), 1u);
  EXPECT_EQ(problems("\"slot:\"", "starttls = true").size(), 1u);
}

TEST_F(ConfigTls, WhereASettingIsUnknownOthersAreNotBlamedForIt) {
  EXPECT_EQ(problems("\"tls://h\"", "ca = \"/x\"\nhandoff = \"ktls\"").size(), 1u);
  EXPECT_EQ(problems(kTcp, "greeting = {tls = 1}\nca = \"/x\"").size(), 1u);
  EXPECT_EQ(problems(kTls, "certificate = \"/c\"\nprivate_key = 3").size(), 1u);
}

}  // namespace
}  // namespace berth::config
