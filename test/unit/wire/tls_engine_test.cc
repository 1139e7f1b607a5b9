#include "wire/tls_engine.h"

#include <mbedtls/ssl_ciphersuites.h>

#include <ostream>
#include <thread>

#include "base/limits.h"
#include "unit/wire/tls_pair.h"

namespace berth::wire {
namespace {

using namespace std::string_literals;
using namespace std::string_view_literals;
using Shake = TlsEngine::Shake;
using Got = TlsEngine::Got;

constexpr unsigned char kWarning = MBEDTLS_SSL_ALERT_LEVEL_WARNING;
constexpr unsigned char kFatal = MBEDTLS_SSL_ALERT_LEVEL_FATAL;
constexpr std::string_view kAlertType = "\x15"sv;

class Engine : public ::testing::Test {
 protected:
  std::unique_ptr<TlsEngine> engine(const std::string& name = "server.test") const {
    return std::make_unique<TlsEngine>(context_, name, nullptr);
  }
  // The alert that the engine has ready, or -1.
  static int alert_of(const TlsEngine& engine) {
    const std::string_view bytes = engine.to_send();
    return bytes.size() == 7 && bytes.starts_with(kAlertType) ? bytes[6] : -1;
  }
  static Got got(TlsEngine& engine) {
    std::array<char, 100> bytes;
    return engine.read(bytes).got;
  }

  TlsFiles files_;
  std::shared_ptr<const TlsContext> context_ = context_of(files_.settings());
  TlsService service_{{.identities = {server_identity()}}};
};

// A server and an engine that have shaken hands.
class Connected : public Engine {
 protected:
  Connected() { EXPECT_EQ(shake_hands(*engine_, server_), Shake::done) << engine_->why(); }

  void feed(std::string_view bytes) {
    while (!bytes.empty()) bytes.remove_prefix(engine_->feed(bytes));
  }

  std::unique_ptr<TlsEngine> engine_ = engine();
  TlsServer server_{service_};
};

// ---- the handshake ----

TEST_F(Connected, CarriesBytesBothWays) {
  EXPECT_TRUE(server_.is_done());
  EXPECT_FALSE(engine_->resumed());
  EXPECT_EQ(engine_->alpn(), "");
  EXPECT_EQ(engine_->write("ping"), 4u);
  server_.feed(take(*engine_));
  EXPECT_EQ(server_.read(), "ping");
  server_.write("pong");
  feed(server_.take_output());
  EXPECT_EQ(read_all(*engine_), "pong");
}

struct SuiteCase {
  int suite;
  TlsCipher cipher;
  bool rsa;

  friend void PrintTo(const SuiteCase& it, std::ostream* out) {
    *out << mbedtls_ssl_get_ciphersuite_name(it.suite);
  }
};

class EachSuite : public ::testing::TestWithParam<SuiteCase> {
 protected:
  TlsServerOptions options() const {
    return {.identities = {authority().issue({.names = {"server.test"}, .rsa = GetParam().rsa})},
            .suites = {GetParam().suite}};
  }
  // Whether both sides have the same keys, and understand each other with what was sent meanwhile.
  static void expect_same_keys(TlsEngine& engine, TlsServer& server) {
    ASSERT_EQ(engine.write("one"), 3u);
    server.feed(take(engine));
    ASSERT_EQ(server.read(), "one");
    const std::optional<TlsKeys> own = engine.keys();
    ASSERT_TRUE(own.has_value());
    const TlsKeys others = server.keys();
    EXPECT_EQ(own->send.key, others.receive.key);
    EXPECT_EQ(own->send.iv, others.receive.iv);
    EXPECT_EQ(own->send.sequence, others.receive.sequence);
    EXPECT_EQ(own->receive.key, others.send.key);
    EXPECT_EQ(own->receive.iv, others.send.iv);
    EXPECT_EQ(own->receive.sequence, others.send.sequence);
    EXPECT_NE(own->send.key, own->receive.key);
    // Finished was the first record of each side.
    EXPECT_EQ(own->send.sequence, (std::array<uint8_t, 8>{0, 0, 0, 0, 0, 0, 0, 2}));
    EXPECT_EQ(own->receive.sequence, (std::array<uint8_t, 8>{0, 0, 0, 0, 0, 0, 0, 1}));
  }

  TlsFiles files_;
  std::shared_ptr<const TlsContext> context_ = context_of(files_.settings());
};

TEST_P(EachSuite, ShakesHandsAndGivesItsKeys) {
  TlsService service(options());
  TlsEngine engine(context_, "server.test", nullptr);
  TlsServer server(service);
  ASSERT_EQ(shake_hands(engine, server), Shake::done) << engine.why();
  EXPECT_EQ(engine.cipher(), GetParam().cipher);
  expect_same_keys(engine, server);
}

TEST_P(EachSuite, IsResumedByTicketAndById) {
  for (const bool by_ticket : {true, false}) {
    TlsServerOptions options = this->options();
    (by_ticket ? options.tickets : options.ids) = true;
    TlsService service(options);
    TlsEngine first(context_, "server.test", nullptr);
    TlsServer first_server(service);
    ASSERT_EQ(shake_hands(first, first_server), Shake::done) << first.why();
    EXPECT_FALSE(first.resumed());
    ASSERT_NE(first.ticket(), nullptr);

    TlsEngine second(context_, "server.test", first.ticket());
    TlsServer second_server(service);
    ASSERT_EQ(shake_hands(second, second_server), Shake::done) << second.why();
    EXPECT_TRUE(second.resumed());
    EXPECT_EQ(second.cipher(), GetParam().cipher);
    expect_same_keys(second, second_server);

    TlsEngine third(context_, "server.test", second.ticket());
    TlsServer third_server(service);
    ASSERT_EQ(shake_hands(third, third_server), Shake::done) << third.why();
    EXPECT_TRUE(third.resumed());
  }
}

INSTANTIATE_TEST_SUITE_P(
    Tls, EachSuite,
    ::testing::Values(
        SuiteCase{MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TlsCipher::aes_128_gcm, false},
        SuiteCase{MBEDTLS_TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TlsCipher::aes_128_gcm, true},
        SuiteCase{MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, TlsCipher::aes_256_gcm, false},
        SuiteCase{MBEDTLS_TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, TlsCipher::aes_256_gcm, true},
        SuiteCase{MBEDTLS_TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
                  TlsCipher::chacha20_poly1305, false},
        SuiteCase{MBEDTLS_TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, TlsCipher::chacha20_poly1305,
                  true}));

TEST_F(Engine, OffersItsCiphersInOrderAndNoOthers) {
  const auto context =
      context_of(files_.settings(), {TlsCipher::chacha20_poly1305, TlsCipher::aes_128_gcm});
  TlsEngine engine(context, "server.test", nullptr);
  engine.shake_hands();
  // Record 5, message 4, version 2, random 32, no session id 1; then the suites with their length.
  // The last one stands for RFC 5746.
  EXPECT_EQ(engine.to_send().substr(5 + 4 + 2 + 32 + 1, 12),
            "\x00\x0a\xcc\xa9\xcc\xa8\xc0\x2b\xc0\x2f\x00\xff"sv);
}

TEST_F(Engine, PrefersX25519) {
  const auto client = engine();
  client->shake_hands();
  // supported_groups (10), 8 bytes, of which 6 are X25519, P-256, P-384.
  EXPECT_NE(client->to_send().find("\x00\x0a\x00\x08\x00\x06\x00\x1d\x00\x17\x00\x18"sv),
            std::string_view::npos);
  // max_fragment_length (1) would hold for the kernel too, which does not know it.
  EXPECT_EQ(client->to_send().find("\x00\x01\x00\x01"sv), std::string_view::npos);
}

TEST_F(Engine, TakesBytesOneByOne) {
  const auto client = engine();
  TlsServer server(service_);
  ASSERT_EQ(shake_hands(*client, server, 1), Shake::done) << client->why();
  server.write("pong");
  std::string heard;
  for (const char c : server.take_output()) {
    client->feed({&c, 1});
    heard += read_all(*client);
  }
  EXPECT_EQ(heard, "pong");
}

class CutOff : public Engine {
 protected:
  // The server's first flight as an answer to the client, which has had its say.
  std::string first_flight(TlsEngine& client, TlsServer& server) const {
    client.shake_hands();
    server.feed(take(client));
    server.shake_hands();
    return server.take_output();
  }
  static void expect_failure(TlsEngine& client, std::string_view bytes) {
    SCOPED_TRACE(bytes.size());
    client.feed(bytes);
    EXPECT_EQ(client.shake_hands(), Shake::goes_on) << client.why();
    client.end();
    EXPECT_EQ(client.shake_hands(), Shake::failed);
    EXPECT_EQ(client.why(),
              bytes.empty() ? "the server closed the connection instead of answering the "
                              "handshake; perhaps it does not speak TLS"
                            : "the server closed the connection in the middle of the handshake");
  }
};

TEST_F(CutOff, FailsAnywhereInTheServersFirstFlight) {
  // What it answers shows at the end of ServerKeyExchange only; ServerHelloDone is behind that.
  constexpr size_t kServerHelloDone = 5 + 4;
  TlsServer recorded(service_);
  const std::string flight = first_flight(*engine(), recorded);
  ASSERT_GT(flight.size(), 500u);
  for (size_t size = 0; size < flight.size() - kServerHelloDone; ++size) {
    const auto client = engine();
    client->shake_hands();
    expect_failure(*client, flight.substr(0, size));
  }
  for (size_t missing = 1; missing <= kServerHelloDone; ++missing) {
    TlsServer server(service_);
    const auto client = engine();
    const std::string whole = first_flight(*client, server);
    expect_failure(*client, whole.substr(0, whole.size() - missing));
  }
}

TEST_F(CutOff, FailsAnywhereInTheServersLastFlight) {
  std::string flight = "?";
  for (size_t size = 0; size < flight.size(); ++size) {
    TlsServer server(service_);
    const auto client = engine();
    feed_all(*client, first_flight(*client, server), 1 << 20);
    server.feed(take(*client));
    ASSERT_EQ(server.shake_hands(), 0);
    flight = server.take_output();
    client->feed(flight.substr(0, size));
    ASSERT_EQ(client->shake_hands(), Shake::goes_on) << size;
    client->end();
    EXPECT_EQ(client->shake_hands(), Shake::failed) << size;
  }
  EXPECT_GT(flight.size(), 40u);  // ChangeCipherSpec and Finished
}

TEST_F(Engine, TellsWhatAServerWithoutTlsSays) {
  const auto client = engine();
  client->shake_hands();
  take(*client);
  client->feed("HTTP/1.1 400 Bad Request\r\n\r\n");
  EXPECT_EQ(client->shake_hands(), Shake::failed);
  EXPECT_EQ(client->why(),
            "the server does not speak TLS, but says \"HTTP/1.1 400 Bad Request\\r\\n\\r\\n\"");
  EXPECT_EQ(client->to_send(), "");
  EXPECT_EQ(client->shake_hands(), Shake::failed);
}

TEST_F(Engine, TellsAlertsByTheirNames) {
  struct Case {
    char number;
    const char* why;
  };
  for (const Case& alert : {
           Case{70,
                "protocol_version (70): it wants another version of TLS than 1.2, which is the "
                "one that berth speaks"},
           Case{40,
                "handshake_failure (40): it has no cipher or curve in common with what berth "
                "offers, which is ECDHE with AES-GCM or ChaCha20-Poly1305"},
           Case{112,
                "unrecognized_name (112): it knows no host of the name that was wanted "
                "(server_name)"},
           Case{80, "internal_error (80)"},
           Case{99, "99"},
       }) {
    const auto client = engine();
    client->shake_hands();
    take(*client);
    client->feed("\x15\x03\x03\x00\x02\x02"sv);
    client->feed({&alert.number, 1});
    EXPECT_EQ(client->shake_hands(), Shake::failed);
    EXPECT_EQ(client->why(), std::string("the server sent the alert ") + alert.why);
    EXPECT_EQ(client->to_send(), "");
  }
}

TEST_F(Engine, RefusesAServerThatHasOnlyOtherCiphers) {
  TlsService service({.identities = {authority().issue({.names = {"server.test"}, .rsa = true})},
                      .suites = {MBEDTLS_TLS_RSA_WITH_AES_128_CBC_SHA}});
  const auto client = engine();
  TlsServer server(service);
  EXPECT_EQ(shake_hands(*client, server), Shake::failed);
  EXPECT_TRUE(client->why().starts_with("the server sent the alert handshake_failure (40)"))
      << client->why();
}

TEST_F(Engine, RefusesAnOlderVersion) {
  const auto client = engine();
  TlsServer server(service_);
  client->shake_hands();
  server.feed(take(*client));
  server.shake_hands();
  std::string flight = server.take_output();
  flight[5 + 4 + 1] = 2;  // the version in ServerHello
  client->feed(flight);
  EXPECT_EQ(client->shake_hands(), Shake::failed);
  EXPECT_EQ(client->why(), "the server speaks no newer version than TLS 1.1, and berth TLS 1.2");
  EXPECT_EQ(alert_of(*client), 70);
}

TEST_F(Engine, FailsWithAnAlertOnWhatIsNoHandshake) {
  const auto client = engine();
  client->shake_hands();
  take(*client);
  client->feed("\x16\x03\x03\x00\x05\x02\x00\x00\x01\x00"sv);
  EXPECT_EQ(client->shake_hands(), Shake::failed);
  EXPECT_TRUE(client->why().starts_with("the server's handshake is not right: ")) << client->why();
  EXPECT_EQ(alert_of(*client), MBEDTLS_SSL_ALERT_MSG_DECODE_ERROR);
}

TEST_F(Engine, TakesOnlySoManyBytesAtATime) {
  const auto client = engine();
  client->shake_hands();
  take(*client);
  const std::string record = "\x16\x03\x03\x40\x00"s + std::string(5 * kMaxTlsRecordBytes, 'x');
  EXPECT_EQ(client->feed(record), 4 * kMaxTlsRecordBytes);
  EXPECT_EQ(client->feed(record), 0u);
}

// ---- certificates ----

struct CertificateCase {
  const char* what;
  Wish wish;
  std::string name = "server.test";
  const char* why = "";  // "": it is accepted
  int alert = -1;
  TlsVerify verify = TlsVerify::full;

  friend void PrintTo(const CertificateCase& it, std::ostream* out) { *out << it.what; }
};

class Certificate : public Engine, public ::testing::WithParamInterface<CertificateCase> {};

TEST_P(Certificate, IsJudged) {
  const CertificateCase& wanted = GetParam();
  TlsSettings settings = files_.settings();
  settings.verify = wanted.verify;
  TlsService service({.identities = {authority().issue(wanted.wish)}});
  TlsEngine client(context_of(settings), wanted.name, nullptr);
  TlsServer server(service);
  client.shake_hands();
  server.feed(take(client));
  server.shake_hands();
  const Shake shake = feed_all(client, server.take_output(), 1 << 20);
  EXPECT_EQ(client.why(), wanted.why);
  EXPECT_EQ(alert_of(client), wanted.alert);
  EXPECT_EQ(shake, *wanted.why == '\0' ? Shake::goes_on : Shake::failed);
}

INSTANTIATE_TEST_SUITE_P(
    Tls, Certificate,
    ::testing::Values(
        CertificateCase{"for its name", {.names = {"other.test", "server.test"}}},
        CertificateCase{"in capitals", {.names = {"SERVER.test"}}, "Server.Test"},
        CertificateCase{"for a name with a dot", {.names = {"server.test"}}, "server.test."},
        CertificateCase{"for its common name", {.subject = "CN=server.test"}},
        CertificateCase{
            "for others",
            {.names = {"a.test", "b.test"}, .addresses = {"10.0.0.1", "fd00::1"}},
            "server.test",
            "the server's certificate \"CN=server.test\" is not for server.test, but for "
            "\"a.test\", \"b.test\", 10.0.0.1, fd00::1",
            42},
        CertificateCase{"for many others",
                        {.names = {"a1", "a2", "a3", "a4", "a5", "a6", "a7"}},
                        "server.test",
                        "the server's certificate \"CN=server.test\" is not for server.test, but "
                        "for \"a1\", \"a2\", \"a3\", \"a4\", \"a5\" and 2 more",
                        42},
        CertificateCase{"for a name that is not printable",
                        {.subject = "CN=x", .names = {"a\nb\"c"}},
                        "server.test",
                        "the server's certificate \"CN=x\" is not for server.test, but for "
                        "\"a\\nb\\\"c\"",
                        42},
        CertificateCase{"for another common name",
                        {.subject = "O=Test, CN=other.test"},
                        "server.test",
                        "the server's certificate \"O=Test, CN=other.test\" is not for "
                        "server.test, but for \"other.test\"",
                        42},
        CertificateCase{"with a wildcard", {.names = {"*.test"}}},
        CertificateCase{"with a wildcard for one label",
                        {.names = {"*.test"}},
                        "a.server.test",
                        "the server's certificate \"CN=server.test\" is not for a.server.test, but "
                        "for \"*.test\"",
                        42},
        CertificateCase{"with a wildcard within a label",
                        {.names = {"ser*.test"}},
                        "server.test",
                        "the server's certificate \"CN=server.test\" is not for server.test, but "
                        "for \"ser*.test\"",
                        42},
        CertificateCase{"for an address", {.addresses = {"10.0.0.1"}}, "10.0.0.1"},
        CertificateCase{"for an address of IPv6", {.addresses = {"fd00::1"}}, "FD00:0::1"},
        CertificateCase{"for another address",
                        {.addresses = {"10.0.0.1"}},
                        "10.0.0.2",
                        "the server's certificate \"CN=server.test\" is not for 10.0.0.2, but for "
                        "10.0.0.1",
                        42},
        CertificateCase{"for an address as a name",
                        {.subject = "CN=10.0.0.1", .names = {"10.0.0.1"}},
                        "10.0.0.1",
                        "the server's certificate \"CN=10.0.0.1\" is not for 10.0.0.1, but for "
                        "\"10.0.0.1\"",
                        42},
        CertificateCase{"for others, which is not asked",
                        {.names = {"other.test"}},
                        "server.test",
                        "",
                        -1,
                        TlsVerify::chain_only},
        CertificateCase{"expired",
                        {.names = {"server.test"}, .not_after = "20240301120000"},
                        "server.test",
                        "the server's certificate \"CN=server.test\" expired on 2024-03-01 "
                        "12:00:00 UTC",
                        45},
        CertificateCase{"expired, which is not asked",
                        {.names = {"server.test"}, .not_after = "20240301120000"},
                        "server.test",
                        "",
                        -1,
                        TlsVerify::none},
        CertificateCase{"expired, and for others",
                        {.names = {"other.test"}, .not_after = "20240301120000"},
                        "server.test",
                        "the server's certificate \"CN=server.test\" expired on 2024-03-01 "
                        "12:00:00 UTC, and is not for server.test, but for \"other.test\"",
                        42},
        CertificateCase{"of the future",
                        {.names = {"server.test"}, .not_before = "20800301120000"},
                        "server.test",
                        "the server's certificate \"CN=server.test\" is not valid before "
                        "2080-03-01 12:00:00 UTC",
                        46},
        CertificateCase{"for clients",
                        {.names = {"server.test"}, .for_clients_only = true},
                        "server.test",
                        "the server's certificate \"CN=server.test\" is not for servers "
                        "(extendedKeyUsage)",
                        43},
        CertificateCase{"with an unknown critical extension",
                        {.names = {"server.test"}, .critical_extension = true},
                        "server.test",
                        "the certificate \"CN=server.test\" has an extension that is marked as "
                        "critical and not known (1.2.3.4.5)",
                        42}));

class Chain : public Engine {
 protected:
  std::string why_refused(const Identity& identity, const TlsSettings& settings) {
    TlsService service({.identities = {identity}});
    TlsEngine client(context_of(settings), "server.test", nullptr);
    TlsServer server(service);
    EXPECT_EQ(shake_hands(client, server), Shake::failed);
    return client.why();
  }
  std::string ca() const { return "(ca = \"" + files_.path("ca.pem") + "\")"; }
};

TEST_F(Chain, LeadsOverWhatTheServerSends) {
  const Authority between = authority().issue_authority("CN=Between");
  TlsService service({.identities = {between.issue({.names = {"server.test"}})}});
  const auto client = engine();
  TlsServer server(service);
  EXPECT_EQ(shake_hands(*client, server), Shake::done) << client->why();
}

TEST_F(Chain, MissesTheCertificateBetween) {
  Identity identity = authority().issue_authority("CN=Between").issue({.names = {"server.test"}});
  const std::string end = "-----END CERTIFICATE-----\n";
  identity.certificate.resize(identity.certificate.find(end) + end.size());
  EXPECT_EQ(why_refused(identity, files_.settings()),
            "the server's certificate \"CN=server.test\" was issued by \"CN=Between\", which is "
            "not among those that are trusted " +
                ca() +
                ", or has not signed it; and no further certificate leads from there to one of "
                "them");
}

TEST_F(Chain, EndsInAnotherAuthority) {
  const std::string of_same_name =
      why_refused(Authority("CN=Test CA").issue({.names = {"server.test"}}), files_.settings());
  EXPECT_TRUE(
      of_same_name.starts_with("the server's certificate \"CN=server.test\" was issued by "
                               "\"CN=Test CA\", which is not among those that are trusted"))
      << of_same_name;
  const Authority between = Authority("CN=Else").issue_authority("CN=Between");
  const std::string of_other = why_refused(between.issue({.names = {"b"}}), files_.settings());
  EXPECT_TRUE(
      of_other.starts_with("the server's certificate \"CN=server.test\" is not for "
                           "server.test, but for \"b\"; and the certificate \"CN=Between\" "
                           "was issued by \"CN=Else\", which is not among"))
      << of_other;
}

TEST_F(Chain, IsOneSelfSignedCertificate) {
  EXPECT_EQ(why_refused(test::self_signed({.names = {"server.test"}}), files_.settings()),
            "the server's certificate \"CN=server.test\" is self-signed, and not among those that "
            "are trusted " +
                ca());
}

TEST_F(Chain, IsTheSelfSignedCertificateThatIsTrusted) {
  const Identity identity = test::self_signed({.names = {"server.test"}});
  TlsService service({.identities = {identity}});
  TlsEngine client(context_of({.ca = files_.write("own.pem", identity.certificate)}), "server.test",
                   nullptr);
  TlsServer server(service);
  EXPECT_EQ(shake_hands(client, server), Shake::done) << client.why();
}

TEST_F(Chain, IsNotAskedForWhenNothingIsVerified) {
  TlsService service({.identities = {test::self_signed({.subject = "CN=x"})}});
  TlsEngine client(context_of({.ca = "/nowhere", .verify = TlsVerify::none}), "server.test",
                   nullptr);
  TlsServer server(service);
  EXPECT_EQ(shake_hands(client, server), Shake::done) << client.why();
  EXPECT_EQ(server.name_asked_for(), "server.test");
}

TEST_F(Engine, NamesNoAddressToTheServer) {
  TlsService service({.identities = {authority().issue({.addresses = {"127.0.0.1"}})}});
  const auto client = engine("127.0.0.1");
  TlsServer server(service);
  EXPECT_EQ(shake_hands(*client, server), Shake::done) << client->why();
  EXPECT_EQ(server.name_asked_for(), "");
}

// ---- our certificate, and ALPN ----

class Mutual : public Engine {
 protected:
  static TlsServerOptions options() {
    return {.identities = {server_identity()}, .client_authority = authority().certificate()};
  }
  TlsSettings settings_with(const Identity& identity) const {
    TlsSettings settings = files_.settings();
    settings.certificate = files_.write("client.pem", identity.certificate);
    settings.private_key = files_.write("client.key", identity.key);
    return settings;
  }
  std::string why_refused(const TlsSettings& settings) {
    TlsEngine client(context_of(settings), "server.test", nullptr);
    TlsServer server(service_of_both_);
    const Shake shake = shake_hands(client, server);
    // The certificate is told before the server's last word on it.
    EXPECT_EQ(shake == Shake::done, server.is_done());
    return client.why();
  }

  TlsService service_of_both_{options()};
};

TEST_F(Mutual, ShowsOurCertificateOfEitherKind) {
  for (const bool rsa : {false, true}) {
    EXPECT_EQ(why_refused(settings_with(authority().issue({.subject = "CN=us", .rsa = rsa}))), "");
  }
}

TEST_F(Mutual, FailsWithoutOne) {
  for (const std::string_view said : {""sv, "\x15\x03\x03\x00\x02\x02\x28"sv}) {
    const auto client = engine();
    TlsServer server(service_of_both_);
    EXPECT_EQ(shake_hands(*client, server), Shake::goes_on);
    EXPECT_FALSE(server.is_done());
    client->feed(said);
    client->end();
    EXPECT_EQ(client->shake_hands(), Shake::failed);
    EXPECT_EQ(
        client->why(),
        std::string(said.empty() ? "the server closed the connection in the middle of the handshake"
                                 : "the server sent the alert handshake_failure (40)") +
            ": it wants a certificate of ours, and none is set (certificate)");
  }
}

TEST_F(Mutual, FailsWithOneThatTheServerDoesNotTrust) {
  EXPECT_EQ(why_refused(settings_with(Authority("CN=Else").issue({.subject = "CN=us"}))),
            "the server sent the alert unknown_ca (48): it does not accept our certificate "
            "(certificate)");
}

TEST_F(Engine, AgreesOnAProtocol) {
  TlsSettings settings = files_.settings();
  settings.alpn = {"h2", "http/1.1"};
  const auto context = context_of(settings);
  for (const auto& [offered, chosen] : {std::pair{"http/1.1", "http/1.1"}, std::pair{"h2", "h2"}}) {
    TlsService service({.identities = {server_identity()}, .alpn = {offered, nullptr}});
    TlsEngine client(context, "server.test", nullptr);
    TlsServer server(service);
    ASSERT_EQ(shake_hands(client, server), Shake::done) << client.why();
    EXPECT_EQ(client.alpn(), chosen);
    EXPECT_EQ(server.alpn(), chosen);
  }
  TlsEngine with_any(context, "server.test", nullptr);
  TlsServer that_knows_none(service_);
  ASSERT_EQ(shake_hands(with_any, that_knows_none), Shake::done) << with_any.why();
  EXPECT_EQ(with_any.alpn(), "");

  TlsService service({.identities = {server_identity()}, .alpn = {"smtp", nullptr}});
  TlsEngine client(context, "server.test", nullptr);
  TlsServer server(service);
  EXPECT_EQ(shake_hands(client, server), Shake::failed);
  EXPECT_EQ(client.why(),
            "the server sent the alert no_application_protocol (120): it speaks none "
            "of the protocols that were offered (alpn)");
}

// ---- sessions ----

class Resumption : public Engine {
 protected:
  using Ticket = std::shared_ptr<const TlsSource::Ticket>;

  // Shakes hands; answers the ticket, and whether it was resumed.
  std::pair<Ticket, bool> visit(const TlsService& service, const Ticket& ticket,
                                const std::string& name = "server.test",
                                const std::shared_ptr<const TlsContext>& context = nullptr) {
    TlsEngine client(context != nullptr ? context : context_, name, ticket);
    TlsServer server(service);
    EXPECT_EQ(shake_hands(client, server), Shake::done) << client.why();
    return {client.ticket(), client.resumed()};
  }

  TlsService with_tickets_{
      {.identities = {authority().issue({.names = {"*.test"}})}, .tickets = true}};
};

TEST_F(Resumption, GoesOnWithAServerThatHasForgotten) {
  auto [ticket, resumed] = visit(with_tickets_, nullptr);
  with_tickets_.renew_ticket_keys();
  std::tie(ticket, resumed) = visit(with_tickets_, ticket);
  EXPECT_FALSE(resumed);
  std::tie(ticket, resumed) = visit(with_tickets_, ticket);
  EXPECT_TRUE(resumed);
}

TEST_F(Resumption, KeepsNoTicketThatIsOfAnotherSession) {
  auto [ticket, resumed] = visit(with_tickets_, nullptr);
  std::tie(ticket, resumed) = visit(service_, ticket);  // which gives no tickets
  EXPECT_FALSE(resumed);
  std::tie(ticket, resumed) = visit(with_tickets_, ticket);
  EXPECT_FALSE(resumed);
}

TEST_F(Resumption, IsNotTriedWithAnotherName) {
  const auto [ticket, resumed] = visit(with_tickets_, nullptr);
  EXPECT_FALSE(visit(with_tickets_, ticket, "other.test").second);
  EXPECT_TRUE(visit(with_tickets_, ticket).second);
}

TEST_F(Resumption, IsNotTriedInAnotherContext) {
  const auto [ticket, resumed] = visit(with_tickets_, nullptr);
  const auto other = context_of(files_.settings());
  EXPECT_FALSE(visit(with_tickets_, ticket, "server.test", other).second);
}

// ---- once it is done ----

TEST_F(Connected, CarriesMoreThanARecord) {
  std::string sent;
  for (int i = 0; i < 300'000; ++i) sent += static_cast<char>(i * 7 >> 3);
  std::string_view left = sent;
  std::string heard;
  while (!left.empty()) {
    const size_t size = engine_->write(left);
    EXPECT_LE(size, 16u * 1024);
    left.remove_prefix(size);
    EXPECT_LE(engine_->to_send().size(), 2 * kMaxTlsRecordBytes);
    if (size > 0) continue;
    EXPECT_GT(engine_->to_send().size(), 16u * 1024);
    server_.feed(engine_->to_send().substr(0, 5000));
    engine_->sent(5000);
    heard += server_.read();
  }
  server_.feed(take(*engine_));
  heard += server_.read();
  EXPECT_EQ(heard, sent);

  server_.write(sent);
  std::string back;
  for (std::string bytes = server_.take_output(); !bytes.empty();) {
    bytes.erase(0, engine_->feed(bytes));
    back += read_all(*engine_);
  }
  EXPECT_EQ(back, sent);
}

TEST_F(Connected, ReadsInSmallPiecesWithoutLoss) {
  server_.write("abcdefgh");
  server_.write("ij");
  feed(server_.take_output());
  std::string heard;
  std::array<char, 3> bytes;
  for (;;) {
    const TlsEngine::Read read = engine_->read(bytes);
    if (read.got != Got::bytes) break;
    heard.append(bytes.data(), read.size);
    EXPECT_EQ(engine_->holds_input(), heard.size() < 10) << heard;
  }
  EXPECT_EQ(heard, "abcdefghij");
}

// However much of it was fed before, and of whatever size the reads are.
TEST_F(Connected, ReadsOnInWhatIsLentBehindWhatWasFed) {
  for (const size_t fed : {size_t{0}, size_t{1}, size_t{4}, size_t{5}, size_t{700}, size_t{1100}}) {
    for (const size_t most : {size_t{1}, size_t{333}, size_t{5000}}) {
      server_.write(std::string(1000, 'a'));
      server_.write(std::string(1000, 'b'));
      const std::string records = server_.take_output();
      ASSERT_EQ(engine_->feed(std::string_view(records).substr(0, fed)), fed);
      std::string_view lent = std::string_view(records).substr(fed);
      std::string all;
      std::string bytes(most, '\0');
      for (;;) {
        const TlsEngine::Read read = engine_->read(bytes, lent);
        if (read.got != TlsEngine::Got::bytes) break;
        all.append(bytes, 0, read.size);
        EXPECT_TRUE(all.size() >= 1000 || !lent.empty()) << "it takes no more than it needs";
      }
      EXPECT_EQ(all, std::string(1000, 'a') + std::string(1000, 'b'));
      EXPECT_TRUE(lent.empty());
      EXPECT_FALSE(engine_->holds_input());
    }
  }
}

TEST_F(Connected, PassesOverEmptyRecordsAndWarnings) {
  server_.write_empty_record();
  server_.write("a");
  server_.write_empty_record();
  server_.alert(kWarning, MBEDTLS_SSL_ALERT_MSG_USER_CANCELED);
  server_.alert(kWarning, MBEDTLS_SSL_ALERT_MSG_NO_RENEGOTIATION);
  server_.write("b");
  feed(server_.take_output());
  EXPECT_EQ(read_all(*engine_), "ab");
  EXPECT_EQ(got(*engine_), Got::nothing);
  EXPECT_FALSE(engine_->holds_input());
}

TEST_F(Engine, ReadsWhatCameRightBehindFinished) {
  const auto client = engine();
  TlsServer server(service_);
  client->shake_hands();
  server.feed(take(*client));
  server.shake_hands();
  feed_all(*client, server.take_output(), 1 << 20);
  server.feed(take(*client));
  ASSERT_EQ(server.shake_hands(), 0);
  server.write("welcome");
  client->feed(server.take_output());
  ASSERT_EQ(client->shake_hands(), Shake::done);
  EXPECT_TRUE(client->holds_input());
  EXPECT_EQ(client->keys(), std::nullopt);
  EXPECT_EQ(read_all(*client), "welcome");
  EXPECT_NE(client->keys(), std::nullopt);
}

TEST_F(Connected, GivesNoKeysWhileBytesAreOnTheirWay) {
  EXPECT_NE(engine_->keys(), std::nullopt);
  server_.write("late");
  const std::string record = server_.take_output();
  for (const size_t size : {size_t{1}, size_t{5}, record.size() - 1}) {
    SCOPED_TRACE(size);
    TlsServer server(service_);
    const auto client = engine();
    ASSERT_EQ(shake_hands(*client, server), Shake::done);
    server.write("late");
    const std::string bytes = server.take_output();
    client->feed(bytes.substr(0, size));
    EXPECT_EQ(client->keys(), std::nullopt);
    EXPECT_EQ(got(*client), Got::nothing);
    EXPECT_EQ(client->keys(), std::nullopt);  // mbedTLS has them now
    EXPECT_TRUE(client->holds_input());
    client->feed(bytes.substr(size));
    EXPECT_EQ(read_all(*client), "late");
    EXPECT_NE(client->keys(), std::nullopt);
  }
  engine_->write("unsent");
  EXPECT_EQ(engine_->keys(), std::nullopt);
  take(*engine_);
  EXPECT_NE(engine_->keys(), std::nullopt);
}

TEST_F(Connected, ReadsWhatCameBeforeCloseNotifyAndNothingBehind) {
  server_.write("last words");
  server_.close();
  const std::string bytes = server_.take_output() + "\x17\x03\x03\x00\x01?"s;
  feed(bytes);
  EXPECT_EQ(read_all(*engine_), "last words");
  EXPECT_EQ(got(*engine_), Got::closed);
  EXPECT_EQ(got(*engine_), Got::closed);
  EXPECT_EQ(engine_->feed("more"), 4u);
  EXPECT_FALSE(engine_->holds_input());
  EXPECT_EQ(engine_->keys(), std::nullopt);
  engine_->end();
  EXPECT_EQ(got(*engine_), Got::closed);
  EXPECT_EQ(engine_->write("an answer"), 9u);  // the other direction is open
}

TEST_F(Connected, TellsAnEndWithoutCloseNotify) {
  server_.write("half a rec");
  server_.write("ord");
  std::string bytes = server_.take_output();
  bytes.pop_back();
  feed(bytes);
  engine_->end();
  EXPECT_EQ(read_all(*engine_), "half a rec");
  EXPECT_EQ(got(*engine_), Got::cut_off);
  EXPECT_EQ(got(*engine_), Got::cut_off);
}

TEST_F(Connected, SaysCloseNotifyOnce) {
  engine_->write("bye");
  engine_->close();
  engine_->close();
  EXPECT_EQ(engine_->write("too late"), 0u);
  server_.feed(take(*engine_));
  EXPECT_EQ(server_.read(), "bye");
  EXPECT_EQ(server_.last_error(), MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY);
}

TEST_F(Connected, TellsAFatalAlert) {
  server_.alert(kFatal, MBEDTLS_SSL_ALERT_MSG_INTERNAL_ERROR);
  feed(server_.take_output());
  EXPECT_EQ(got(*engine_), Got::failed);
  EXPECT_EQ(engine_->why(), "the server sent the alert internal_error (80)");
  EXPECT_EQ(got(*engine_), Got::failed);
  EXPECT_EQ(engine_->write("?"), 0u);
}

TEST_F(Connected, RefusesARecordThatWasChanged) {
  server_.write("secret");
  std::string bytes = server_.take_output();
  bytes.back() ^= 1;
  feed(bytes);
  EXPECT_EQ(got(*engine_), Got::failed);
  EXPECT_TRUE(engine_->why().starts_with("the server sent a record that is not right: "))
      << engine_->why();
  server_.feed(take(*engine_));
  EXPECT_EQ(server_.read(), "");
  EXPECT_EQ(server_.last_error(), MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE);
}

class AskedAgain : public Connected {
 protected:
  AskedAgain() {
    server_of_them_ = std::make_unique<TlsServer>(renegotiating_);
    engine_ = engine();
    EXPECT_EQ(shake_hands(*engine_, *server_of_them_), Shake::done);
  }

  TlsService renegotiating_{{.identities = {server_identity()}, .renegotiates = true}};
  std::unique_ptr<TlsServer> server_of_them_;
};

TEST_F(AskedAgain, RefusesARenegotiationAndGoesOn) {
  server_of_them_->ask_for_renegotiation();
  server_of_them_->write("still here");
  feed(server_of_them_->take_output());
  EXPECT_EQ(read_all(*engine_), "still here");
  EXPECT_EQ(got(*engine_), Got::nothing);
  EXPECT_NE(engine_->to_send(), "");  // no_renegotiation
  engine_->write("so am I");
  server_of_them_->feed(take(*engine_));
  EXPECT_EQ(server_of_them_->read(), "so am I");
}

TEST_F(AskedAgain, AnswersOnlySoOften) {
  Got last = Got::nothing;
  for (int i = 0; i < 10'000 && last == Got::nothing; ++i) {
    server_of_them_->ask_for_renegotiation();
    feed(server_of_them_->take_output());
    last = got(*engine_);
    ASSERT_LE(engine_->to_send().size(), 5 * kMaxTlsRecordBytes);
  }
  EXPECT_EQ(last, Got::failed);
  EXPECT_EQ(engine_->why(), "the server asks again and again for a renegotiation");
}

// ---- threads ----

TEST_F(Engine, SharesItsContextWithOthersOnOtherThreads) {
  TlsSettings settings = files_.settings();
  const Identity us = authority().issue({.subject = "CN=us"});
  settings.certificate = files_.write("client.pem", us.certificate);
  settings.private_key = files_.write("client.key", us.key);
  const auto context = context_of(settings);
  const auto shake_often = [&] {
    TlsService service(
        {.identities = {server_identity()}, .client_authority = authority().certificate()});
    for (int i = 0; i < 10; ++i) {
      TlsEngine client(context, "server.test", nullptr);
      TlsServer server(service);
      EXPECT_EQ(shake_hands(client, server), Shake::done) << client.why();
      EXPECT_EQ(client.keys()->send.key, server.keys().receive.key);
    }
  };
  server_identity();
  std::thread other(shake_often);
  shake_often();
  other.join();
}

}  // namespace
}  // namespace berth::wire
