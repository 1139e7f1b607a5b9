// The state of a pooled socket, as lessees may have changed it.
//
// Loop thread; borrows the fd. Never relies on O_NONBLOCK, which belongs to the open file
// description and so to every holder. Sources: tcp(7), unix(7), recv(2), and the kernel's
// net/ipv4/tcp.c and net/unix/af_unix.c.
#pragma once

#include "net/address.h"
#include "net/layer.h"

namespace berth::net {

// Every grant is a blocking socket: also clears O_ASYNC (no stray SIGIO).
void make_blocking(int fd);

enum class Peek {
  clean,     // open, and nothing to read
  has_data,  // at least one unread byte
  closed,    // end of stream, or an error
};

// Whether an idle connection may be granted. It reads one byte rather than peeking for it,
// because a lessee's SO_PEEK_OFF blinds MSG_PEEK (Unix sockets, and TCP from Linux 6.9). So a
// byte that it finds is consumed, and the connection can only be closed. For one that may hold a
// greeting, ask still_open().
// Under kernel TLS a record that is no data (an alert, a close_notify, a handshake's) makes it
// closed, and a part of a record is data.
Peek peek(int fd, Layer layer = Layer::none);

// Whether a fresh connection, which may hold a greeting, is open both ways and without error.
bool still_open(int fd);

// Whether there are bytes to read; under kernel TLS, bytes of records. Consumes none.
bool has_unread(int fd);

// Whether a TCP socket has that layer on it (TCP_ULP), and no other.
bool has_layer(int fd, Layer layer);

struct Released {
  enum Verdict {
    clean,
    unsent,  // the lessee's last bytes are still to be sent: ask again later
    dirty,   // close it; a read byte may have been consumed
  };
  Verdict verdict;
  const char* why;  // in words, for log and events; "" if clean
};

// How the socket's peer is known to be the one dialled. See inspect_released().
enum class PeerProof { compare, pinned };

// Once per lease, when it comes back. What covers what:
//
//   recv of 1 byte   unread data (SO_PEEK_OFF and SO_RCVLOWAT do not matter to it), end of
//                    stream, the lessee's shutdown(SHUT_RD), a pending error, listening
//   send of 0 bytes  the lessee's shutdown(SHUT_WR), a reset, listening, still connecting; what
//                    it lets pass is ESTABLISHED
//   SIOCOUTQNSD      bytes not sent yet (corked, or the peer does not read)
//   getpeername      connected elsewhere. Left out with PeerProof::pinned: a pinned socket that is
//                    ESTABLISHED is so with its peer
//
// 560 ns for a pinned TCP socket, 780 ns with getpeername, 320 ns for AF_UNIX. TCP_INFO could stand
// for the send and SIOCOUTQNSD, but costs more than both. A layer that the lessee put on the socket
// (TCP_ULP) is found by restore_options(), before another session could get it.
// A reconnect to the same peer passes: it is the protocol's login and check that notice it.
// AF_UNIX needs the first two only: a connected Unix stream socket can neither be reconnected
// (EISCONN) nor listen (EINVAL), its bytes are the peer's at once, and its peer's name need not
// be the path that was dialled.
//
// Under kernel TLS:
//
//   recv, FIONREAD   as peek() does
//   TCP_INFO         ESTABLISHED. A send of 0 bytes tells nothing there, not even of SHUT_WR
//   POLLOUT          no room: records that are still to be sent do not all show in SIOCOUTQNSD
//   SIOCOUTQNSD, getpeername   as above, although the kernel lets nobody connect it elsewhere
//
// Nothing is sent, because that would wait for a former holder who is within a send(2): see
// send_close_notify(). So what was held back with MSG_MORE does not show; it goes out before the
// next holder's bytes, as half a request does that a holder has sent.
Released inspect_released(int fd, const SocketAddress& peer, PeerProof proof = PeerProof::compare,
                          Layer layer = Layer::none);

}  // namespace berth::net
