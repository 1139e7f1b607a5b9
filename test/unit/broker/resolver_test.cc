#include "broker/resolver.h"

#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <optional>

#include "base/limits.h"
#include "unit/net/sockets.h"

namespace berth::broker {
namespace {

using namespace std::chrono_literals;
using Texts = std::vector<std::string>;

Question question(const std::string& host, Duration refresh = 30s) {
  return {std::get<Endpoint>(parse_endpoint("tcp://" + host + ":1")), pool::ResolveBy::system,
          refresh, true};
}

net::SocketAddress address(const std::string& text) {
  return net::test::address_of("tcp://" + text + ":1");
}

net::Answer answer(const Texts& texts) {
  net::Answer answer;
  answer.targets.emplace_back();
  for (const std::string& text : texts) answer.targets[0].addresses.push_back(address(text));
  return answer;
}

net::Answer error(const std::string& text) {
  net::Answer answer;
  answer.error = text;
  return answer;
}

// What the test answers when it likes; the loop's time passes as it does.
class ResolverTest : public testing::Test {
 protected:
  struct Asked {
    Question question;
    std::function<void(net::Answer)> answer;
  };

  // Asks; tells the first address, the error, or "" while there is no answer.
  std::shared_ptr<std::string> ask(const Question& question) {
    auto told = std::make_shared<std::string>();
    resolver_.ask(question, [told](const Resolver::Found& found) {
      *told = found.ok() ? found->front().address.text() : std::string(found.status().message());
    });
    return told;
  }

  void tell(net::Answer answer) {
    ASSERT_FALSE(asked_.empty());
    const Asked first = std::move(asked_.front());
    asked_.pop_front();
    first.answer(std::move(answer));
  }

  Upstream& connect(const Question& question, const std::string& text) {
    const ConnectionId id(++last_, 1);
    Upstream& upstream = upstreams_.insert(id);
    upstream.peer = address(text);
    resolver_.use(upstream, question);
    return upstream;
  }

  void run_until(const std::function<bool()>& done) {
    const TimePoint deadline = loop_.now() + 10s;
    loop::Timer* again = nullptr;
    loop::Timer poll(loop_, [&] {
      if (done() || loop_.now() > deadline) return loop_.stop();
      again->arm(loop_.now() + 1ms);
    });
    again = &poll;
    poll.arm(loop_.now());
    loop_.run();
    ASSERT_TRUE(done()) << "not within 10 s";
  }

  uint32_t last_ = 0;
  loop::Loop loop_;
  std::deque<Asked> asked_;  // lookups under way
  std::vector<ConnectionId> gone_;
  Upstreams upstreams_;
  Resolver resolver_{loop_,
                     [this](const Question& question, std::function<void(net::Answer)> done) {
                       asked_.push_back({question, std::move(done)});
                     },
                     [this](ConnectionId id) { gone_.push_back(id); }, 1};
};

TEST_F(ResolverTest, ManyWhoAskForOneNameCauseOneLookup) {
  const auto first = ask(question("a"));
  const auto second = ask(question("a"));
  ASSERT_EQ(asked_.size(), 1u);
  tell(answer({"127.0.0.1", "127.0.0.2"}));
  EXPECT_EQ(*first, "127.0.0.1:1");
  EXPECT_EQ(*second, "127.0.0.2:1") << "each dial begins with the next";
}

TEST_F(ResolverTest, WhatIsKnownIsNotLookedUp) {
  ask(question("a"));
  tell(answer({"127.0.0.1"}));
  EXPECT_EQ(*ask(question("a")), "127.0.0.1:1");
  EXPECT_TRUE(asked_.empty());
}

TEST_F(ResolverTest, AskedInOrderTheFirstStaysTheFirst) {
  Question failover = question("a");
  failover.in_turn = false;
  ask(failover);
  tell(answer({"127.0.0.1", "127.0.0.2"}));
  EXPECT_EQ(*ask(failover), "127.0.0.1:1");
  EXPECT_EQ(*ask(failover), "127.0.0.1:1");
}

TEST_F(ResolverTest, OtherHostsPortsAndResolversAreOtherQuestions) {
  Question by_dns = question("a");
  by_dns.by = pool::ResolveBy::dns;
  Question other_port = question("a");
  other_port.endpoint.port = 2;
  for (const Question& each : {question("a"), question("b"), by_dns, other_port}) ask(each);
  EXPECT_EQ(asked_.size(), 4u);
}

TEST_F(ResolverTest, AnErrorIsToldToAllWhoAskedAndForgotten) {
  const auto first = ask(question("a"));
  const auto second = ask(question("a"));
  tell(error("cannot resolve \"a\": no"));
  EXPECT_EQ(*first, "cannot resolve \"a\": no");
  EXPECT_EQ(*second, *first);
  ask(question("a"));
  EXPECT_EQ(asked_.size(), 1u);
}

TEST_F(ResolverTest, AfterADialThatReachedNobodyTheNextAsksAnew) {
  for (const Duration refresh : {Duration(30s), Duration::zero()}) {
    const Question a = question("a", refresh);
    ask(a);
    tell(answer({"127.0.0.1"}));
    resolver_.distrust(a);
    const auto next = ask(a);
    EXPECT_EQ(*next, "");
    tell(answer({"127.0.0.2"}));
    EXPECT_EQ(*next, "127.0.0.2:1");
  }
}

TEST_F(ResolverTest, WhoAsksFromWithinAnAnswerGetsIt) {
  std::string told;
  resolver_.ask(question("a"), [&](const Resolver::Found&) {
    resolver_.distrust(question("a"));
    resolver_.ask(question("a"),
                  [&](const Resolver::Found& found) { told = (*found)[0].address.text(); });
  });
  tell(answer({"127.0.0.1"}));
  tell(answer({"127.0.0.2"}));
  EXPECT_EQ(told, "127.0.0.2:1");
}

TEST_F(ResolverTest, AnAnswerIsKeptForItsTtlButASecondAtLeast) {
  const Question a = question("a", 30s);
  const TimePoint begun = loop_.now();
  ask(a);
  net::Answer brief = answer({"127.0.0.1"});
  brief.ttl = 0s;
  tell(brief);
  EXPECT_EQ(*ask(a), "127.0.0.1:1");
  run_until([&] {
    ask(a);
    return !asked_.empty();
  });
  EXPECT_GE(loop_.now() - begun, 1s);
  EXPECT_LT(loop_.now() - begun, 5s);
}

TEST_F(ResolverTest, ANameInUseIsLookedUpAgainThoughNobodyAsks) {
  const Question a = question("a", 20ms);
  ask(a);
  tell(answer({"127.0.0.1"}));
  connect(a, "127.0.0.1");
  for (int round = 0; round < 3; ++round) {
    run_until([&] { return !asked_.empty(); });
    tell(answer({"127.0.0.1"}));
  }
  EXPECT_TRUE(gone_.empty());
}

TEST_F(ResolverTest, ANameThatNobodyUsesDoesNotWakeTheLoop) {
  const Question a = question("a", 1ms);
  ask(a);
  tell(answer({"127.0.0.1"}));
  Upstream& upstream = connect(a, "127.0.0.1");
  resolver_.leave(upstream);
  loop::Timer end(loop_, [&] { loop_.stop(); });
  end.arm(loop_.now() + 50ms);
  loop_.run();
  EXPECT_TRUE(asked_.empty());
}

TEST_F(ResolverTest, ThoseAtAnAddressThatIsGoneAreTold) {
  const Question a = question("a", 20ms);
  ask(a);
  tell(answer({"127.0.0.1", "127.0.0.2"}));
  const ConnectionId stays = connect(a, "127.0.0.1").id;
  const ConnectionId goes = connect(a, "127.0.0.2").id;
  run_until([&] { return !asked_.empty(); });
  tell(answer({"127.0.0.3", "127.0.0.1"}));
  EXPECT_EQ(gone_, std::vector{goes});
  EXPECT_NE(gone_, std::vector{stays});
}

TEST_F(ResolverTest, ALookupThatFailsLeavesConnectionsAlone) {
  const Question a = question("a", 20ms);
  ask(a);
  tell(answer({"127.0.0.1"}));
  connect(a, "127.0.0.1");
  run_until([&] { return !asked_.empty(); });
  tell(error("cannot resolve \"a\": no"));
  EXPECT_TRUE(gone_.empty());
  const auto dial = ask(a);
  tell(error("cannot resolve \"a\": no"));
  EXPECT_EQ(*dial, "cannot resolve \"a\": no");
}

TEST_F(ResolverTest, AnAnswerThatIsNotCompleteLeavesConnectionsAlone) {
  const Question a = question("a", 20ms);
  ask(a);
  tell(answer({"127.0.0.1"}));
  connect(a, "127.0.0.1");
  run_until([&] { return !asked_.empty(); });
  net::Answer part = answer({"127.0.0.2"});
  part.complete = false;
  tell(part);
  EXPECT_TRUE(gone_.empty());
  run_until([&] { return !asked_.empty(); });
  tell(answer({"127.0.0.2"}));
  EXPECT_EQ(gone_.size(), 1u);
}

TEST_F(ResolverTest, WhoConnectsToWhatIsGoneByThenIsTold) {
  const Question a = question("a");
  ask(a);
  tell(answer({"127.0.0.1"}));
  resolver_.distrust(a);
  ask(a);
  tell(answer({"127.0.0.2"}));
  const ConnectionId late = connect(a, "127.0.0.1").id;
  EXPECT_EQ(gone_, std::vector{late});
}

TEST_F(ResolverTest, NamesWithoutConnectionsAreForgottenInTheEnd) {
  const Question used = question("used");
  ask(used);
  tell(answer({"127.0.0.1"}));
  connect(used, "127.0.0.1");
  for (size_t i = 0; i < kMaxIdleNames + 50; ++i) {
    ask(question("n" + std::to_string(i)));
    tell(answer({"127.0.0.1"}));
  }
  EXPECT_EQ(resolver_.size(), kMaxIdleNames + 1);
  ask(used);
  ask(question("n60"));
  EXPECT_TRUE(asked_.empty()) << "both are known still";
  ask(question("n0"));
  EXPECT_EQ(asked_.size(), 1u);
}

TEST_F(ResolverTest, FewRefreshesRunAtATimeAndDialsBesideThem) {
  for (int i = 0; i < 5; ++i) {
    const Question each = question("n" + std::to_string(i), 1ms);
    ask(each);
    tell(answer({"127.0.0.1"}));
    connect(each, "127.0.0.1");
  }
  run_until([&] { return asked_.size() == 2; });
  ask(question("other"));
  EXPECT_EQ(asked_.size(), 3u);
  tell(answer({"127.0.0.1"}));
  run_until([&] { return asked_.size() == 3; });
}

TEST_F(ResolverTest, AnAnswerThatComesTooLateIsWithoutEffect) {
  std::function<void(net::Answer)> late;
  {
    Resolver resolver(
        loop_,
        [&](const Question&, std::function<void(net::Answer)> done) { late = std::move(done); },
        [](ConnectionId) {}, 1);
    resolver.ask(question("a"), [](const Resolver::Found&) { FAIL(); });
  }
  late(answer({"127.0.0.1"}));
}

}  // namespace
}  // namespace berth::broker
