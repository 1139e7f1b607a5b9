// TlsSource: what a pool's TLS settings name in files, and the sessions with its servers that can
// be resumed. Any thread.
#pragma once

#include <absl/status/statusor.h>

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/tls.h"

namespace berth::wire {

class TlsContext;  // one immutable configuration of mbedTLS; wire/tls_context.h

class TlsSource {
 public:
  // `ciphers`: those to offer, in order of preference.
  TlsSource(TlsSettings settings, std::vector<TlsCipher> ciphers);
  ~TlsSource();
  TlsSource(const TlsSource&) = delete;
  TlsSource& operator=(const TlsSource&) = delete;

  const TlsSettings& settings() const;
  const std::vector<TlsCipher>& ciphers() const;

  // Blocking: reads the files at first, and again once one of them has changed, which is looked
  // for at most once in a second. If that fails later on, what was read before goes on being used,
  // and complaint() says why. An error names the setting, the file, what is wrong with it and what
  // would be right.
  absl::StatusOr<std::shared_ptr<const TlsContext>> context();
  // Empty but once after each change for the worse.
  std::string take_complaint();

  // The last session with that server, for a shorter handshake. `server` is host:port. As many are
  // kept as there are servers, at most kMaxTlsTickets.
  class Ticket;
  std::shared_ptr<const Ticket> ticket(const std::string& server) const;
  // nullptr: the one that there was is forgotten.
  void keep(const std::string& server, std::shared_ptr<const Ticket> ticket);

 private:
  class State;
  std::unique_ptr<State> state_;
};

}  // namespace berth::wire
