// What a handshake of ours agrees on with a server of mbedTLS, carried on by the kernel.
#include <tuple>

#include "unit/net/kernel_tls.h"
#include "unit/wire/tls_pair.h"

namespace berth::net {
namespace {

using wire::TlsEngine;

class KtlsHandshake : public testing::TestWithParam<std::tuple<TlsCipher, bool /* resumed */>> {
 protected:
  // The handshake goes by memory, what comes after it by the connection.
  void connect() {
    const auto [cipher, resumed] = GetParam();
    const auto context = wire::context_of(files_.settings(), {cipher});
    std::shared_ptr<const wire::TlsSource::Ticket> ticket;
    if (resumed) {
      const auto first = shaken(context, nullptr);
      ticket = first->ticket();
      ASSERT_NE(ticket, nullptr);
    }
    engine_ = shaken(context, ticket);
    ASSERT_EQ(engine_->resumed(), resumed);
    ASSERT_EQ(engine_->cipher(), cipher);
  }

  void hand_over() {
    const auto keys = engine_->keys();
    ASSERT_TRUE(keys.has_value());
    const absl::Status installed = install_keys(c_.fd.get(), *keys);
    ASSERT_TRUE(installed.ok()) << installed;
    engine_.reset();
  }

  void server_says(const std::string& text) {
    server_->write(text);
    test::say(c_.server, server_->take_output());
  }
  std::string server_hears() {
    server_->feed(test::hear(c_.server, 65536));
    return server_->read();
  }

  test::Connection c_;
  std::unique_ptr<TlsEngine> engine_;
  std::optional<wire::TlsServer> server_;

 private:
  std::unique_ptr<TlsEngine> shaken(const std::shared_ptr<const wire::TlsContext>& context,
                                    std::shared_ptr<const wire::TlsSource::Ticket> ticket) {
    auto engine = std::make_unique<TlsEngine>(context, "server.test", std::move(ticket));
    server_.emplace(service_);
    EXPECT_EQ(wire::shake_hands(*engine, *server_), TlsEngine::Shake::done) << engine->why();
    return engine;
  }

  const wire::TlsFiles files_;
  const wire::TlsService service_{{.identities = {wire::server_identity()}, .tickets = true}};
};

INSTANTIATE_TEST_SUITE_P(Ktls, KtlsHandshake,
                         testing::Combine(testing::ValuesIn(wire::kAllCiphers), testing::Bool()));

TEST_P(KtlsHandshake, TheKernelGoesOnWithItsKeys) {
  BERTH_NEEDS_KERNEL_TLS();
  connect();
  hand_over();
  for (int i = 0; i < 3; ++i) {
    test::say(c_.fd, "ping");
    EXPECT_EQ(server_hears(), "ping");
    server_says("pong");
    EXPECT_EQ(test::hear(c_.fd), "pong");
  }
}

TEST_P(KtlsHandshake, TheKernelGoesOnWhereTheEngineHasLeftOff) {
  BERTH_NEEDS_KERNEL_TLS();
  connect();
  for (int i = 0; i < 3; ++i) {
    engine_->write("by the engine");
    server_->feed(wire::take(*engine_));
    EXPECT_EQ(server_->read(), "by the engine");
  }
  server_->write("to the engine");
  engine_->feed(server_->take_output());
  EXPECT_EQ(wire::read_all(*engine_), "to the engine");
  hand_over();
  test::say(c_.fd, "by the kernel");
  EXPECT_EQ(server_hears(), "by the kernel");
  server_says("to the kernel");
  EXPECT_EQ(test::hear(c_.fd), "to the kernel");
}

TEST_P(KtlsHandshake, WhatTheServerSaidBeforeIsNotLost) {
  BERTH_NEEDS_KERNEL_TLS();
  connect();
  server_says("220 ready");
  ASSERT_TRUE(test::wait_readable(c_.fd.get()));
  hand_over();
  EXPECT_EQ(test::hear(c_.fd), "220 ready");
}

TEST_P(KtlsHandshake, BothSayCloseNotify) {
  BERTH_NEEDS_KERNEL_TLS();
  connect();
  hand_over();
  send_close_notify(c_.fd.get());
  server_hears();
  EXPECT_EQ(server_->last_error(), MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY);
  server_->close();
  test::say(c_.server, server_->take_output());
  EXPECT_EQ(test::hear_record(c_.fd), (test::HeardRecord{test::kAlert, test::kCloseNotify}));
}

}  // namespace
}  // namespace berth::net
