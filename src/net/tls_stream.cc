#include "net/tls_stream.h"

#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <utility>

#include "base/check.h"
#include "base/limits.h"
#include "net/direct_calls.h"

namespace berth::net {
namespace {

using Got = wire::TlsEngine::Got;

ssize_t fails(int error) {
  errno = error;
  return -1;
}

}  // namespace

TlsStream::TlsStream(int fd, std::unique_ptr<wire::TlsEngine> engine)
    : fd_(fd), engine_(std::move(engine)) {}

// As recv(2), of records.
ssize_t TlsStream::fetch(Fetched& bytes) {
  const ssize_t got = direct::recv(fd_, bytes.data(), bytes.size(), MSG_DONTWAIT);
  full_ = got == static_cast<ssize_t>(bytes.size());
  if (got == 0) engine_->end();
  return got;
}

ssize_t TlsStream::recv(std::span<char> plain) {
  Fetched bytes;
  std::string_view encrypted;  // of them, that is still to be read
  size_t read = 0;
  for (bool fetched = false;;) {
    const wire::TlsEngine::Read next = engine_->read(plain.subspan(read), encrypted);
    read += next.size;
    if (next.got == Got::bytes && read < plain.size()) continue;
    at_end_ = next.got != Got::bytes && next.got != Got::nothing;
    if (read > 0) break;
    if (next.got == Got::closed) return 0;
    if (next.got == Got::cut_off) return fails(ECONNRESET);
    if (next.got == Got::failed) return fails(EPROTO);
    // Nothing. A record that carries no bytes, or a part of one, is no reason to fetch on and on.
    if (fetched) break;
    const ssize_t got = fetch(bytes);
    if (got < 0) return -1;
    encrypted = {bytes.data(), static_cast<size_t>(got)};
    fetched = true;
  }
  const size_t kept = engine_->feed(encrypted);
  BERTH_CHECK(kept == encrypted.size(), "an engine that had nothing has room");
  flush();  // an answer of TLS's own; what fails here, fails again
  return read > 0 ? static_cast<ssize_t>(read) : fails(EAGAIN);
}

ssize_t TlsStream::send(std::span<const char> plain) {
  size_t sent = 0;
  while (sent < plain.size()) {
    if (!flush()) return sent > 0 ? static_cast<ssize_t>(sent) : -1;
    if (keeps()) break;
    const size_t taken = engine_->write({plain.data() + sent, plain.size() - sent});
    if (taken == 0) return fails(EPROTO);
    sent += taken;
  }
  if (!flush() && sent == 0) return -1;
  return sent > 0 || plain.empty() ? static_cast<ssize_t>(sent) : fails(EAGAIN);
}

bool TlsStream::flush() {
  while (keeps()) {
    const std::string_view bytes = engine_->to_send();
    const ssize_t put = direct::send(fd_, bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (put >= 0) {
      engine_->sent(static_cast<size_t>(put));
    } else if (errno != EINTR) {
      return errno == EAGAIN;
    }
  }
  return true;
}

Peek TlsStream::peek() {
  char byte;
  const ssize_t got = recv({&byte, 1});
  if (got > 0) return Peek::has_data;
  return got < 0 && (errno == EAGAIN || errno == EINTR) ? Peek::clean : Peek::closed;
}

void TlsStream::close() {
  if (!flush() || keeps()) return;  // in the middle of a record nothing else can be said
  engine_->close();
  flush();
}

}  // namespace berth::net
