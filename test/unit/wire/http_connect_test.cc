// CONNECT on bytes: what is asked, what is understood, and what people are told.
#include "wire/http_connect.h"

#include "base/limits.h"
#include "base/random.h"
#include "unit/wire/handshake.h"

namespace berth::wire {
namespace {

using namespace std::chrono_literals;
using State = Exchange::State;

constexpr const char* kDb = "tcp://db.example:5432";
const std::string kGivesNone = "proxy http://proxy:3128 gives no connection to db.example:5432: ";
const std::string kRefuses = "proxy http://proxy:3128 refuses a connection to db.example:5432: ";

std::shared_ptr<const ProxyAccess> open_proxy() {
  return access_to("http://proxy:3128");
}
std::shared_ptr<const ProxyAccess> guarded_proxy() {
  return access_to("http://Aladdin@proxy:3128", "open sesame");
}

// Why it fails when the proxy says this, then ends.
std::string failure(const std::string& said,
                    const std::shared_ptr<const ProxyAccess>& access = open_proxy()) {
  const Outcome came = outcome(access, kDb, said);
  return came.state == State::failed ? came.why : "did not fail";
}

TEST(HttpConnect, AsksForATunnel) {
  EXPECT_EQ(outcome(open_proxy(), kDb, "").asked,
            "CONNECT db.example:5432 HTTP/1.1\r\nHost: db.example:5432\r\n\r\n");
  EXPECT_EQ(outcome(open_proxy(), "tcp://[2001:db8::1]:443", "").asked,
            "CONNECT [2001:db8::1]:443 HTTP/1.1\r\nHost: [2001:db8::1]:443\r\n\r\n");
}

// The examples of RFC 7617, and each length of the last group.
TEST(HttpConnect, TellsUserAndPasswordAsBasicAuthentication) {
  const auto credentials = [](const std::string& user, std::string_view password) {
    const std::string asked =
        outcome(access_to("http://" + user + "@proxy:3128", password), kDb, "").asked;
    const std::string before =
        "CONNECT db.example:5432 HTTP/1.1\r\nHost: db.example:5432\r\nProxy-Authorization: Basic ";
    EXPECT_TRUE(asked.starts_with(before) && asked.ends_with("\r\n\r\n")) << asked;
    return asked.substr(before.size(), asked.size() - before.size() - 4);
  };
  EXPECT_EQ(credentials("Aladdin", "open sesame"), "QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
  EXPECT_EQ(credentials("test", "123\xc2\xa3"), "dGVzdDoxMjPCow==");
  EXPECT_EQ(credentials("a", ""), "YTo=");
  EXPECT_EQ(credentials("a", "b"), "YTpi");
  EXPECT_EQ(credentials("a", "bc"), "YTpiYw==");
  EXPECT_EQ(credentials("a", "\xff\xff\xff"), "YTr///8=");
  const std::string longest(kMaxProxyUserBytes, 'u');
  EXPECT_EQ(credentials(longest, std::string(kMaxHttpPasswordBytes, 'p')).size(), 3072u);
}

TEST(HttpConnect, SendsThemFromWhereTheyAre) {
  const auto access = guarded_proxy();
  const auto run = handshake(access, kDb);
  ASSERT_EQ(run->to_send().size(), 4u);
  EXPECT_EQ(run->to_send()[2].data(), access->basic().bytes().data());
}

TEST(HttpConnect, AnySuccessIsOne) {
  for (const char* answer :
       {"HTTP/1.1 200 Connection established\r\n\r\n", "HTTP/1.0 200 OK\r\nX: y\r\n\r\n",
        "HTTP/1.1 200\r\n\r\n", "HTTP/1.1 204 \r\n\r\n", "HTTP/1.1 299 ?\n\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\n folded\r\n\t\r\n\r\n"}) {
    EXPECT_EQ(failure(answer), "did not fail") << answer;
  }
}

TEST(HttpConnect, WhatComesBeforeTheAnswerIsPassedOver) {
  EXPECT_EQ(failure("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
                    "HTTP/1.1 200 OK\r\n\r\n"),
            "did not fail");
  EXPECT_EQ(failure("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 403 No\r\n"),
            kRefuses + "it does not allow it (403 \"No\")");
  EXPECT_EQ(failure("HTTP/1.1 101 Switching Protocols\r\n\r\n"),
            kRefuses + "it does not do it (101 \"Switching Protocols\")");
}

TEST(HttpConnect, WhatTheServerSaysFirstIsLeftToOthers) {
  const std::string greeting = "\r\n220 mail.example ESMTP\r\n";
  const std::string said =
      "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nVia: proxy\r\n\r\n" + greeting;
  for (size_t piece = 1; piece <= said.size(); ++piece) {
    const Outcome came = outcome(open_proxy(), kDb, said, piece);
    EXPECT_EQ(came.state, State::done) << came.why;
    EXPECT_EQ(came.left, greeting) << piece;
  }
}

TEST(HttpConnect, EachRefusalIsToldInWords) {
  const auto refusal = [](const std::string& answer) {
    return failure("HTTP/1.1 " + answer + "\r\n");
  };
  EXPECT_EQ(refusal("302 Found"), kRefuses + "it sends elsewhere (302 \"Found\")");
  EXPECT_EQ(refusal("400 Bad Request"),
            kRefuses + "it does not understand the request (400 \"Bad Request\")");
  EXPECT_EQ(refusal("403 Access violation"),
            kRefuses + "it does not allow it (403 \"Access violation\")");
  EXPECT_EQ(refusal("404 Not Found"), kRefuses + "it cannot reach the server (404 \"Not Found\")");
  EXPECT_EQ(refusal("405 No"), kRefuses + "it makes no tunnels (405 \"No\")");
  EXPECT_EQ(refusal("408 Slow"), kRefuses + "it waited for too long (408 \"Slow\")");
  EXPECT_EQ(refusal("418 Teapot"), kRefuses + "it does not do it (418 \"Teapot\")");
  EXPECT_EQ(refusal("429 Often"), kRefuses + "it was asked too often (429 \"Often\")");
  EXPECT_EQ(refusal("500 Failure"), kRefuses + "it has failed (500 \"Failure\")");
  EXPECT_EQ(refusal("501 No"), kRefuses + "it makes no tunnels (501 \"No\")");
  EXPECT_EQ(refusal("502 Bad Gateway"),
            kRefuses + "it cannot reach the server (502 \"Bad Gateway\")");
  EXPECT_EQ(refusal("503"), kRefuses + "it cannot do it now (503)");
  EXPECT_EQ(refusal("504 "), kRefuses + "the server does not answer it (504)");
  EXPECT_EQ(refusal("999 \x1b[31m"), kRefuses + "it does not do it (999 \"\\x1b[31m\")");
}

TEST(HttpConnect, WhoWantsALoginOrRefusesItIsToldApart) {
  const std::string answer = "HTTP/1.1 407 Proxy Authentication Required\r\n";
  EXPECT_EQ(failure(answer), kRefuses +
                                 "it wants a user and a password (407 \"Proxy Authentication "
                                 "Required\")");
  EXPECT_EQ(failure(answer, guarded_proxy()),
            kRefuses +
                "it does not accept this user and password (407 \"Proxy Authentication "
                "Required\")");
  EXPECT_EQ(failure("HTTP/1.0 401 Unauthorized\r\n", guarded_proxy()),
            kRefuses + "it does not accept this user and password (401 \"Unauthorized\")");
}

TEST(HttpConnect, AnotherProtocolIsToldWithWhatCame) {
  for (const char* line :
       {"SSH-2.0-OpenSSH_9.2p1", "HTTP/2 200", "HTTP/1.1 20", "HTTP/1.1 20x OK", "HTTP/1.1 2000",
        "HTTP/1.x 200 OK", "http/1.1 200 OK", "HTTP/1.1  200", "HTTP/1.1 099 Low", ""}) {
    EXPECT_EQ(failure(std::string(line) + "\r\n"),
              kGivesNone + "it does not speak HTTP, but says \"" + line + "\"");
  }
}

TEST(HttpConnect, AnAnswerHasABound) {
  const std::string line = "HTTP/1.1 200 OK\r\n";
  const std::string fill(kMaxProxyReplyBytes - line.size() - 4, 'x');
  EXPECT_EQ(failure(line + fill + "\r\n\r\n"), "did not fail");
  EXPECT_EQ(failure(line + fill + "x\r\n\r\n"),
            kGivesNone + "its answer has more than 8192 bytes, \"HTTP/1.1 200 OK\"");
  EXPECT_EQ(failure(std::string(kMaxProxyReplyBytes + 1, 'x')),
            kGivesNone + "its answer has more than 8192 bytes, \"" + std::string(100, 'x') + "…\"");
  std::string interim;
  while (interim.size() <= kMaxProxyReplyBytes) interim += "HTTP/1.1 100 Continue\r\n\r\n";
  EXPECT_TRUE(failure(interim).starts_with(kGivesNone + "its answer has more than 8192 bytes"));
}

TEST(HttpConnect, AnEndIsToldWithWhatCameWhereverItComes) {
  const std::string line = "HTTP/1.1 200 OK";
  const std::string said = line + "\r\nVia: x\r\n\r\n";
  EXPECT_EQ(failure(""), kGivesNone + "it closed the connection");
  for (size_t size = 1; size < said.size(); ++size) {
    std::string wanted = kGivesNone;
    wanted.append("it closed the connection after \"").append(line, 0, size);
    wanted += size == line.size() + 1 ? "\\r\"" : "\"";
    EXPECT_EQ(failure(said.substr(0, size)), wanted) << size;
  }
}

TEST(HttpConnect, ASilenceIsToldWithWhatCame) {
  const auto run = handshake(open_proxy(), kDb);
  send_all(*run);
  run->time_out(300ms);
  EXPECT_EQ(run->why(), kGivesNone + "no answer within 300 ms");
  const auto more = handshake(open_proxy(), kDb);
  send_all(*more);
  more->feed("220 mail");
  more->time_out(5s);
  EXPECT_EQ(more->why(), kGivesNone + "no answer within 5 s after \"220 mail\"");
}

TEST(HttpConnect, WhoAnswersBeforeItIsAskedFails) {
  const auto run = handshake(open_proxy(), kDb);
  EXPECT_EQ(run->feed("HTTP/1.1 200 OK\r\n\r\n"), 0u);
  EXPECT_EQ(run->why(), kGivesNone + "it speaks before it was asked");
}

TEST(HttpConnect, ThePasswordIsNeverShown) {
  EXPECT_EQ(failure("HTTP/1.1 407 open sesame? QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n", guarded_proxy()),
            kRefuses + "it does not accept this user and password (407 \"***? ***\")");
  EXPECT_EQ(failure("Proxy-Authorization: Basic QWxhZGRpbjpvcG", guarded_proxy()),
            kGivesNone + "it closed the connection after \"Proxy-Authorization: Basic ***\"");
}

TEST(HttpConnect, HowTheBytesAreSplitMakesNoDifference) {
  static const char* const kPieces[] = {
      "HTTP/1.1 200 OK\r\n", "HTTP/1.0 100 x\r\n",  "\r\n", "\n",        "\r",
      "Via: x\r\n",          "HTTP/1.1 403 No\r\n", " ",    "220 hi\r\n"};
  Random random(42);
  size_t done = 0;
  for (int round = 0; round < 4000; ++round) {
    std::string said = random.below(4) == 0 ? "" : kPieces[random.below(2)];
    for (uint64_t i = random.below(8); i > 0; --i) said += kPieces[random.below(9)];
    const Outcome whole = outcome(open_proxy(), kDb, said);
    done += whole.state == State::done ? 1 : 0;
    for (int again = 0; again < 4; ++again) {
      const auto run = handshake(open_proxy(), kDb);
      ASSERT_EQ(outcome(*run, said, [&] { return random.below(9) + 1; }), whole) << said;
    }
  }
  EXPECT_GT(done, 40u) << "many fail, but not all";
}

}  // namespace
}  // namespace berth::wire
