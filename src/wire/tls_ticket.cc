#include "wire/tls_ticket.h"

#include <utility>

#include "wire/tls_internals.h"

namespace berth::wire {
namespace {

// What RFC 5077 (section 5.6) and RFC 5246 (appendix F.1.4) advise: nobody is trusted for longer
// without being asked for his certificate.
constexpr int64_t kMaxAgeSeconds = 24 * 60 * 60;

}  // namespace

TlsSource::Ticket::Ticket(std::weak_ptr<const TlsContext> context, std::string name)
    : context_(std::move(context)), name_(std::move(name)) {
  mbedtls_ssl_session_init(&session_);
}

TlsSource::Ticket::~Ticket() {
  mbedtls_ssl_session_free(&session_);
}

bool TlsSource::Ticket::is_good_for(const std::shared_ptr<const TlsContext>& context,
                                    const std::string& name) const {
  return context_.lock() == context && name_ == name && mbed::is_fresh(session_, kMaxAgeSeconds);
}

}  // namespace berth::wire
