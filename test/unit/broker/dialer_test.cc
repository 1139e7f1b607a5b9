#include "broker/dialer.h"

#include <gtest/gtest.h>

#include <map>

#include "base/limits.h"
#include "unit/net/sockets.h"

namespace berth::broker {
namespace {

using namespace std::chrono_literals;
using net::SocketAddress;

// A server that accepts; or, with its backlog full, one from which no answer comes.
struct Server {
  explicit Server(const std::string& url, bool silent = false)
      : address(net::test::address_of(url)),
        listener(net::test::listen_at(address, silent ? 0 : 16)) {
    while (silent && fills.size() < 4) {
      fills.emplace_back(socket(address.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
      (void)connect(fills.back().get(), address.raw(), address.length);
    }
  }

  SocketAddress address;
  UniqueFd listener;
  std::vector<UniqueFd> fills;
};

SocketAddress dead(const std::string& url = "tcp://127.0.0.1:1") {
  return Server(url).address;  // nobody listens there any more
}

class DialerTest : public testing::Test {
 protected:
  ConnectionId dial(std::vector<SocketAddress> addresses) {
    net::Answer answer;
    answer.targets.push_back({0, 0, std::move(addresses)});
    answers_.push_back(std::move(answer));
    const ConnectionId id(++last_, 1);
    Question question{{Endpoint::Kind::tcp, "h" + std::to_string(last_), 1, ""}};
    question.in_turn = false;
    dialer_.dial(id, question, std::make_shared<const net::DialOptions>(net::test::dial_options()));
    return id;
  }

  const absl::StatusOr<Dialed>& result(ConnectionId id) {
    const TimePoint deadline = loop_.now() + 10s;
    loop::Timer* again = nullptr;
    loop::Timer poll(loop_, [&] {
      if (results_.contains(id) || loop_.now() > deadline) return loop_.stop();
      again->arm(loop_.now() + 1ms);
    });
    again = &poll;
    poll.arm(loop_.now());
    loop_.run();
    EXPECT_TRUE(results_.contains(id)) << "not within 10 s";
    return results_.emplace(id, absl::UnknownError("none")).first->second;
  }

  std::string text(ConnectionId id) { return std::string(result(id).status().message()); }

  uint32_t free_ = 100;
  uint32_t reserved_ = 0;
  uint32_t most_ = 0;
  uint32_t last_ = 0;
  size_t lookups_ = 0;
  std::vector<net::Answer> answers_;
  std::map<ConnectionId, absl::StatusOr<Dialed>> results_;
  loop::Loop loop_;
  Resolver resolver_{loop_,
                     [this](const Question&, const std::function<void(net::Answer)>& done) {
                       ++lookups_;
                       done(answers_.back());
                     },
                     [](ConnectionId) {}, 1};
  Dialer dialer_{loop_,
                 resolver_,
                 {[this] {
                    if (reserved_ == free_) return false;
                    most_ = std::max(most_, ++reserved_);
                    return true;
                  },
                  [this](uint32_t count) { reserved_ -= count; }},
                 [this](ConnectionId id, absl::StatusOr<Dialed> result) {
                   EXPECT_TRUE(results_.emplace(id, std::move(result)).second) << "told once";
                 }};
};

TEST_F(DialerTest, TheFirstAddressIsTakenIfItAnswers) {
  const Server first("tcp://[::1]:1");
  const Server second("tcp://127.0.0.1:1");
  const auto& dialed = result(dial({first.address, second.address}));
  ASSERT_TRUE(dialed.ok()) << dialed.status();
  EXPECT_EQ(dialed->peer, first.address);
  EXPECT_EQ(most_, 0u) << "nothing else was tried";
}

TEST_F(DialerTest, AfterARefusalTheNextIsTriedAtOnce) {
  const Server server("tcp://127.0.0.1:1");
  const TimePoint begun = loop_.now();
  const auto& dialed = result(dial({dead(), dead("tcp://[::1]:1"), server.address}));
  ASSERT_TRUE(dialed.ok()) << dialed.status();
  EXPECT_EQ(dialed->peer, server.address);
  EXPECT_LT(loop_.now() - begun, 500ms) << "nobody waited for what had failed";
}

TEST_F(DialerTest, BesideASilentAddressTheNextIsTriedAfterAQuarterOfASecond) {
  const Server silent("tcp://[::1]:1", true);
  const Server server("tcp://127.0.0.1:1");
  const TimePoint begun = loop_.now();
  const auto& dialed = result(dial({silent.address, server.address}));
  ASSERT_TRUE(dialed.ok()) << dialed.status();
  EXPECT_EQ(dialed->peer, server.address);
  EXPECT_GE(loop_.now() - begun, 250ms);
  EXPECT_EQ(most_, 1u) << "the second socket had a slot of its own";
  EXPECT_EQ(reserved_, 0u) << "which is given back";
}

TEST_F(DialerTest, OneThatAnswersLateIsStillTaken) {
  const Server slow("tcp://127.0.0.1:1", true);
  const Server silent("tcp://[::1]:1", true);
  const ConnectionId id = dial({slow.address, silent.address});
  loop::Timer later(loop_, [&slow] {
    EXPECT_EQ(listen(slow.listener.get(), 16), 0);  // there is room now
  });
  later.arm(loop_.now() + 400ms);
  const auto& dialed = result(id);  // the kernel sends its next SYN a second after the first
  ASSERT_TRUE(dialed.ok()) << dialed.status();
  EXPECT_EQ(dialed->peer, slow.address);
  EXPECT_EQ(reserved_, 0u);
}

TEST_F(DialerTest, WithoutAFreeSlotOneWaitsForTheEndOfAnother) {
  free_ = 0;
  const Server silent("tcp://127.0.0.1:1", true);
  const Server server("tcp://127.0.0.1:1");
  const ConnectionId id = dial({silent.address, server.address});
  loop::Timer later(loop_, [&] { free_ = 1; });
  later.arm(loop_.now() + 600ms);
  const TimePoint begun = loop_.now();
  const auto& dialed = result(id);
  ASSERT_TRUE(dialed.ok()) << dialed.status();
  EXPECT_GE(loop_.now() - begun, 600ms);
}

TEST_F(DialerTest, BeyondTheMostAttemptsTheFirstMakesWay) {
  const Server silent("tcp://127.0.0.1:1", true);
  std::vector<SocketAddress> addresses;
  for (size_t i = 0; i < kMaxDialAttempts + 1; ++i) {
    SocketAddress other = silent.address;  // the listener's backlog is full for each
    addresses.push_back(other);
  }
  const Server server("tcp://127.0.0.1:1");
  addresses.push_back(server.address);
  const auto& dialed = result(dial(addresses));
  ASSERT_TRUE(dialed.ok()) << dialed.status();
  EXPECT_EQ(most_, kMaxDialAttempts - 1);
  EXPECT_EQ(reserved_, 0u);
}

TEST_F(DialerTest, WhereAllFailEachIsNamed) {
  const SocketAddress first = dead("tcp://[::1]:1");
  const SocketAddress second = dead();
  EXPECT_EQ(text(dial({first, second})), "connect to " + first.text() +
                                             ": Connection refused; connect to " + second.text() +
                                             ": Connection refused");
}

TEST_F(DialerTest, WhereManyFailTheLastIsNamed) {
  std::vector<SocketAddress> many;
  many.reserve(20);
  for (int i = 0; i < 20; ++i) many.push_back(dead());
  EXPECT_EQ(text(dial(many)),
            "connect to " + many.back().text() + ": Connection refused (the last of 20 addresses)");
}

TEST_F(DialerTest, AfterADialThatReachedNobodyTheNameIsLookedUpAgain) {
  const ConnectionId first = dial({dead()});
  EXPECT_FALSE(result(first).ok());
  --last_;  // the same name
  const Server server("tcp://127.0.0.1:1");
  results_.clear();
  EXPECT_TRUE(result(dial({server.address})).ok());
  EXPECT_EQ(lookups_, 2u);
}

TEST_F(DialerTest, ALiteralIsLookedUpNowhere) {
  const Server server("tcp://127.0.0.1:1");
  const ConnectionId id(77, 1);
  const auto endpoint = std::get<Endpoint>(parse_endpoint("tcp://" + server.address.text()));
  dialer_.dial(id, {endpoint}, std::make_shared<const net::DialOptions>(net::test::dial_options()));
  const auto& dialed = result(id);
  ASSERT_TRUE(dialed.ok());
  EXPECT_FALSE(dialed->name);
  EXPECT_EQ(lookups_, 0u);
}

TEST_F(DialerTest, WhatCannotBeResolvedSaysWhatTheResolverSaid) {
  net::Answer none;
  none.error = "cannot resolve \"h1\": no such name";
  answers_.push_back(none);
  const ConnectionId id(78, 1);
  dialer_.dial(id, {{Endpoint::Kind::tcp, "h1", 1, ""}}, {});
  EXPECT_EQ(text(id), "cannot resolve \"h1\": no such name");
}

TEST_F(DialerTest, AnAbandonedDialIsToldOfNoMoreAndHoldsNothing) {
  const Server silent("tcp://127.0.0.1:1", true);
  const ConnectionId id = dial({silent.address, silent.address, silent.address});
  loop::Timer later(loop_, [&] {
    EXPECT_EQ(reserved_, 2u);
    dialer_.abandon(id);
    EXPECT_EQ(reserved_, 0u);
    loop_.stop();
  });
  later.arm(loop_.now() + 650ms);
  loop_.run();
  EXPECT_TRUE(results_.empty());
}

}  // namespace
}  // namespace berth::broker
