// The handshake of SOCKS5 on bytes: what is asked, what is understood, and what people are told.
#include "wire/socks5.h"

#include "base/random.h"
#include "unit/wire/handshake.h"

namespace berth::wire {
namespace {

using namespace std::chrono_literals;
using namespace std::string_literals;
using State = Exchange::State;

constexpr const char* kDb = "tcp://db.example:5432";
const std::string kNoLogin = "\x05\x00"s;
const std::string kPassword = "\x05\x02"s;
const std::string kLoggedIn = "\x01\x00"s;
const std::string kConnected = "\x05\x00\x00\x01\x0a\x00\x00\x01\x1f\x90"s;
const std::string kGivesNone = "proxy socks5://proxy:1080 gives no connection to db.example:5432: ";
const std::string kRefuses = "proxy socks5://proxy:1080 refuses a connection to db.example:5432: ";

std::shared_ptr<const ProxyAccess> open_proxy() {
  return access_to("socks5://proxy:1080");
}
std::shared_ptr<const ProxyAccess> guarded_proxy() {
  return access_to("socks5://alice@proxy:1080", "hunter2");
}

// Why it fails when the proxy says this, then ends.
std::string failure(const std::string& said,
                    const std::shared_ptr<const ProxyAccess>& access = open_proxy()) {
  const Outcome came = outcome(access, kDb, said);
  return came.state == State::failed ? came.why : "did not fail";
}

TEST(Socks5, AsksForANameAsItIs) {
  const Outcome came = outcome(open_proxy(), kDb, kNoLogin + kConnected);
  EXPECT_EQ(came.state, State::done) << came.why;
  EXPECT_EQ(came.asked, "\x05\x01\x00"s + "\x05\x01\x00\x03\x0a"s + "db.example" + "\x15\x38"s);
}

TEST(Socks5, AsksForAddressesAsSuch) {
  const auto asked = [](const char* server) {
    return outcome(open_proxy(), server, kNoLogin + kConnected).asked.substr(3);
  };
  EXPECT_EQ(asked("tcp://192.0.2.1:80"), "\x05\x01\x00\x01\xc0\x00\x02\x01\x00\x50"s);
  EXPECT_EQ(asked("tcp://[2001:db8::1]:443"),
            "\x05\x01\x00\x04\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01"
            "\x01\xbb"s);
  EXPECT_EQ(asked(("tcp://" + std::string(253, 'a') + ":65535").c_str()),
            "\x05\x01\x00\x03\xfd"s + std::string(253, 'a') + "\xff\xff");
}

TEST(Socks5, TellsUserAndPasswordIfAsked) {
  const Outcome came = outcome(guarded_proxy(), kDb, kPassword + kLoggedIn + kConnected);
  EXPECT_EQ(came.state, State::done) << came.why;
  EXPECT_EQ(came.asked.substr(0, 19), "\x05\x02\x00\x02"s + "\x01\x05"s + "alice" + "\x07hunter2");
  // The version of this answer is told apart by nobody.
  EXPECT_EQ(outcome(guarded_proxy(), kDb, kPassword + "\x05\x00"s + kConnected).state, State::done);
}

TEST(Socks5, KeepsThemToItselfIfNot) {
  const Outcome came = outcome(guarded_proxy(), kDb, kNoLogin + kConnected);
  EXPECT_EQ(came.state, State::done) << came.why;
  EXPECT_EQ(came.asked.find("hunter2"), came.asked.npos);
}

TEST(Socks5, SendsThePasswordFromWhereItIs) {
  const auto access = guarded_proxy();
  const auto run = handshake(access, kDb);
  send_all(*run);
  run->feed(kPassword);
  ASSERT_EQ(run->to_send().size(), 2u);
  EXPECT_EQ(run->to_send()[1].data(), access->password().bytes().data());
  run->sent(8);
  EXPECT_EQ(run->state(), State::sending);
  EXPECT_EQ(run->to_send().size(), 1u);
  EXPECT_EQ(send_all(*run), "hunter2");
  EXPECT_EQ(run->state(), State::expecting);
}

TEST(Socks5, UserAndPasswordMayBeAsLongAsTheProtocolAllows) {
  const std::string user(255, 'u');
  const std::string password(255, 'p');
  const Outcome came = outcome(access_to("socks5://" + user + "@proxy:1080", password), kDb,
                               kPassword + kLoggedIn + kConnected);
  EXPECT_EQ(came.asked.substr(4, 513), "\x01\xff" + user + "\xff" + password);
}

TEST(Socks5, WhatTheServerSaysFirstIsLeftToOthers) {
  const std::string greeting = "220 mail.example ESMTP\r\n";
  const std::string said = kPassword + kLoggedIn + kConnected + greeting;
  for (size_t piece = 1; piece <= said.size(); ++piece) {
    const Outcome came = outcome(guarded_proxy(), kDb, said, piece);
    EXPECT_EQ(came.state, State::done) << came.why;
    EXPECT_EQ(came.left, greeting) << piece;
  }
}

TEST(Socks5, TheAnswerMayHoldAnyAddress) {
  const auto ends = [](const std::string& address) {
    const std::string reply = "\x05\x00\x00"s + address + "\x04\x38"s;
    const Outcome came = outcome(open_proxy(), kDb, kNoLogin + reply + "rest");
    return came.state == State::done && came.left == "rest";
  };
  EXPECT_TRUE(ends("\x01\x00\x00\x00\x00"s));
  EXPECT_TRUE(ends("\x04"s + std::string(16, '\0')));
  EXPECT_TRUE(ends("\x03\x00"s));
  EXPECT_TRUE(ends("\x03\x04host"s));
  EXPECT_TRUE(ends("\x03\xff"s + std::string(255, 'h')));
  EXPECT_EQ(failure(kNoLogin + "\x05\x00\x00\x02\x00\x00"s),
            kGivesNone + "its answer has an address of type 2, which SOCKS5 has not");
}

TEST(Socks5, EachRefusalIsToldInWords) {
  const auto refusal = [](unsigned char code) {
    return failure(kNoLogin + "\x05"s + static_cast<char>(code));
  };
  EXPECT_EQ(refusal(1), kRefuses + "it has failed (1)");
  EXPECT_EQ(refusal(2), kRefuses + "its rules do not allow it (2)");
  EXPECT_EQ(refusal(3), kRefuses + "the network is unreachable (3)");
  EXPECT_EQ(refusal(4), kRefuses + "the host is unreachable (4)");
  EXPECT_EQ(refusal(5), kRefuses + "connection refused by the server (5)");
  EXPECT_EQ(refusal(6), kRefuses + "the packets' time to live has run out (6)");
  EXPECT_EQ(refusal(7), kRefuses + "it does not know the command (7)");
  EXPECT_EQ(refusal(8), kRefuses + "it does not know this type of address (8)");
  EXPECT_EQ(refusal(9), kRefuses + "its code is unknown (9)");
  EXPECT_EQ(refusal(255), kRefuses + "its code is unknown (255)");
}

TEST(Socks5, WaysToLogInThatAreNotToBeHadAreToldInWords) {
  EXPECT_EQ(failure("\x05\xff"s), kRefuses + "it wants a user and a password, or another proof");
  EXPECT_EQ(failure("\x05\xff"s, guarded_proxy()),
            kRefuses + "it accepts neither a user with a password nor none");
  EXPECT_EQ(failure("\x05\x01"s), kGivesNone + "it wants login method 1, which was not offered");
  EXPECT_EQ(failure("\x05\x02"s), kGivesNone + "it wants login method 2, which was not offered");
  EXPECT_EQ(failure(kPassword + "\x01\x01"s, guarded_proxy()),
            kRefuses + "user or password is wrong (1)");
  EXPECT_EQ(failure(kPassword + "\x01\xff"s, guarded_proxy()),
            kRefuses + "user or password is wrong (255)");
}

TEST(Socks5, AnotherProtocolIsToldWithWhatCame) {
  EXPECT_EQ(failure("HTTP/1.1 400 Bad Request\r\n\r\n"),
            kGivesNone + "it does not speak SOCKS5, but says \"HT\"");
  EXPECT_EQ(failure("\x04\x5a"s), kGivesNone + "it does not speak SOCKS5, but says \"\\x04Z\"");
  EXPECT_EQ(failure(kNoLogin + "\x04\x00"s),
            kGivesNone + "its answer is not one of SOCKS5, but \"\\x04\\x00\"");
}

TEST(Socks5, AnEndIsToldWithItsMomentWhereverItComes) {
  const std::string said = kPassword + kLoggedIn + kConnected;
  for (size_t size = 0; size < said.size(); ++size) {
    std::string wanted = kGivesNone;
    wanted += size < 2   ? "it closed the connection when greeted"
              : size < 4 ? "it closed the connection when told user and password"
                         : "it closed the connection when asked for it";
    EXPECT_EQ(failure(said.substr(0, size), guarded_proxy()), wanted) << size;
  }
}

TEST(Socks5, ASilenceIsToldWithItsMoment) {
  const auto run = handshake(open_proxy(), kDb);
  send_all(*run);
  run->feed(kNoLogin);
  send_all(*run);
  run->time_out(300ms);
  EXPECT_EQ(run->state(), State::failed);
  EXPECT_EQ(run->why(), kGivesNone + "no answer within 300 ms when asked for it");
  run->end();
  EXPECT_EQ(run->why(), kGivesNone + "no answer within 300 ms when asked for it");
}

TEST(Socks5, NeitherUndoesAConnection) {
  const auto run = handshake(open_proxy(), kDb);
  send_all(*run);
  run->feed(kNoLogin);
  send_all(*run);
  EXPECT_EQ(run->feed(kConnected + "hello"), kConnected.size());
  EXPECT_EQ(run->feed("hello"), 0u);
  run->end();
  run->time_out(1s);
  EXPECT_EQ(run->state(), State::done);
}

TEST(Socks5, WhoAnswersBeforeItIsAskedFails) {
  const auto run = handshake(open_proxy(), kDb);
  EXPECT_EQ(run->feed(kNoLogin), 0u);
  EXPECT_EQ(run->why(), kGivesNone + "it speaks before it was asked");
}

TEST(Socks5, ThePasswordIsNeverShown) {
  EXPECT_EQ(failure("hunter2", access_to("socks5://alice@proxy:1080", "hu")),
            kGivesNone + "it does not speak SOCKS5, but says \"***\"");
}

TEST(Socks5, HowTheBytesAreSplitMakesNoDifference) {
  const std::string pieces[] = {kNoLogin, kPassword, kLoggedIn, kConnected, "\x05\x00\x00"s,
                                "\x03"s,  "\x00"s,   "\x04"s,   "\xff"s,    "hello"};
  Random random(42);
  size_t done = 0;
  for (int round = 0; round < 4000; ++round) {
    std::string said = random.below(4) == 0 ? "" : pieces[random.below(2)];
    for (uint64_t i = random.below(8); i > 0; --i) said += pieces[random.below(10)];
    const auto access = random.below(2) == 0 ? open_proxy() : guarded_proxy();
    const Outcome whole = outcome(access, kDb, said);
    done += whole.state == State::done ? 1 : 0;
    for (int again = 0; again < 4; ++again) {
      const auto run = handshake(access, kDb);
      ASSERT_EQ(outcome(*run, said, [&] { return random.below(5) + 1; }), whole) << round;
    }
  }
  EXPECT_GT(done, 40u) << "most fail, but not all";
}

}  // namespace
}  // namespace berth::wire
