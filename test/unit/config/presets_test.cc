// What a protocol brings, and what the file says beside it.
#include "config/presets.h"

#include <map>
#include <memory>
#include <set>

#include "config/catalogue.h"
#include "config/print.h"
#include "unit/config/config_test.h"
#include "wire/step_run.h"

namespace berth::config {
namespace {

using pool::PoolPolicy;
using pool::Warm;

class ConfigPresets : public ConfigTest {
 protected:
  PoolPolicy pool(const std::string& protocol, const std::string& settings = "") const {
    const Loaded loaded = load_main(table(protocol, settings));
    EXPECT_EQ(lines(loaded.problems), Lines{});
    return loaded.settings.pools.at(0);
  }

  // The problems of a pool of this protocol, which stands in line 3.
  Lines problems(const std::string& protocol, const std::string& settings) const {
    Lines out;
    for (const Problem& problem : load_main(table(protocol, settings)).problems) {
      out.push_back(problem.text);
    }
    return out;
  }

  // How a pool writes a setting.
  static std::string written(const PoolPolicy& pool, std::string_view name) {
    for (const Setting<PoolPolicy>& setting : pool_settings()) {
      if (setting.name == name) return setting.kind.write(pool);
    }
    return {};
  }

  static std::set<std::string> differing(const PoolPolicy& one, const PoolPolicy& other) {
    std::set<std::string> names;
    for (const Setting<PoolPolicy>& setting : pool_settings()) {
      if (setting.kind.write(one) != setting.kind.write(other)) names.emplace(setting.name);
    }
    return names;
  }

  using Names = std::set<std::string>;

  // What it brings to a pool with these settings.
  Names brought(const std::string& protocol, const std::string& settings = "") const {
    Names names = differing(pool(protocol, settings), pool("raw"));
    names.erase("protocol");
    return names;
  }

 private:
  static std::string table(const std::string& protocol, const std::string& settings) {
    return "[pool.p]\nendpoints = [\"tcp://h:1\"]\nprotocol = \"" + protocol + "\"\n" + settings +
           "\n";
  }
};

const std::string kLogin = "login = [{send = \"hello\"}]\n";
const std::string kProgram = "login_command = [\"/bin/sh\"]\n";
const std::string kOnce = "warm = \"single-use\"\n";
const std::string kStarttls = "starttls = true\n";
const std::string kReuse = "warm = \"reuse\"\n";

TEST_F(ConfigPresets, EachBringsWhatItsServersNeed) {
  EXPECT_EQ(brought("raw"), Names{});
  EXPECT_EQ(brought("redis"), (Names{"check", "reset"}));
  EXPECT_EQ(brought("memcached"), (Names{"check", "reset"}));
  EXPECT_EQ(brought("http1"), Names{"idle_timeout"});
  EXPECT_EQ(brought("smtp"),
            (Names{"greeting", "login", "check", "reset", "idle_timeout", "max_uses"}));
  EXPECT_EQ(brought("postgres"), Names{"warm"});
  EXPECT_EQ(brought("mysql"), (Names{"warm", "max_warm_age"}));
  EXPECT_EQ(brought("ldap"), (Names{"check", "reset"}));
}

TEST_F(ConfigPresets, SomeTurnToTlsInTheGreetingAndAreOtherwiseAsEver) {
  for (const std::string protocol : {"smtp", "postgres", "ldap"}) {
    Names names = brought(protocol);
    names.insert({"starttls", "greeting"});
    EXPECT_EQ(brought(protocol, kStarttls), names) << protocol;
    EXPECT_EQ(pool(protocol, kStarttls).greeting.back().kind, Step::Kind::start_tls) << protocol;
    EXPECT_FALSE(pool(protocol).uses_tls()) << protocol;
    EXPECT_EQ(pool(protocol, kLogin + kStarttls).login, pool(protocol, kLogin).login) << protocol;
  }
  EXPECT_EQ(pool("smtp", kStarttls).login, pool("smtp").login) << "EHLO is said again";
}

TEST_F(ConfigPresets, WhereThePoolLogsInAResetThatUndoesItIsFollowedByLogin) {
  for (const std::string protocol : {"redis", "ldap"}) {
    EXPECT_FALSE(pool(protocol).relogin);
    EXPECT_TRUE(pool(protocol, kLogin).relogin) << protocol;
    EXPECT_TRUE(pool(protocol, kProgram).relogin) << protocol;
    EXPECT_NE(pool(protocol).check, pool(protocol, kLogin).check) << protocol;
  }
  EXPECT_FALSE(pool("smtp", kLogin).relogin);
}

TEST_F(ConfigPresets, ConnectionsThatThePoolLogsInToPostgresAreKeptAndReset) {
  for (const std::string& login : {kLogin, kProgram}) {
    const PoolPolicy logged_in = pool("postgres", login);
    EXPECT_EQ(logged_in.warm, Warm::reuse);
    EXPECT_FALSE(logged_in.reset.empty());
    EXPECT_FALSE(logged_in.check.empty());
  }
  EXPECT_EQ(pool("postgres").warm, Warm::single_use);
  EXPECT_TRUE(pool("postgres").check.empty());
}

TEST_F(ConfigPresets, LoggedInMysqlIsForOneHolderWhoMayBeLate) {
  const PoolPolicy logged_in = pool("mysql", kLogin);
  EXPECT_EQ(logged_in.warm, Warm::single_use);
  EXPECT_EQ(logged_in.max_warm_age, PoolPolicy().max_warm_age);
  EXPECT_EQ(pool("mysql").max_warm_age, 7s);
}

TEST_F(ConfigPresets, WhatTheFileSaysItselfWins) {
  EXPECT_EQ(written(pool("redis", "check = []"), "check"), "[]");
  EXPECT_EQ(written(pool("redis", "reset = {send = \"x\"}"), "reset"), "[{send = \"x\"}]");
  EXPECT_FALSE(pool("redis", kLogin + "relogin = false").relogin);
  EXPECT_EQ(pool("http1", "idle_timeout = \"never\"").idle_timeout, 0s);
  EXPECT_EQ(pool("smtp", "max_uses = \"unlimited\"").max_uses, 0u);
  EXPECT_EQ(pool("smtp", kLogin).login, Steps({{Step::Kind::send, "hello", {}, {}}}));
  EXPECT_TRUE(pool("smtp", kProgram).login.empty());
  EXPECT_EQ(pool("mysql", "max_warm_age = \"1s\"").max_warm_age, 1s);
}

TEST_F(ConfigPresets, NothingIsBroughtForAResetOfTheFilesOwn) {
  EXPECT_FALSE(pool("redis", kLogin + "reset = []").relogin);
  EXPECT_FALSE(pool("redis", kLogin + "reset = {send = \"UNWATCH\\r\\n\"}").relogin);
}

TEST_F(ConfigPresets, NothingIsResetThatDoesNotComeBack) {
  for (const std::string protocol : {"redis", "memcached", "smtp", "ldap"}) {
    const PoolPolicy once = pool(protocol, kOnce);
    EXPECT_TRUE(once.reset.empty()) << protocol;
    EXPECT_EQ(once.max_uses, 0u) << protocol;
    EXPECT_FALSE(once.check.empty()) << protocol;
  }
  EXPECT_TRUE(pool("postgres", kLogin + kOnce).reset.empty());
}

TEST_F(ConfigPresets, WhereTheGreetingIsLeftNobodySpeaksBeforeTheHolder) {
  const PoolPolicy left = pool("smtp", kOnce + "greeting = \"leave\"");
  EXPECT_TRUE(left.leaves_greeting());
  EXPECT_TRUE(left.check.empty());
}

TEST_F(ConfigPresets, EveryPresetIsPrintedInFullAndLoadsAgain) {
  const std::string alternatives[] = {"",
                                      kLogin,
                                      kProgram,
                                      kOnce,
                                      kLogin + kOnce,
                                      "reset = {send = \"x\"}\n" + kReuse + kLogin,
                                      "check = []\nidle_timeout = \"never\""};
  for (const Preset& preset : presets()) {
    for (const std::string& settings : alternatives) {
      const PoolPolicy loaded = pool(std::string(preset.protocol), settings);
      Settings all;
      all.pools.push_back(loaded);
      const std::string text = print(all);
      EXPECT_NE(text.find("protocol = \"" + loaded.protocol + "\"\n"), text.npos);
      const Loaded again = load_main(text);
      EXPECT_EQ(lines(again.problems), Lines{}) << text;
      EXPECT_EQ(again.settings, all) << text;
    }
  }
}

TEST_F(ConfigPresets, UrlKeysMayHaveAProtocolToo) {
  const Loaded loaded =
      load_main("[dynamic]\nallow = [\"tcp://*:6379\"]\nprotocol = \"redis\"\ncheck = []\n");
  EXPECT_EQ(lines(loaded.problems), Lines{});
  EXPECT_EQ(loaded.settings.dynamic.policy.reset, pool("redis").reset);
  EXPECT_TRUE(loaded.settings.dynamic.policy.check.empty());
  EXPECT_EQ(load_main(print(loaded.settings)).settings, loaded.settings);
}

TEST_F(ConfigPresets, TheNamedSettingIsToldWithTheProtocolThatContradictsIt) {
  const std::string once = "what is warm = \"single-use\" of protocol = \"";
  EXPECT_EQ(
      problems("postgres", "reset = {send = \"x\"}"),
      Lines{"reset (line 4) is without effect: " + once + "postgres\" (line 3) does not return"});
  EXPECT_EQ(
      problems("mysql", kLogin + "max_uses = 3"),
      Lines{"max_uses (line 5) is without effect: " + once + "mysql\" (line 3) does not return"});
  EXPECT_EQ(problems("http1", "check_after = \"1s\""),
            Lines{"check_after = \"1s\" (line 4) is without effect: [pool.p] has no check"});
  EXPECT_EQ(problems("redis", "max_warm_age = \"1s\""),
            Lines{"max_warm_age (line 4) is without effect: [pool.p] is not warm = "
                  "\"single-use\""});
  EXPECT_EQ(problems("redis", "relogin = true"),
            Lines{"relogin = true (line 4) is without effect: [pool.p] has no login"});
}

TEST_F(ConfigPresets, WhoseClientsLogInThemselvesIsNotReused) {
  for (const std::string protocol : {"postgres", "mysql"}) {
    EXPECT_EQ(problems(protocol, kReuse),
              Lines{"warm = \"reuse\" (line 4) contradicts protocol = \"" + protocol +
                    "\" (line 3), whose clients log in themselves, each on a connection of its "
                    "own; leave it out, or give [pool.p] a login and a reset"});
  }
  const std::string why = " (line 3), or what one holder leaves there is the next one's";
  EXPECT_EQ(problems("mysql", kReuse + kLogin),
            Lines{"warm = \"reuse\" (line 4) needs a reset with protocol = \"mysql\"" + why});
  EXPECT_EQ(problems("postgres", kLogin + "reset = []"),
            Lines{"warm = \"reuse\" (default) needs a reset with protocol = \"postgres\"" + why});
  EXPECT_EQ(problems("mysql", kReuse + kLogin + "reset = {send = \"x\"}"), Lines{});
}

TEST_F(ConfigPresets, AServerThatGreetsOnceCannotLeaveItToEachHolder) {
  EXPECT_EQ(problems("smtp", "greeting = \"leave\""),
            Lines{"greeting = \"leave\" (line 4) contradicts protocol = \"smtp\" (line 3), whose "
                  "servers greet once: the next holder would wait for it; leave it out, or say "
                  "warm = \"single-use\""});
  EXPECT_EQ(problems("smtp", "greeting = \"leave\"\n" + kLogin), Lines{});
  EXPECT_EQ(problems("redis", "greeting = \"leave\""), Lines{});
}

TEST_F(ConfigPresets, ALoginThatStaysIsNotForOthers) {
  const std::string share = "share = \"socket\"\n";
  for (const std::string protocol : {"smtp", "http1", "memcached"}) {
    EXPECT_EQ(problems(protocol, share),
              Lines{"share = \"socket\" (line 4) lets users have connections on which others may "
                    "have logged in, which protocol = \"" +
                    protocol +
                    "\" (line 3) cannot undo; if none of them does, say trust_holders = true"});
    EXPECT_EQ(problems(protocol, share + "trust_holders = true"), Lines{});
    EXPECT_EQ(problems(protocol, share + kOnce), Lines{});
  }
  for (const std::string protocol : {"redis", "ldap"}) {
    EXPECT_EQ(problems(protocol, share), Lines{});
  }
  EXPECT_EQ(problems("postgres", share + kLogin), Lines{});
}

TEST_F(ConfigPresets, SlotsSpeakNoProtocol) {
  const std::string slots = "[pool.slot]\nendpoints = [\"slot:\"]\nprotocol = ";
  EXPECT_EQ(problems_in(slots + "\"redis\"\n"),
            Lines{"3: protocol = \"redis\" (line 3) is without effect: [pool.slot] lends slots, "
                  "which carry no connection"});
  EXPECT_EQ(problems_in(slots + "\"raw\"\n"), Lines{});
}

TEST_F(ConfigPresets, AnUnknownProtocolIsTheOnlyProblemOfWhatItWouldBring) {
  EXPECT_EQ(problems("mongo", "max_warm_age = \"1s\"\nrelogin = true\n").size(), 1u);
  EXPECT_EQ(problems("mongo", "max_warm_age = \"1s\""),
            Lines{"protocol must be \"raw\", \"redis\", \"memcached\", \"http1\", \"smtp\", "
                  "\"postgres\", \"mysql\" or \"ldap\"; found \"mongo\""});
}

// What becomes of steps while a server says this, one byte after the other.
enum class Outcome { done, done_before_all_was_said, failed, waits };

Outcome outcome(const Steps& steps, std::string_view said) {
  wire::StepRun run(std::make_shared<const wire::StepProgram>(steps));
  const auto send_all = [&] {
    while (run.state() == wire::Exchange::State::sending) run.sent(run.to_send().front().size());
  };
  send_all();
  for (const char& byte : said) {
    if (run.state() == wire::Exchange::State::done) return Outcome::done_before_all_was_said;
    run.feed({&byte, 1});
    send_all();
  }
  if (run.state() == wire::Exchange::State::done) return Outcome::done;
  return run.state() == wire::Exchange::State::failed ? Outcome::failed : Outcome::waits;
}

using namespace std::string_literals;

TEST_F(ConfigPresets, AResetIsDoneWhenAllItsAnswersHaveCome) {
  const Steps redis = pool("redis").reset;
  EXPECT_EQ(outcome(redis, "+OK\r\n+OK\r\n+RESET\r\n+PONG\r\n"), Outcome::done);
  EXPECT_EQ(outcome(redis, "+OK\r\n+OK\r\n+RESET\r\n-NOAUTH Authentication required.\r\n"),
            Outcome::done);
  EXPECT_EQ(outcome(redis, "+OK\r\n+OK\r\n-ERR unknown command\r\n+PONG\r\n"), Outcome::failed);
  EXPECT_EQ(outcome(pool("memcached").reset, "VERSION 1.6.18\r\nMN\r\n"), Outcome::done);
  EXPECT_EQ(outcome(pool("memcached").reset, "VERSION 1.4.0\r\nERROR\r\n"), Outcome::done);
  EXPECT_EQ(outcome(pool("smtp").reset, "250 Reset OK\r\n250-h\r\n250-SIZE 1\r\n250 HELP\r\n"),
            Outcome::done);
  // Of Active Directory, whose lengths are long.
  EXPECT_EQ(outcome(pool("ldap").reset,
                    "0\x84\0\0\0\x13\x02\x04\x7f\xff\xff\xff\x61\x84\0\0\0\x07"
                    "\n\x01\0\x04\0\x04\0"s),
            Outcome::done);
}

// As Redis 6.2 and 7.0 say it, also where `rename-command` has taken a command away.
TEST_F(ConfigPresets, AResetOfRedisUndoesWhatTheHolderMayHaveDoneAndNoMore) {
  const auto reset = [this](const std::string& script_debug, const std::string& no_evict) {
    return outcome(pool("redis").reset, script_debug + no_evict + "+RESET\r\n+PONG\r\n");
  };
  const std::string ok = "+OK\r\n";
  const std::string not_permitted = "-NOPERM this user has no permissions to run it\r\n";
  EXPECT_EQ(reset(not_permitted, not_permitted), Outcome::done);
  EXPECT_EQ(reset("-ERR unknown command 'SCRIPT', with args beginning with: 'DEBUG' 'NO' \r\n", ok),
            Outcome::done);
  EXPECT_EQ(
      reset("-ERR unknown command `SCRIPT`, with args beginning with: `DEBUG`, `NO`, \r\n", ok),
      Outcome::done);
  EXPECT_EQ(reset(ok, "-ERR Unknown subcommand or wrong number of arguments for 'NO-EVICT'.\r\n"),
            Outcome::done);
  for (const std::string refused :
       {"+QUEUED\r\n", "-NOAUTH Authentication required.\r\n", "-ERR Can't execute 'script'\r\n",
        "-ERR SCRIPT DEBUG must be called outside a pipeline\r\n",
        "-ERR unknown command 'GSCRIPT', with args beginning with: 'DEBUG' 'NO' \r\n"}) {
    EXPECT_EQ(reset(refused, ok), Outcome::failed) << refused;
    EXPECT_EQ(reset(ok, refused), Outcome::failed) << refused;
  }
}

// What is said before TLS, up to the step that starts it.
Steps before_tls(const Steps& steps) {
  return {steps.begin(), steps.begin() + static_cast<ptrdiff_t>(tls_step(steps))};
}

TEST_F(ConfigPresets, TlsBeginsBehindTheAnswerThatAllowsItAndNothingElse) {
  const auto greeting = [this](const char* protocol, const std::string& said) {
    return outcome(before_tls(pool(protocol, kStarttls).greeting), said);
  };
  const std::string smtp = "220-h\r\n220 h ESMTP\r\n250-h\r\n250-STARTTLS\r\n250 HELP\r\n";
  EXPECT_EQ(greeting("smtp", smtp + "220 go ahead\r\n"), Outcome::done);
  EXPECT_EQ(greeting("smtp", smtp + "454 not now\r\n"), Outcome::failed);
  EXPECT_EQ(greeting("smtp", smtp + "502 unknown\r\n"), Outcome::failed);
  EXPECT_EQ(greeting("postgres", "S"), Outcome::done);
  EXPECT_EQ(greeting("postgres", "N"), Outcome::failed);
  EXPECT_EQ(greeting("postgres", "E\0\0\0\x20"s), Outcome::failed);
  const std::string id = "\x02\x04\x7f\xff\xff\xff";
  const std::string name =
      "\x8a\x16"
      "1.3.6.1.4.1.1466.20037";
  EXPECT_EQ(greeting("ldap", "0\x0f" + id + "x\x07\n\x01\0\x04\0\x04\0"s), Outcome::done);
  EXPECT_EQ(greeting("ldap", "0\x27" + id + "x\x1f\n\x01\0\x04\0\x04\0"s + name), Outcome::done);
  EXPECT_EQ(
      greeting("ldap", "0\x84\0\0\0\x2f"s + id + "x\x84\0\0\0\x1f\n\x01\0\x04\0\x04\0"s + name),
      Outcome::done);
  EXPECT_EQ(greeting("ldap", "0\x2d" + id + "x\x25\n\x01\0\x04\0\x04\x06right\n"s + name),
            Outcome::done);
  // unavailable (52), which some servers say with the name too.
  EXPECT_EQ(greeting("ldap", "0\x0f" + id + "x\x07\n\x01\x34\x04\0\x04\0"s), Outcome::waits);
  EXPECT_EQ(greeting("ldap", "0\x27" + id + "x\x1f\n\x01\x34\x04\0\x04\0"s + name), Outcome::waits);
}

// Else a man in the middle could have them taken for what the server said through TLS.
TEST_F(ConfigPresets, WhatIsInjectedBeforeTlsFailsTheDial) {
  const std::map<const char*, std::string> answers = {
      {"smtp", "220 h\r\n250 h\r\n220 go ahead\r\n"},
      {"postgres", "S"},
      {"ldap", "0\x0f\x02\x04\x7f\xff\xff\xffx\x07\n\x01\0\x04\0\x04\0"s}};
  for (const auto& [protocol, answer] : answers) {
    const Steps steps = before_tls(pool(protocol, kStarttls).greeting);
    wire::StepRun run(std::make_shared<const wire::StepProgram>(steps));
    const auto send_all = [&] {
      while (run.state() == wire::Exchange::State::sending) run.sent(run.to_send().front().size());
    };
    send_all();
    for (size_t i = 0; i + 1 < answer.size(); ++i) {
      run.feed(answer.substr(i, 1));
      send_all();
    }
    run.feed(answer.substr(answer.size() - 1) + "250 injected\r\n");
    EXPECT_TRUE(run.why().starts_with("after the last step: the server said more")) << run.why();
  }
}

// However late they come: none is done with an answer to a question that was not its own.
TEST_F(ConfigPresets, AnAnswerToTheLastHolderIsNotTakenForOneToTheReset) {
  const std::string redis = "+OK\r\n+OK\r\n+RESET\r\n+PONG\r\n";
  for (const std::string late : {"+RESET\r\n", "+PONG\r\n", "+OK\r\n", "-ERR no\r\n", "$-1\r\n"}) {
    EXPECT_EQ(outcome(pool("redis").reset, late + redis), Outcome::failed) << late;
  }
  const std::string memcached = "VERSION 1.6.18\r\nMN\r\n";
  for (const std::string late : {"VERSION 1.6.18\r\n", "MN\r\n", "ERROR\r\n", "END\r\n"}) {
    EXPECT_EQ(outcome(pool("memcached").reset, late + memcached), Outcome::failed) << late;
  }
  const std::string smtp = "250 Reset OK\r\n250-h\r\n250 HELP\r\n";
  for (const std::string late : {"250 OK\r\n", "250-h\r\n250 HELP\r\n", "500 no\r\n"}) {
    EXPECT_EQ(outcome(pool("smtp").reset, late + smtp), Outcome::failed) << late;
  }
  const std::string discarded =
      "C\0\0\0\x10"
      "DISCARD ALL\0Z\0\0\0\5I"s;
  const std::string empty = "I\0\0\0\4Z\0\0\0\5I"s;
  const Steps postgres = pool("postgres", kLogin).reset;
  EXPECT_EQ(outcome(postgres, discarded + empty), Outcome::done);
  EXPECT_EQ(outcome(postgres, discarded + discarded + empty), Outcome::failed);
  EXPECT_EQ(outcome(postgres, empty + discarded + empty), Outcome::done);
  const std::string bound = "0\x0c\2\1\1\x61\7\n\1\0\4\0\4\0"s;
  EXPECT_EQ(outcome(pool("ldap").reset, bound), Outcome::waits);
}

}  // namespace
}  // namespace berth::config
