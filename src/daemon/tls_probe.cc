#include "daemon/tls_probe.h"

#include "base/status_text.h"
#include "wire/tls_context.h"
#include "wire/tls_source.h"

namespace berth::daemon {

config::TlsProbe probe_tls(const TlsSettings& settings) {
  // Whichever ciphers are offered, the files are the same.
  auto context = wire::TlsSource(settings, {TlsCipher::aes_128_gcm}).context();
  if (!context.ok()) return {text_of(context.status()), nullptr};
  return {{}, *std::move(context)};
}

}  // namespace berth::daemon
