// tls_load: what mbedTLS alone does, in one process, as a measure for berthd; prints JSON.
//
//   tls_load dial PORT CA COUNT full|resumed    how long a connection and its handshake take
//   tls_load pull PORT CA BYTES                 how long BYTES take from a relay_load server
//                                               behind TLS, and how much CPU
//
// The server is on 127.0.0.1 and has a certificate of CA, a file, for localhost. Ciphers, curves
// and verification are as berthd's (wire/tls_context.h).
#include <mbedtls/ctr_drbg.h>
#include <mbedtls/entropy.h>
#include <mbedtls/net_sockets.h>
#include <mbedtls/ssl.h>
#include <mbedtls/x509_crt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string>
#include <vector>

namespace {

constexpr int kCiphers[] = {
    MBEDTLS_TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    MBEDTLS_TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    MBEDTLS_TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    0,
};
constexpr mbedtls_ecp_group_id kCurves[] = {MBEDTLS_ECP_DP_CURVE25519, MBEDTLS_ECP_DP_SECP256R1,
                                            MBEDTLS_ECP_DP_NONE};

[[noreturn]] void fail(const char* what, int error) {
  std::fprintf(stderr, "tls_load: %s: -0x%04x\n", what, static_cast<unsigned>(-error));
  std::exit(1);
}

void must(const char* what, int result) {
  if (result != 0) fail(what, result);
}

int64_t now_ns(clockid_t clock) {
  timespec now;
  clock_gettime(clock, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

class Client {
 public:
  Client(const char* port, const char* ca) : port_(port) {
    mbedtls_entropy_init(&entropy_);
    mbedtls_ctr_drbg_init(&random_);
    mbedtls_x509_crt_init(&trusted_);
    mbedtls_ssl_config_init(&config_);
    must("seed", mbedtls_ctr_drbg_seed(&random_, mbedtls_entropy_func, &entropy_, nullptr, 0));
    must(ca, mbedtls_x509_crt_parse_file(&trusted_, ca));
    must("defaults",
         mbedtls_ssl_config_defaults(&config_, MBEDTLS_SSL_IS_CLIENT, MBEDTLS_SSL_TRANSPORT_STREAM,
                                     MBEDTLS_SSL_PRESET_DEFAULT));
    mbedtls_ssl_conf_rng(&config_, mbedtls_ctr_drbg_random, &random_);
    mbedtls_ssl_conf_ca_chain(&config_, &trusted_, nullptr);
    mbedtls_ssl_conf_ciphersuites(&config_, kCiphers);
    mbedtls_ssl_conf_curves(&config_, kCurves);
    mbedtls_ssl_conf_min_version(&config_, MBEDTLS_SSL_MAJOR_VERSION_3,
                                 MBEDTLS_SSL_MINOR_VERSION_3);
  }
  ~Client() {
    mbedtls_ssl_config_free(&config_);
    mbedtls_x509_crt_free(&trusted_);
    mbedtls_ctr_drbg_free(&random_);
    mbedtls_entropy_free(&entropy_);
  }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  const mbedtls_ssl_config& config() const { return config_; }
  const char* port() const { return port_; }

 private:
  const char* port_;
  mbedtls_entropy_context entropy_;
  mbedtls_ctr_drbg_context random_;
  mbedtls_x509_crt trusted_;
  mbedtls_ssl_config config_;
};

class Connection {
 public:
  Connection(const Client& client, const mbedtls_ssl_session* session) {
    mbedtls_net_init(&socket_);
    mbedtls_ssl_init(&ssl_);
    must("connect",
         mbedtls_net_connect(&socket_, "127.0.0.1", client.port(), MBEDTLS_NET_PROTO_TCP));
    const int on = 1;
    setsockopt(socket_.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    must("set up", mbedtls_ssl_setup(&ssl_, &client.config()));
    must("set the name", mbedtls_ssl_set_hostname(&ssl_, "localhost"));
    if (session != nullptr) must("set the session", mbedtls_ssl_set_session(&ssl_, session));
    mbedtls_ssl_set_bio(&ssl_, &socket_, mbedtls_net_send, mbedtls_net_recv, nullptr);
    must("shake hands", mbedtls_ssl_handshake(&ssl_));
  }
  ~Connection() {
    mbedtls_ssl_free(&ssl_);
    mbedtls_net_free(&socket_);
  }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  mbedtls_ssl_context& ssl() { return ssl_; }

 private:
  mbedtls_net_context socket_;
  mbedtls_ssl_context ssl_;
};

int dial(const Client& client, int count, bool resumed) {
  mbedtls_ssl_session session;
  mbedtls_ssl_session_init(&session);
  {
    Connection first(client, nullptr);
    must("get the session", mbedtls_ssl_get_session(&first.ssl(), &session));
  }
  std::vector<int64_t> times;
  for (int i = 0; i < count; ++i) {
    const int64_t begun = now_ns(CLOCK_MONOTONIC);
    Connection connection(client, resumed ? &session : nullptr);
    times.push_back(now_ns(CLOCK_MONOTONIC) - begun);
  }
  mbedtls_ssl_session_free(&session);
  std::sort(times.begin(), times.end());
  std::printf("{\"p50_ns\": %lld}\n", static_cast<long long>(times[times.size() / 2]));
  return 0;
}

int pull(const Client& client, uint64_t bytes) {
  Connection connection(client, nullptr);
  const int64_t begun = now_ns(CLOCK_MONOTONIC);
  const int64_t spent = now_ns(CLOCK_PROCESS_CPUTIME_ID);
  int result = mbedtls_ssl_write(&connection.ssl(), reinterpret_cast<const unsigned char*>(&bytes),
                                 sizeof bytes);
  if (result != static_cast<int>(sizeof bytes)) fail("send", result);
  std::vector<unsigned char> buffer(size_t{256} * 1024);
  for (uint64_t left = bytes; left > 0; left -= static_cast<uint64_t>(result)) {
    result = mbedtls_ssl_read(&connection.ssl(), buffer.data(), buffer.size());
    if (result <= 0) fail("receive", result);
  }
  std::printf("{\"seconds\": %.6f, \"cpu_ns\": %lld}\n",
              static_cast<double>(now_ns(CLOCK_MONOTONIC) - begun) / 1e9,
              static_cast<long long>(now_ns(CLOCK_PROCESS_CPUTIME_ID) - spent));
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "";
  if (what == "dial" && argc == 6) {
    return dial(Client(argv[2], argv[3]), std::atoi(argv[4]), argv[5] == std::string("resumed"));
  }
  if (what == "pull" && argc == 5) {
    return pull(Client(argv[2], argv[3]), std::strtoull(argv[4], nullptr, 10));
  }
  std::fputs("usage: tls_load dial PORT CA COUNT full|resumed | pull PORT CA BYTES\n", stderr);
  return 2;
}
