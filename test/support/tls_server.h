// TlsServer: a server of mbedTLS over memory, for tests of the client.
#pragma once

#include <mbedtls/ssl.h>
#include <mbedtls/ssl_cache.h>
#include <mbedtls/ssl_ticket.h>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "support/certificates.h"
#include "wire/tls_keys.h"

namespace berth::test {

struct TlsServerOptions {
  std::vector<Identity> identities;
  std::string client_authority = {};  // PEM; "": clients are not asked for a certificate
  std::vector<int> suites = {};       // empty: mbedTLS's
  int version = MBEDTLS_SSL_MINOR_VERSION_3;
  bool tickets = false;
  bool ids = false;
  std::vector<const char*> alpn = {};  // with nullptr behind them
  bool renegotiates = false;
};

// What connections of one server share.
class TlsService {
 public:
  explicit TlsService(const TlsServerOptions& options);
  ~TlsService();
  TlsService(const TlsService&) = delete;
  TlsService& operator=(const TlsService&) = delete;

  const mbedtls_ssl_config& config() const { return config_; }
  void renew_ticket_keys();  // so that no ticket is known any more

 private:
  struct Loaded;

  TlsServerOptions options_;
  std::vector<Loaded*> loaded_;
  mbedtls_x509_crt authority_;
  mbedtls_ssl_ticket_context tickets_;
  mbedtls_ssl_cache_context cache_;
  mbedtls_ssl_config config_;
};

class TlsServer {
 public:
  explicit TlsServer(const TlsService& service);
  ~TlsServer();
  TlsServer(const TlsServer&) = delete;
  TlsServer& operator=(const TlsServer&) = delete;

  void feed(std::string_view bytes) { in_ += bytes; }
  std::string take_output() { return std::exchange(out_, {}); }

  // 0 once it is done, MBEDTLS_ERR_SSL_WANT_READ, or another error.
  int shake_hands();
  bool is_done() const;
  std::string read();  // all that has come
  int last_error() const { return error_; }
  void write(std::string_view plain);
  void write_empty_record();
  void close();
  void alert(unsigned char level, unsigned char number);
  void ask_for_renegotiation();
  const std::string& name_asked_for() const { return name_; }
  std::string alpn() const;
  wire::TlsKeys keys() const;  // "send" is what the server sends

  static int hear_name(void*, mbedtls_ssl_context* ssl, const unsigned char* name, size_t size);

 private:
  static int receive(void* self, unsigned char* out, size_t size);
  static int send(void* self, const unsigned char* bytes, size_t size);

  mbedtls_ssl_context ssl_;
  std::string in_;
  std::string out_;
  std::string name_;
  int error_ = 0;
  wire::TlsKeys keys_;
};

}  // namespace berth::test
