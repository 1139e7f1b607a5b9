// Session I/O: one SOCK_SEQPACKET message is one frame with its descriptors.
//
// Loop thread; borrows every fd. Never blocks, never raises SIGPIPE.
// Sources: unix(7), sendmsg(2), recvmsg(2), cmsg(3).
#pragma once

#include <sys/socket.h>

#include <array>
#include <cstddef>
#include <memory>
#include <span>
#include <string_view>

#include "base/limits.h"

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
// that before it could read the last frame.
void send_last_frame(int fd, std::string_view frame);

struct Received {
  enum Kind {
    frame,
    closed,     // end of the session; nothing follows
    too_large,  // a frame of `size` bytes that does not fit; it is consumed
    has_fds,    // descriptors came with it, which no client may send; none was taken in
  } kind;
  size_t size;
  std::string_view bytes;  // of a frame
};

// Reads frames, up to kMaxFramesPerTurn by one system call: one session after another may use it.
class FrameReader {
 public:
  FrameReader();
  FrameReader(const FrameReader&) = delete;

  // What is there, in order; empty if nothing is. Valid until the next call.
  //
  // An empty message and the end of a session both read as 0 (Linux sets no MSG_EOR here): an empty
  // frame is reported as one while the session is still open, and as `closed` after its end.
  std::span<const Received> read(int fd);

 private:
  struct Buffer {
    char bytes[kMaxFrameBytes];
  };

  std::unique_ptr<Buffer[]> buffers_;  // pages that no frame reaches cost nothing
  std::array<iovec, kMaxFramesPerTurn> parts_{};
  std::array<mmsghdr, kMaxFramesPerTurn> messages_{};
  std::array<Received, kMaxFramesPerTurn> received_{};
};

}  // namespace berth::net
