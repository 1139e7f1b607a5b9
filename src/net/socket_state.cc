#include "net/socket_state.h"

#include <fcntl.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <string_view>

#include "base/poll_one.h"
#include "net/direct_calls.h"

namespace berth::net {
namespace {

constexpr Released kClean{Released::clean, ""};
constexpr Released kUnsent{Released::unsent, "the server does not read what its holder sent"};
constexpr uint8_t kEstablished = 1;  // net/tcp_states.h
constexpr const char* kClosedForWriting = "closed by its holder for writing, or not connected";

Released dirty(const char* why) {
  return {Released::dirty, why};
}

Released after_read(Peek peek) {
  if (peek == Peek::has_data) return dirty("unread data");
  return dirty("closed by the server, or by its holder for reading");
}

bool can_send(int fd) {
  return direct::send(fd, "", 0, MSG_DONTWAIT | MSG_NOSIGNAL) == 0;
}

// Connected to `peer`; whether a pin has shown it already or getpeername(2) has to.
bool has_peer(int fd, const SocketAddress& peer, PeerProof proof) {
  return proof == PeerProof::pinned || peer_address(fd) == peer;
}

bool is_established(int fd) {
  tcp_info info{};
  socklen_t length = sizeof info;
  return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) == 0 &&
         info.tcpi_state == kEstablished;
}

bool has_room(int fd) {
  return (poll_one(fd, POLLOUT) & POLLOUT) != 0;
}

Released inspect_tcp(int fd, const SocketAddress& peer, PeerProof proof) {
  if (!has_peer(fd, peer, proof)) return dirty("its holder connected it elsewhere");
  int unsent = 0;
  if (ioctl(fd, SIOCOUTQNSD, &unsent) != 0) return dirty("not connected");
  if (unsent > 0) return kUnsent;
  return kClean;
}

Released inspect_kernel_tls(int fd, const SocketAddress& peer, PeerProof proof) {
  if (!is_established(fd)) return dirty(kClosedForWriting);
  const Released left = inspect_tcp(fd, peer, proof);
  return left.verdict == Released::clean && !has_room(fd) ? kUnsent : left;
}

}  // namespace

void make_blocking(int fd) {
  fcntl(fd, F_SETFL, O_RDWR);
}

Peek peek(int fd, Layer layer) {
  char byte;
  const ssize_t got = direct::recv(fd, &byte, 1, MSG_DONTWAIT);
  if (got > 0) return Peek::has_data;
  if (got == 0 || (errno != EAGAIN && errno != EINTR)) return Peek::closed;
  return layer == Layer::kernel_tls && has_unread(fd) ? Peek::has_data : Peek::clean;
}

bool still_open(int fd) {
  return poll_one(fd, POLLRDHUP) == 0;
}

bool has_unread(int fd) {
  int unread = 0;
  return ioctl(fd, FIONREAD, &unread) == 0 && unread > 0;
}

bool has_layer(int fd, Layer layer) {
  char name[16] = "";
  socklen_t length = sizeof name;
  if (getsockopt(fd, IPPROTO_TCP, TCP_ULP, name, &length) != 0) return false;
  if (layer == Layer::none) return length == 0;
  return std::string_view(name, strnlen(name, sizeof name)) == "tls";
}

Released inspect_released(int fd, const SocketAddress& peer, PeerProof proof, Layer layer) {
  if (const Peek state = peek(fd, layer); state != Peek::clean) return after_read(state);
  if (layer == Layer::kernel_tls) return inspect_kernel_tls(fd, peer, proof);
  if (!can_send(fd)) return dirty(kClosedForWriting);
  return peer.is_tcp() ? inspect_tcp(fd, peer, proof) : kClean;
}

}  // namespace berth::net
