// Session I/O: one SOCK_SEQPACKET message is one frame with its descriptors.
//
// Loop thread; borrows every fd. Never blocks, never raises SIGPIPE.
// Sources: unix(7), sendmsg(2), recvmsg(2), cmsg(3).
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

namespace berth::net {

enum class Sent {
  sent,
  would_block,    // the client does not read, or the kernel is short of memory: later
  too_many_refs,  // too many fds of this user are in flight (ETOOMANYREFS): later
  gone,           // the session has ended, or can take no frame of this size
};

// At most kMaxBatch descriptors, which stay the caller's. All or nothing: a SEQPACKET message is
// never sent in part.
Sent send_frame(int fd, std::string_view frame, std::span<const int> fds);

// Sends the frame behind which the sender closes the session, and throws away what the client has
// sent meanwhile: closing over unread frames would reset the connection, and the client would meet
// that before it could read the last frame. `scratch` holds the frames thrown away.
void send_last_frame(int fd, std::string_view frame, std::span<char> scratch);

struct Received {
  enum Kind {
    frame,        // `size` bytes of `buffer`
    would_block,  // nothing there
    closed,       // end of the session
    too_large,    // a frame of `size` bytes that does not fit; it is consumed
    has_fds,      // descriptors came with it, which no client may send; none was taken in
  } kind;
  size_t size;
};

// An empty message and the end of a session both read as 0 (Linux sets no MSG_EOR here): an empty
// frame is reported as one while the session is still open, and as `closed` after its end.
Received receive_frame(int fd, std::span<char> buffer);

}  // namespace berth::net
