// TlsStream: TLS over a socket, for connections whose records berthd itself makes and reads.
//
// Loop thread; borrows the socket. Never waits, never raises SIGPIPE. What it reads from the socket
// it also decrypts before it returns, so that the socket alone tells when there is more; encrypted
// bytes that the socket does not take are kept, about two records at most.
#pragma once

#include <sys/types.h>

#include <array>
#include <memory>
#include <span>
#include <string>

#include "base/limits.h"
#include "net/socket_state.h"
#include "wire/tls_engine.h"

namespace berth::net {

class TlsStream {
 public:
  // Requires: the engine's handshake is done.
  TlsStream(int fd, std::unique_ptr<wire::TlsEngine> engine);

  // A buffer of this size takes all that is decrypted at a time. With a smaller one, call recv()
  // until it answers EAGAIN.
  static constexpr size_t kMostRead = kMaxRelayedBytes;

  // As recv(2). 0: the server said close_notify. Errors: EAGAIN; EPROTO, see why(); ECONNRESET, the
  // socket ended without a close_notify; those of the socket.
  ssize_t recv(std::span<char> plain);
  // The next recv() would tell of the end, or of an error. Ask after each: the socket need not tell
  // of it again.
  bool at_end() const { return at_end_; }
  // The socket has more than the last recv() took, so that the next does not find it empty.
  bool has_more() const { return full_ && !at_end_ && has_unread(fd_); }
  // As send(2); EAGAIN while bytes of before are kept. What it takes may be kept.
  ssize_t send(std::span<const char> plain);
  // Sends what is kept, as far as the socket takes it. False: the socket has failed (errno).
  bool flush();
  bool keeps() const { return !engine_->to_send().empty(); }

  // Like net::peek(): a byte that it finds is consumed.
  Peek peek();
  // Tells the server that no more comes, as far as the socket takes it at once.
  void close();

  // What was wrong with what the server sent; "" if nothing.
  const std::string& why() const { return engine_->why(); }

 private:
  // From the socket at a time: some records, for what a turn costs besides. Behind a part of one
  // that the engine has already, no more comes of it than kMostRead.
  using Fetched = std::array<char, kMostRead - kMaxTlsRecordBytes>;
  ssize_t fetch(Fetched& bytes);

  int fd_;
  std::unique_ptr<wire::TlsEngine> engine_;
  bool at_end_ = false;
  bool full_ = false;  // as much came last as is taken at a time
};

// A server's socket, and TLS over it unless `tls` is nullptr. Borrows both.
struct Stream {
  int fd;
  TlsStream* tls = nullptr;
  // Others may be within a send(2) on it, and hold up whoever else sends (net/ktls.h).
  bool contended = false;
};

}  // namespace berth::net
