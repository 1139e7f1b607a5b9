#include "net/relay.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "base/poll_one.h"
#include "net/direct_calls.h"

#include <linux/sockios.h>

namespace berth::net {
namespace {

// So many full reads in a row are bulk: a pipe costs about as much as one of them.
constexpr int kFullReadsOfBulk = 4;

// splice(2) goes by the flag of a socket. What is granted afterwards is made blocking again.
void make_nonblocking(int fd) {
  fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK);
}

}  // namespace

Relay::~Relay() {
  for (Flow& flow : flows_) give_back_pipe(flow);
}

ssize_t Relay::read_some(const Stream& from, Scratch& scratch) {
  static_assert(std::tuple_size_v<Scratch> >= TlsStream::kMostRead);
  if (from.tls != nullptr) return from.tls->recv(scratch);
  return direct::recv(from.fd, scratch.data(), scratch.size(), MSG_DONTWAIT);
}

ssize_t Relay::write_some(const Stream& to, std::span<const char> bytes) {
  if (to.tls != nullptr) return to.tls->send(bytes);
  return direct::send(to.fd, bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
}

bool Relay::move(Side from, Scratch& scratch) {
  Flow& flow = this->flow(from);
  if (flow.gathers) return gather(flow);
  if (!send_kept(flow) || !empty_pipe(flow) || flow.end != End::none) return false;
  if (flow.pipe.in.valid()) {
    const bool more = fill_pipe(flow);
    empty_pipe(flow);
    return more;
  }
  TlsStream* const tls = flow.from.tls;
  if (tls != nullptr && flow.full_reads >= kFullReadsOfBulk) return gather(flow);
  const ssize_t got = read_some(flow.from, scratch);
  if (got > 0) {
    const std::span<const char> bytes(scratch.data(), static_cast<size_t>(got));
    note_read(flow, tls != nullptr ? tls->has_more() : bytes.size() == scratch.size());
    send_on(flow, bytes);
    if (tls != nullptr && tls->at_end()) note_end(flow, tls->recv(scratch));
  } else {
    note_end(flow, got);
  }
  return got > 0;
}

// `result`: of a call that has read nothing.
void Relay::note_end(Flow& flow, ssize_t result) {
  if (result == 0) {
    flow.end = End::stream;
  } else if (errno != EAGAIN && errno != EINTR) {
    flow.end = End::failed;
  }
}

// --- bulk ---

void Relay::note_read(Flow& flow, bool full) {
  flow.full_reads = full ? flow.full_reads + 1 : 0;
  if (flow.full_reads >= kFullReadsOfBulk && lender_ != nullptr) borrow_pipe(flow);
}

// Decrypts once, behind what is gathered. All is sent once nothing more is at hand, or there is no
// room for it. Returns whether there was something.
bool Relay::gather(Flow& flow) {
  TlsStream& tls = *flow.from.tls;
  Kept& kept = flow.kept;
  if (kept.bytes == nullptr) kept.bytes = std::make_unique_for_overwrite<char[]>(kGatheredBytes);
  const std::span<char> room(kept.bytes.get() + kept.end, kGatheredBytes - kept.end);
  const ssize_t got = tls.recv(room);
  if (got > 0) kept.end += static_cast<size_t>(got);
  if (got <= 0) note_end(flow, got);
  const bool more = got > 0 && tls.has_more();
  if (!more) flow.full_reads = 0;
  flow.gathers = more && kGatheredBytes - kept.end >= TlsStream::kMostRead;
  if (!flow.gathers) send_kept(flow);
  if (got > 0 && tls.at_end()) {
    char none;
    note_end(flow, tls.recv({&none, 1}));
  }
  return got > 0;
}

void Relay::borrow_pipe(Flow& flow) {
  flow.full_reads = 0;  // should there be no pipe, it asks again after as many
  flow.pipe = lender_->borrow();
  if (!flow.pipe.in.valid()) return;
  make_nonblocking(flow.from.fd);
  make_nonblocking(flow.to.fd);
}

// Returns whether there was something. A socket that has nothing more needs no pipe.
bool Relay::fill_pipe(Flow& flow) {
  const ssize_t got = splice(flow.from.fd, nullptr, flow.pipe.in.get(), nullptr, kPipeBytes,
                             SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
  if (got > 0) {
    flow.in_pipe = static_cast<size_t>(got);
    return true;
  }
  note_end(flow, got);
  give_back_pipe(flow);
  return false;
}

// Returns whether it is empty.
bool Relay::empty_pipe(Flow& flow) {
  while (flow.in_pipe > 0) {
    const ssize_t put = splice(flow.pipe.out.get(), nullptr, flow.to.fd, nullptr, flow.in_pipe,
                               SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    if (put > 0) {
      flow.in_pipe -= static_cast<size_t>(put);
      flow.carried += static_cast<uint64_t>(put);
    } else if (put < 0 && errno == EAGAIN) {
      return false;
    } else if (put == 0 || errno != EINTR) {
      refuse_more(flow);
    }
  }
  return true;
}

void Relay::give_back_pipe(Flow& flow) {
  flow.in_pipe = 0;
  if (flow.pipe.in.valid()) lender_->give_back(std::exchange(flow.pipe, {}));
}

// --- the rest ---

// Whether all has gone.
bool Relay::send_kept(Flow& flow) {
  if (flow.to.tls != nullptr && !flow.to.tls->flush()) refuse_more(flow);
  Kept& kept = flow.kept;
  if (!kept.empty()) {
    kept.begin += send_some(flow, {kept.bytes.get() + kept.begin, kept.end - kept.begin});
    if (!kept.empty() && !flow.passed_on) return false;
    kept = {};  // a relay that is quiet costs no buffer
  }
  return flow.to.tls == nullptr || !flow.to.tls->keeps() || flow.passed_on;
}

void Relay::send_on(Flow& flow, std::span<const char> bytes) {
  const std::span<const char> rest = bytes.subspan(send_some(flow, bytes));
  if (rest.empty() || flow.passed_on) return;
  flow.kept.bytes = std::make_unique_for_overwrite<char[]>(rest.size());
  flow.kept.begin = 0;
  flow.kept.end = rest.size();
  std::memcpy(flow.kept.bytes.get(), rest.data(), rest.size());
}

size_t Relay::send_some(Flow& flow, std::span<const char> bytes) {
  size_t sent = 0;
  while (sent < bytes.size() && !flow.passed_on) {
    const ssize_t put = write_some(flow.to, bytes.subspan(sent));
    if (put >= 0) {
      sent += static_cast<size_t>(put);
      flow.carried += static_cast<size_t>(put);
    } else if (errno == EAGAIN) {
      break;
    } else if (errno != EINTR) {
      refuse_more(flow);
    }
  }
  return sent;
}

// `to` has gone. A program then meets EPIPE, as it would on the server's own socket; the server is
// left as it is, for whoever judges its connection.
void Relay::refuse_more(Flow& flow) {
  flow.end = End::failed;
  flow.passed_on = true;
  give_back_pipe(flow);
  if (&flow == &this->flow(Side::program)) shutdown(flow.from.fd, SHUT_RD);
}

uint32_t Relay::wanted(Side side) const {
  const Flow& out = flow(side);
  const Flow& in = flows_[1 - static_cast<size_t>(side)];
  const bool reads = out.end == End::none && (out.gathers || out.drained());
  const bool writes = !in.gathers && !in.drained();
  return (reads ? uint32_t{EPOLLIN} : 0) | (writes ? uint32_t{EPOLLOUT} : 0);
}

void Relay::pass_on(Side side) {
  Flow& flow = this->flow(side);
  BERTH_CHECK(flow.end != End::none && flow.drained(), "what came before the end goes first");
  if (std::exchange(flow.passed_on, true)) return;
  if (flow.to.tls != nullptr) flow.to.tls->close();
  shutdown(flow.to.fd, SHUT_WR);  // fails only if that side has gone
}

Hold hold_of(int program) {
  const short events = poll_one(program, POLLRDHUP);
  if (events == 0) return Hold::open;
  return (events & (POLLHUP | POLLERR)) != 0 ? Hold::closed : Hold::half_closed;
}

bool tells_half_close(int program) {
  int family = 0;
  socklen_t length = sizeof family;
  return getsockopt(program, SOL_SOCKET, SO_DOMAIN, &family, &length) == 0 && family == AF_UNIX;
}

bool has_unread_by_peer(int program) {
  int unread = 0;
  return ioctl(program, SIOCOUTQ, &unread) == 0 && unread > 0;
}

}  // namespace berth::net
