// TlsEngine: one TLS client connection over memory. Bytes of the socket go in and come out; the
// program's bytes likewise. One thread at a time.
//
// TLS 1.2 (RFC 5246) with ECDHE and an AEAD; renegotiation is refused (RFC 5746).
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/tls.h"
#include "wire/tls_keys.h"
#include "wire/tls_source.h"

namespace berth::wire {

class TlsEngine {
 public:
  // `name`: what the certificate must be for, and what is sent as server name if it is none of an
  // address (RFC 6066 section 3). `resume` may be nullptr; so that nobody is trusted without having
  // been verified, it counts only if it is of the same context and name, and less than a day old.
  TlsEngine(std::shared_ptr<const TlsContext> context, const std::string& name,
            std::shared_ptr<const TlsSource::Ticket> resume);
  ~TlsEngine();
  TlsEngine(const TlsEngine&) = delete;
  TlsEngine& operator=(const TlsEngine&) = delete;

  // --- bytes of the socket ---
  // Takes records, or parts of them, to be dealt with by shake_hands() or read(); answers how many
  // bytes: fewer than all once some records wait.
  size_t feed(std::string_view encrypted);
  // The socket has ended. Without a close_notify before, read() says `cut_off`.
  void end();
  // What is to be sent; valid until the next call that is not const.
  std::string_view to_send() const;
  void sent(size_t size);

  // --- the handshake ---
  enum class Shake { goes_on, done, failed };
  // Computes, for some milliseconds. goes_on: it wants more bytes, after to_send() has gone.
  // failed: why() tells, and to_send() may hold an alert.
  Shake shake_hands();

  // --- once it is done ---
  TlsCipher cipher() const;
  const std::string& alpn() const;  // "": none was agreed on
  bool resumed() const;
  // For TlsSource::keep(); nullptr if the server allows no resumption.
  std::shared_ptr<const TlsSource::Ticket> ticket() const;
  // For the kernel; nothing if bytes were fed that nobody has read, which would be lost, or if some
  // have not been sent, which would come behind what it sends.
  std::optional<TlsKeys> keys() const;

  enum class Got {
    bytes,
    nothing,  // feed more
    closed,   // the peer has said close_notify
    cut_off,  // the socket ended without it
    failed,   // an alert, or a record that is not right: why()
  };
  struct Read {
    Got got;
    size_t size = 0;
  };
  Read read(std::span<char> plain);
  // The same, and behind what was fed it reads on in `encrypted`, from whose front it takes what it
  // uses; so that bulk is not copied twice. What is left of that is the caller's to feed().
  Read read(std::span<char> plain, std::string_view& encrypted);
  // Decrypted bytes, or bytes of a record, wait in it.
  bool holds_input() const;

  // Encrypts into to_send(); answers how many bytes it took: none while more than a record waits
  // there to be sent, and 16 KiB at most. A failure shows in why().
  size_t write(std::string_view plain);
  // Adds a close_notify to to_send().
  void close();

  const std::string& why() const;

 private:
  class State;
  std::unique_ptr<State> state_;
};

}  // namespace berth::wire
