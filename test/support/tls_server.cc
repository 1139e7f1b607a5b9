#include "support/tls_server.h"

#include <mbedtls/pem.h>
#include <sys/random.h>

#include <algorithm>
#include <array>
#include <utility>

#include "base/check.h"
#include "wire/tls_internals.h"

namespace berth::test {
namespace {

int random_bytes(void*, unsigned char* out, size_t size) {
  return getrandom(out, size, 0) == static_cast<ssize_t>(size) ? 0 : -1;
}

void must(int error) {
  BERTH_CHECK(error == 0, "a server can be made");
}

int pass(void*, const mbedtls_x509_crt*, const mbedtls_x509_buf*, int, const unsigned char*,
         const unsigned char*) {
  return 0;
}

// Even what mbedTLS would refuse in others: it only sends it.
void parse_anything(mbedtls_x509_crt& chain, const std::string& text) {
  const auto* bytes = reinterpret_cast<const unsigned char*>(text.c_str());
  if (mbedtls_x509_crt_parse(&chain, bytes, text.size() + 1) == 0) return;
  mbedtls_pem_context pem;
  mbedtls_pem_init(&pem);
  size_t used = 0;
  must(mbedtls_pem_read_buffer(&pem, "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----",
                               bytes, nullptr, 0, &used));
  must(mbedtls_x509_crt_parse_der_with_ext_cb(&chain, pem.buf, pem.buflen, 1, pass, nullptr));
  mbedtls_pem_free(&pem);
}

const unsigned char* bytes_of(const std::string& text) {
  return reinterpret_cast<const unsigned char*>(text.c_str());
}

}  // namespace

struct TlsService::Loaded {
  Loaded() {
    mbedtls_x509_crt_init(&chain);
    mbedtls_pk_init(&key);
  }
  ~Loaded() {
    mbedtls_x509_crt_free(&chain);
    mbedtls_pk_free(&key);
  }

  mbedtls_x509_crt chain;
  mbedtls_pk_context key;
};

TlsService::TlsService(const TlsServerOptions& options) : options_(options) {
  mbedtls_x509_crt_init(&authority_);
  mbedtls_ssl_ticket_init(&tickets_);
  mbedtls_ssl_cache_init(&cache_);
  mbedtls_ssl_config_init(&config_);
  must(mbedtls_ssl_config_defaults(&config_, MBEDTLS_SSL_IS_SERVER, MBEDTLS_SSL_TRANSPORT_STREAM,
                                   MBEDTLS_SSL_PRESET_DEFAULT));
  mbedtls_ssl_conf_rng(&config_, random_bytes, nullptr);
  mbedtls_ssl_conf_sni(&config_, TlsServer::hear_name, nullptr);
  mbedtls_ssl_conf_min_version(&config_, MBEDTLS_SSL_MAJOR_VERSION_3, options_.version);
  mbedtls_ssl_conf_max_version(&config_, MBEDTLS_SSL_MAJOR_VERSION_3, options_.version);
  for (const Identity& identity : options_.identities) {
    Loaded* loaded = loaded_.emplace_back(new Loaded);
    const auto& [certificate, key] = identity;
    parse_anything(loaded->chain, certificate);
    loaded->chain.ext_types = 0;  // it does not mind what its certificate is for
    must(mbedtls_pk_parse_key(&loaded->key, bytes_of(key), key.size() + 1, nullptr, 0));
    wire::mbed::make_shareable(loaded->key);
    must(mbedtls_ssl_conf_own_cert(&config_, &loaded->chain, &loaded->key));
  }
  if (!options_.client_authority.empty()) {
    must(mbedtls_x509_crt_parse(&authority_, bytes_of(options_.client_authority),
                                options_.client_authority.size() + 1));
    wire::mbed::make_shareable(authority_.pk);
    mbedtls_ssl_conf_ca_chain(&config_, &authority_, nullptr);
    mbedtls_ssl_conf_authmode(&config_, MBEDTLS_SSL_VERIFY_REQUIRED);
  }
  if (!options_.suites.empty()) {
    options_.suites.push_back(0);
    mbedtls_ssl_conf_ciphersuites(&config_, options_.suites.data());
  }
  if (!options_.alpn.empty()) {
    must(mbedtls_ssl_conf_alpn_protocols(&config_, options_.alpn.data()));
  }
  if (options_.tickets) {
    renew_ticket_keys();
    mbedtls_ssl_conf_session_tickets_cb(&config_, mbedtls_ssl_ticket_write,
                                        mbedtls_ssl_ticket_parse, &tickets_);
  }
  if (options_.ids) {
    mbedtls_ssl_conf_session_cache(&config_, &cache_, mbedtls_ssl_cache_get, mbedtls_ssl_cache_set);
  }
  if (options_.renegotiates) {
    mbedtls_ssl_conf_renegotiation(&config_, MBEDTLS_SSL_RENEGOTIATION_ENABLED);
  }
  wire::mbed::export_keys(config_);
}

TlsService::~TlsService() {
  mbedtls_ssl_config_free(&config_);
  mbedtls_ssl_cache_free(&cache_);
  mbedtls_ssl_ticket_free(&tickets_);
  mbedtls_x509_crt_free(&authority_);
  for (const Loaded* loaded : loaded_) delete loaded;
}

void TlsService::renew_ticket_keys() {
  mbedtls_ssl_ticket_free(&tickets_);
  mbedtls_ssl_ticket_init(&tickets_);
  must(mbedtls_ssl_ticket_setup(&tickets_, random_bytes, nullptr, MBEDTLS_CIPHER_AES_256_GCM,
                                86400));
}

TlsServer::TlsServer(const TlsService& service) {
  mbedtls_ssl_init(&ssl_);
  must(mbedtls_ssl_setup(&ssl_, &service.config()));
  mbedtls_ssl_set_bio(&ssl_, this, send, receive, nullptr);
}

TlsServer::~TlsServer() {
  mbedtls_ssl_free(&ssl_);
}

int TlsServer::receive(void* self, unsigned char* out, size_t size) {
  std::string& in = static_cast<TlsServer*>(self)->in_;
  if (in.empty()) return MBEDTLS_ERR_SSL_WANT_READ;
  const size_t count = std::min(size, in.size());
  std::copy_n(in.data(), count, out);
  in.erase(0, count);
  return static_cast<int>(count);
}

int TlsServer::send(void* self, const unsigned char* bytes, size_t size) {
  static_cast<TlsServer*>(self)->out_.append(reinterpret_cast<const char*>(bytes), size);
  return static_cast<int>(size);
}

int TlsServer::hear_name(void*, mbedtls_ssl_context* ssl, const unsigned char* name, size_t size) {
  static_cast<TlsServer*>(ssl->p_bio)->name_.assign(reinterpret_cast<const char*>(name), size);
  return 0;
}

int TlsServer::shake_hands() {
  if (error_ != 0) return error_;
  const wire::mbed::KeyCatcher catcher(keys_);
  const int result = mbedtls_ssl_handshake(&ssl_);
  if (result != 0 && result != MBEDTLS_ERR_SSL_WANT_READ) error_ = result;
  return result;
}

bool TlsServer::is_done() const {
  return wire::mbed::has_shaken_hands(ssl_);
}

std::string TlsServer::read() {
  std::string all;
  std::array<unsigned char, 20000> bytes;
  while (error_ == 0) {
    const int size = mbedtls_ssl_read(&ssl_, bytes.data(), bytes.size());
    if (size == MBEDTLS_ERR_SSL_WANT_READ) {
      if (in_.empty()) break;
      continue;  // an alert that means nothing
    }
    if (size < 0) error_ = size;
    if (size > 0)
      all.append(reinterpret_cast<const char*>(bytes.data()), static_cast<size_t>(size));
  }
  return all;
}

void TlsServer::write(std::string_view plain) {
  while (!plain.empty()) {
    const int size = mbedtls_ssl_write(&ssl_, reinterpret_cast<const unsigned char*>(plain.data()),
                                       plain.size());
    BERTH_CHECK(size > 0, "memory takes all");
    plain.remove_prefix(static_cast<size_t>(size));
  }
}

void TlsServer::write_empty_record() {
  must(mbedtls_ssl_write(&ssl_, nullptr, 0));
}

void TlsServer::close() {
  must(mbedtls_ssl_close_notify(&ssl_));
}

void TlsServer::alert(unsigned char level, unsigned char number) {
  must(mbedtls_ssl_send_alert_message(&ssl_, level, number));
}

void TlsServer::ask_for_renegotiation() {
  must(mbedtls_ssl_renegotiate(&ssl_));
}

std::string TlsServer::alpn() const {
  const char* protocol = mbedtls_ssl_get_alpn_protocol(&ssl_);
  return protocol != nullptr ? protocol : "";
}

wire::TlsKeys TlsServer::keys() const {
  // The block is the client's first, whoever exports it.
  wire::TlsKeys keys = keys_;
  std::swap(keys.send.key, keys.receive.key);
  std::swap(keys.send.iv, keys.receive.iv);
  wire::mbed::read_sequences(ssl_, keys);
  return keys;
}

}  // namespace berth::test
