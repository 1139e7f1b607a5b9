#include "wire/tls_handshake.h"

#include "unit/wire/tls_pair.h"

namespace berth::wire {
namespace {

using namespace std::string_literals;
using State = Exchange::State;

class Handshake : public ::testing::Test {
 protected:
  std::unique_ptr<TlsHandshake> begin() const {
    return std::make_unique<TlsHandshake>(source_, "server.test:443", "server.test");
  }
  static std::string send_all(TlsHandshake& handshake) {
    std::string all;
    while (handshake.state() == State::sending) {
      const std::string piece(handshake.to_send()[0].substr(0, 100));
      all += piece;
      handshake.sent(piece.size());
    }
    return all;
  }
  // Until the handshake is over, or waits for bytes that do not come. The server's bytes come in
  // pieces of that size; what it does not take is answered.
  static std::string play(TlsHandshake& handshake, TlsServer& server, size_t piece = 1 << 20,
                          std::string_view behind_finished = {}) {
    std::string on_the_way;
    for (;;) {
      switch (handshake.state()) {
        case State::computing: handshake.compute(); break;
        case State::sending:
          server.feed(send_all(handshake));
          if (!server.is_done() && server.shake_hands() == 0) {
            server.write(behind_finished);
          }
          on_the_way += server.take_output();
          break;
        case State::expecting: {
          if (on_the_way.empty()) return {};
          // As a loop does that looks at what there is and takes what it is told.
          size_t seen = std::min(piece, on_the_way.size());
          size_t taken = 0;
          while ((taken = handshake.feed(on_the_way.substr(0, seen))) == 0 &&
                 seen < on_the_way.size()) {
            seen += piece;
          }
          if (taken == 0) return on_the_way;
          on_the_way.erase(0, taken);
          break;
        }
        case State::done:
        case State::failed: return on_the_way;
      }
    }
  }

  TlsFiles files_;
  std::shared_ptr<TlsSource> source_ = std::make_shared<TlsSource>(files_.settings(), kAllCiphers);
  TlsService service_{{.identities = {server_identity()}, .tickets = true}};
};

TEST_F(Handshake, EndsWithAnEngineHoweverTheBytesCome) {
  for (const size_t piece : {1u, 2u, 3u, 7u, 50u, 1000u, 100'000u}) {
    SCOPED_TRACE(piece);
    TlsServer server(service_);
    const auto handshake = begin();
    EXPECT_EQ(handshake->state(), State::computing);
    EXPECT_EQ(play(*handshake, server, piece), "");
    ASSERT_EQ(handshake->state(), State::done) << handshake->why();
    const std::unique_ptr<TlsEngine> engine = handshake->take_engine();
    EXPECT_EQ(engine->resumed(), piece > 1);  // by the ticket of the one before
    EXPECT_NE(engine->keys(), std::nullopt);
    engine->write("ping");
    server.feed(take(*engine));
    EXPECT_EQ(server.read(), "ping");
  }
}

TEST_F(Handshake, LeavesWhatComesBehindFinished) {
  for (const size_t piece : {1u, 10u, 100'000u}) {
    SCOPED_TRACE(piece);
    source_->keep("server.test:443", nullptr);
    TlsServer server(service_);
    const auto handshake = begin();
    const std::string left = play(*handshake, server, piece, "welcome");
    ASSERT_EQ(handshake->state(), State::done) << handshake->why();
    const std::unique_ptr<TlsEngine> engine = handshake->take_engine();
    EXPECT_NE(engine->keys(), std::nullopt);
    EXPECT_NE(left, "");
    engine->feed(left);
    EXPECT_EQ(read_all(*engine), "welcome");
  }
}

TEST_F(Handshake, SendsItsAlertBeforeItFails) {
  const auto other = std::make_shared<TlsSource>(files_.settings(), kAllCiphers);
  TlsHandshake handshake(other, "10.0.0.1:443", "other.test");
  TlsServer server(service_);
  play(handshake, server);
  EXPECT_EQ(handshake.state(), State::failed);
  EXPECT_EQ(handshake.why(),
            "no TLS with 10.0.0.1:443: the server's certificate \"CN=server.test\" is not for "
            "other.test, but for \"server.test\"");
  EXPECT_EQ(server.last_error(), MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE);
}

TEST_F(Handshake, FailsForTheSameReasonIfTheAlertCannotBeSent) {
  TlsHandshake handshake(source_, "10.0.0.1:443", "other.test");
  TlsServer server(service_);
  handshake.compute();
  server.feed(send_all(handshake));
  server.shake_hands();
  handshake.feed(server.take_output());
  handshake.compute();
  ASSERT_EQ(handshake.state(), State::sending);
  const std::string why = handshake.why();
  handshake.end();
  EXPECT_EQ(handshake.state(), State::failed);
  EXPECT_EQ(handshake.why(), why);
}

TEST_F(Handshake, FailsWithItsFiles) {
  const auto source =
      std::make_shared<TlsSource>(TlsSettings{.ca = files_.path("none.pem")}, kAllCiphers);
  TlsHandshake handshake(source, "server.test:443", "server.test");
  handshake.compute();
  EXPECT_EQ(handshake.state(), State::failed);
  EXPECT_EQ(handshake.why(),
            "ca: " + files_.path("none.pem") + " cannot be read: No such file or directory");
}

TEST_F(Handshake, FailsAtOnceWithAServerOfAnotherProtocol) {
  const auto handshake = begin();
  handshake->compute();
  send_all(*handshake);
  EXPECT_EQ(handshake->feed("220 mail.test ESMTP\r\n"), 21u);
  ASSERT_EQ(handshake->state(), State::computing);
  handshake->compute();
  EXPECT_EQ(handshake->state(), State::failed);
  EXPECT_EQ(handshake->why(),
            "no TLS with server.test:443: the server does not speak TLS, but "
            "says \"220 mail.test ESMTP\\r\\n\"");
}

TEST_F(Handshake, TellsWhenTheServerEndsOrTakesTooLong) {
  auto handshake = begin();
  handshake->end();
  EXPECT_EQ(handshake->why(),
            "no TLS with server.test:443: the server closed the connection "
            "before the handshake was over");
  handshake = begin();
  handshake->compute();
  send_all(*handshake);
  handshake->feed("\x16\x03\x03"s);
  handshake->end();
  EXPECT_EQ(handshake->state(), State::failed);
  EXPECT_EQ(handshake->why(),
            "no TLS with server.test:443: the server closed the connection in "
            "the middle of the handshake");
  handshake = begin();
  handshake->compute();
  handshake->time_out(std::chrono::seconds(5));
  EXPECT_EQ(handshake->why(), "no TLS with server.test:443: the handshake was not over within 5 s");
  handshake->end();
  EXPECT_EQ(handshake->state(), State::failed);
  EXPECT_TRUE(handshake->to_send().empty());
}

TEST_F(Handshake, GivesASessionUpWithWhichItFails) {
  TlsServer server(service_);
  const auto first = begin();
  play(*first, server);
  ASSERT_NE(source_->ticket("server.test:443"), nullptr);
  const auto second = begin();
  second->compute();
  send_all(*second);
  second->feed("\x15\x03\x03\x00\x02\x02\x50"s);
  second->compute();
  EXPECT_EQ(second->state(), State::failed);
  EXPECT_EQ(source_->ticket("server.test:443"), nullptr);
}

TEST_F(Handshake, PassesOverAWarning) {
  TlsServer server(service_);
  const auto handshake = begin();
  handshake->compute();
  server.feed(send_all(*handshake));
  server.shake_hands();
  const std::string flight = "\x15\x03\x03\x00\x02\x01\x5a"s + server.take_output();
  EXPECT_EQ(handshake->feed(flight), flight.size());
  handshake->compute();
  server.feed(send_all(*handshake));
  ASSERT_EQ(server.shake_hands(), 0);
  const std::string last = server.take_output();
  EXPECT_EQ(handshake->feed(last + "x"), last.size());
  handshake->compute();
  EXPECT_EQ(handshake->state(), State::done) << handshake->why();
}

TEST_F(Handshake, FailsOnARecordThatIsTooLong) {
  const auto handshake = begin();
  handshake->compute();
  send_all(*handshake);
  const std::string record = "\x16\x03\x03\xff\xff"s + std::string(100'000, '\0');
  size_t taken = 0;
  while (handshake->state() == State::expecting) {
    const size_t size = handshake->feed(record.substr(taken, 4096));
    ASSERT_GT(size, 0u);
    taken += size;
  }
  handshake->compute();
  send_all(*handshake);
  EXPECT_EQ(handshake->state(), State::failed) << taken;
}

}  // namespace
}  // namespace berth::wire
