// TlsContext: one immutable configuration of mbedTLS, with what it refers to. Shared by engines on
// any thread.
#pragma once

#include <mbedtls/ssl.h>

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/tls.h"
#include "wire/tls_files.h"

namespace berth::wire {

class TlsContext {
 public:
  // `trust` is nullptr only if nothing is verified, `identity` if we have no certificate.
  TlsContext(TlsSettings settings, std::span<const TlsCipher> ciphers,
             std::shared_ptr<const TlsTrust> trust, std::shared_ptr<const TlsIdentity> identity);
  ~TlsContext();
  TlsContext(const TlsContext&) = delete;
  TlsContext& operator=(const TlsContext&) = delete;

  const mbedtls_ssl_config& config() const { return config_; }
  const TlsSettings& settings() const { return settings_; }

 private:
  const TlsSettings settings_;
  const std::shared_ptr<const TlsTrust> trust_;
  const std::shared_ptr<const TlsIdentity> identity_;
  std::vector<int> suites_;
  std::vector<const char*> protocols_;
  mbedtls_ssl_config config_;
};

// Of a suite that a TlsContext offers.
TlsCipher cipher_of_suite(int suite);

}  // namespace berth::wire
