#include "net/socket_state.h"

#include <fcntl.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cerrno>

#include "net/direct_calls.h"

namespace berth::net {
namespace {

constexpr Released kClean{Released::clean, ""};

Released dirty(const char* why) {
  return {Released::dirty, why};
}

Released after_read(Peek peek) {
  if (peek == Peek::has_data) return dirty("unread data");
  return dirty("closed by the server, or by its holder for reading");
}

// Under a layer such as TLS this would send an empty record; but then the connection is dirty
// whatever it does.
bool can_send(int fd) {
  return direct::send(fd, "", 0, MSG_DONTWAIT | MSG_NOSIGNAL) == 0;
}

// Connected to `peer`; whether a pin has shown it already or getpeername(2) has to.
bool has_peer(int fd, const SocketAddress& peer, PeerProof proof) {
  return proof == PeerProof::pinned || peer_address(fd) == peer;
}

Released inspect_tcp(int fd, const SocketAddress& peer, PeerProof proof) {
  if (!has_peer(fd, peer, proof)) return dirty("its holder connected it elsewhere");
  int unsent = 0;
  if (ioctl(fd, SIOCOUTQNSD, &unsent) != 0) return dirty("not connected");
  if (unsent > 0) return {Released::unsent, "the server does not read what its holder sent"};
  return kClean;
}

}  // namespace

void make_blocking(int fd) {
  fcntl(fd, F_SETFL, O_RDWR);
}

Peek peek(int fd) {
  char byte;
  const ssize_t got = direct::recv(fd, &byte, 1, MSG_DONTWAIT);
  if (got > 0) return Peek::has_data;
  return got < 0 && (errno == EAGAIN || errno == EINTR) ? Peek::clean : Peek::closed;
}

bool still_open(int fd) {
  pollfd watch{fd, POLLRDHUP, 0};
  return poll(&watch, 1, 0) == 0;
}

bool has_unread(int fd) {
  int unread = 0;
  return ioctl(fd, FIONREAD, &unread) == 0 && unread > 0;
}

bool has_upper_layer(int fd) {
  char name[16];
  socklen_t length = sizeof name;
  return getsockopt(fd, IPPROTO_TCP, TCP_ULP, name, &length) != 0 || length != 0;
}

Released inspect_released(int fd, const SocketAddress& peer, PeerProof proof) {
  if (const Peek state = peek(fd); state != Peek::clean) return after_read(state);
  if (!can_send(fd)) return dirty("closed by its holder for writing, or not connected");
  return peer.is_tcp() ? inspect_tcp(fd, peer, proof) : kClean;
}

}  // namespace berth::net
