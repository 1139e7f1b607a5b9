// Http2Socket: one HTTP/2 connection on a stream socket, or on TLS over it.
//
// Loop thread only. Owns the socket. Reads once in a turn of the loop, and sends at its end; never
// waits, never raises SIGPIPE.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/limits.h"
#include "base/time.h"
#include "base/unique_fd.h"
#include "net/tls_stream.h"
#include "wire/http2_connection.h"

namespace berth::broker {

class Http2Socket {
 public:
  // Read into by one after another.
  using Scratch = std::array<char, kMaxHttp2ReadBytes>;

  // `tls` may be nullptr. `events` outlives it.
  Http2Socket(UniqueFd fd, std::unique_ptr<net::TlsStream> tls, wire::Http2Connection::Role role,
              const wire::Http2Connection::Settings& settings,
              wire::Http2Connection::Events& events);

  // Says close_notify, if there is TLS.
  ~Http2Socket();

  int fd() const { return fd_.get(); }
  wire::Http2Connection& http2() { return http2_; }
  const wire::Http2Connection& http2() const { return http2_; }

  // Reads what has come, and tells of it. false: nothing more comes; why() says why.
  bool receive(TimePoint now, Scratch& scratch);
  // Sends what there is, as far as the socket takes it and a turn's share goes. false: it takes
  // nothing more.
  bool flush();
  // It is to be told when the socket takes more.
  bool blocked() const { return blocked_; }
  const std::string& why() const { return why_; }

 private:
  ssize_t read(Scratch& scratch);
  ssize_t write();
  ssize_t write_records(std::span<const iovec> pieces);
  bool fail(std::string why);

  UniqueFd fd_;
  std::unique_ptr<net::TlsStream> tls_;
  wire::Http2Connection http2_;
  bool blocked_ = false;
  TimePoint ticked_at_{};
  std::string why_;
};

}  // namespace berth::broker
