// TlsSource::Ticket: a session that a server may resume. Immutable; any thread.
#pragma once

#include <mbedtls/ssl.h>

#include <memory>
#include <string>

#include "wire/tls_context.h"
#include "wire/tls_source.h"

namespace berth::wire {

class TlsSource::Ticket {
 public:
  // Of a session with `name` that `context` has found good.
  Ticket(std::weak_ptr<const TlsContext> context, std::string name);
  ~Ticket();
  Ticket(const Ticket&) = delete;
  Ticket& operator=(const Ticket&) = delete;

  // What has been verified for another name, or by other settings or files, counts for nothing.
  bool is_good_for(const std::shared_ptr<const TlsContext>& context, const std::string& name) const;

  // To be filled in by its maker.
  mbedtls_ssl_session& session() { return session_; }
  const mbedtls_ssl_session& session() const { return session_; }

 private:
  const std::weak_ptr<const TlsContext> context_;
  const std::string name_;
  mbedtls_ssl_session session_;
};

}  // namespace berth::wire
