#include "wire/tls_context.h"

#include <mbedtls/ssl_ciphersuites.h>
#include <sys/random.h>

#include <array>
#include <cerrno>
#include <utility>

#include "base/check.h"
#include "wire/tls_internals.h"

namespace berth::wire {
namespace {

struct Suite {
  TlsCipher cipher;
  int id;
};

// ECDSA first: it is cheaper for the server.
constexpr std::array kSuites = std::to_array<Suite>({
    {TlsCipher::aes_128_gcm, MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256},
    {TlsCipher::aes_128_gcm, MBEDTLS_TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256},
    {TlsCipher::aes_256_gcm, MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384},
    {TlsCipher::aes_256_gcm, MBEDTLS_TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384},
    {TlsCipher::chacha20_poly1305, MBEDTLS_TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256},
    {TlsCipher::chacha20_poly1305, MBEDTLS_TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256},
});

// mbedTLS prefers P-521, which takes it three times as long.
constexpr mbedtls_ecp_group_id kCurves[] = {MBEDTLS_ECP_DP_CURVE25519, MBEDTLS_ECP_DP_SECP256R1,
                                            MBEDTLS_ECP_DP_SECP384R1, MBEDTLS_ECP_DP_NONE};
constexpr int kHashes[] = {MBEDTLS_MD_SHA256, MBEDTLS_MD_SHA384, MBEDTLS_MD_SHA512,
                           MBEDTLS_MD_NONE};

// The kernel's generator needs neither seed nor lock.
int random_bytes(void*, unsigned char* out, size_t size) {
  size_t have = 0;
  while (have < size) {
    const ssize_t count = ::getrandom(out + have, size - have, 0);
    if (count < 0 && errno == EINTR) continue;
    BERTH_CHECK(count > 0, "the kernel has random bytes");
    have += static_cast<size_t>(count);
  }
  return 0;
}

std::vector<int> suites_of(std::span<const TlsCipher> ciphers) {
  std::vector<int> suites;
  for (const TlsCipher cipher : ciphers) {
    for (const Suite& suite : kSuites) {
      if (suite.cipher == cipher) suites.push_back(suite.id);
    }
  }
  BERTH_CHECK(!suites.empty(), "TLS has a cipher to offer");
  suites.push_back(0);
  return suites;
}

}  // namespace

TlsContext::TlsContext(TlsSettings settings, std::span<const TlsCipher> ciphers,
                       std::shared_ptr<const TlsTrust> trust,
                       std::shared_ptr<const TlsIdentity> identity)
    : settings_(std::move(settings)),
      trust_(std::move(trust)),
      identity_(std::move(identity)),
      suites_(suites_of(ciphers)) {
  const bool verifies = settings_.verify != TlsVerify::none;
  BERTH_CHECK(trust_ != nullptr || !verifies, "who verifies trusts somebody");
  mbedtls_ssl_config_init(&config_);
  int error = mbedtls_ssl_config_defaults(&config_, MBEDTLS_SSL_IS_CLIENT,
                                          MBEDTLS_SSL_TRANSPORT_STREAM, MBEDTLS_SSL_PRESET_DEFAULT);
  mbedtls_ssl_conf_min_version(&config_, MBEDTLS_SSL_MAJOR_VERSION_3, MBEDTLS_SSL_MINOR_VERSION_3);
  mbedtls_ssl_conf_max_version(&config_, MBEDTLS_SSL_MAJOR_VERSION_3, MBEDTLS_SSL_MINOR_VERSION_3);
  mbedtls_ssl_conf_rng(&config_, random_bytes, nullptr);
  mbedtls_ssl_conf_ciphersuites(&config_, suites_.data());
  mbedtls_ssl_conf_curves(&config_, kCurves);
  mbedtls_ssl_conf_sig_hashes(&config_, kHashes);
  mbedtls_ssl_conf_renegotiation(&config_, MBEDTLS_SSL_RENEGOTIATION_DISABLED);
  mbedtls_ssl_conf_extended_master_secret(&config_, MBEDTLS_SSL_EXTENDED_MS_ENABLED);
  mbedtls_ssl_conf_session_tickets(&config_, MBEDTLS_SSL_SESSION_TICKETS_ENABLED);
  mbedtls_ssl_conf_authmode(&config_,
                            verifies ? MBEDTLS_SSL_VERIFY_REQUIRED : MBEDTLS_SSL_VERIFY_NONE);
  if (trust_ != nullptr) mbedtls_ssl_conf_ca_chain(&config_, trust_->chain(), nullptr);
  if (error == 0 && identity_ != nullptr) {
    error = mbedtls_ssl_conf_own_cert(&config_, identity_->chain(), identity_->key());
  }
  if (error == 0 && !settings_.alpn.empty()) {
    for (const std::string& protocol : settings_.alpn) protocols_.push_back(protocol.c_str());
    protocols_.push_back(nullptr);
    error = mbedtls_ssl_conf_alpn_protocols(&config_, protocols_.data());
  }
  BERTH_CHECK(error == 0, "the settings of TLS are within what mbedTLS takes");
  mbed::export_keys(config_);
}

TlsContext::~TlsContext() {
  mbedtls_ssl_config_free(&config_);
}

TlsCipher cipher_of_suite(int suite) {
  for (const Suite& known : kSuites) {
    if (known.id == suite) return known.cipher;
  }
  BERTH_CHECK(false, "only suites that were offered are used");
  return {};
}

}  // namespace berth::wire
