#include "broker/http2_socket.h"

#include <fcntl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "net/close.h"
#include "net/direct_calls.h"

namespace berth::broker {
namespace {

using namespace std::chrono_literals;

// Of pieces, in one sendmsg(2); the kernel takes 1024.
constexpr size_t kMostPieces = 256;
// What pieces are gathered into for TLS, which makes a record of each call.
constexpr size_t kRecordBytes = 16 * 1024;

}  // namespace

Http2Socket::Http2Socket(UniqueFd fd, std::unique_ptr<net::TlsStream> tls,
                         wire::Http2Connection::Role role,
                         const wire::Http2Connection::Settings& settings,
                         wire::Http2Connection::Events& events)
    : fd_(std::move(fd)), tls_(std::move(tls)), http2_(role, settings, events) {}

Http2Socket::~Http2Socket() {
  if (tls_ != nullptr) tls_->close();
  (void)net::close_pooled(std::move(fd_), /*handed_out=*/false);
}

bool Http2Socket::receive(TimePoint now, Scratch& scratch) {
  if (now - ticked_at_ >= 1s) {
    ticked_at_ = now;
    http2_.tick();
  }
  do {
    const ssize_t got = read(scratch);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return true;
    if (got < 0) {
      const bool records = tls_ != nullptr && !tls_->why().empty();
      return fail(records ? tls_->why() : std::strerror(errno));
    }
    if (got == 0) return fail("the connection was closed");
    if (!http2_.feed({scratch.data(), static_cast<size_t>(got)})) return fail(http2_.why());
  } while (tls_ != nullptr && tls_->at_end());
  return true;
}

ssize_t Http2Socket::read(Scratch& scratch) {
  if (tls_ != nullptr) return tls_->recv(scratch);
  return net::direct::recv(fd_.get(), scratch.data(), scratch.size(), MSG_DONTWAIT);
}

bool Http2Socket::flush() {
  blocked_ = false;
  for (size_t sent = 0;;) {
    http2_.fill();
    if (http2_.to_send().empty()) break;
    if (sent >= kMaxHttp2SentBytes) {
      blocked_ = true;
      return true;
    }
    const ssize_t put = write();
    if (put >= 0) {
      http2_.sent(static_cast<size_t>(put));
      sent += static_cast<size_t>(put);
    } else if (errno == EAGAIN) {
      blocked_ = true;
      return true;
    } else if (errno != EINTR) {
      return fail(std::strerror(errno));
    }
  }
  if (tls_ == nullptr) return true;
  if (!tls_->flush()) return fail(std::strerror(errno));
  blocked_ = tls_->keeps();
  return true;
}

ssize_t Http2Socket::write() {
  const std::span<const iovec> all = http2_.to_send();
  const std::span<const iovec> pieces = all.first(std::min(all.size(), kMostPieces));
  if (tls_ != nullptr) return write_records(pieces);
  msghdr message{};
  message.msg_iov = const_cast<iovec*>(pieces.data());  // sendmsg(2) only reads them
  message.msg_iovlen = pieces.size();
  return net::direct::sendmsg(fd_.get(), message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

ssize_t Http2Socket::write_records(std::span<const iovec> pieces) {
  std::array<char, kRecordBytes> record;
  size_t size = 0;
  for (const iovec& piece : pieces) {
    const size_t taken = std::min(piece.iov_len, record.size() - size);
    std::memcpy(record.data() + size, piece.iov_base, taken);
    size += taken;
    if (size == record.size()) break;
  }
  return tls_->send({record.data(), size});
}

bool Http2Socket::fail(std::string why) {
  if (why_.empty()) why_ = std::move(why);
  return false;
}

}  // namespace berth::broker
