// Relay: carries bytes both ways between a program and its server, over two stream sockets.
//
// Loop thread; borrows both, and may set their flag O_NONBLOCK. Never waits, never raises SIGPIPE.
// What one side cannot take yet is kept, at most kMaxRelayedBytes each way, and the other
// side is not read meanwhile: so either is held up as if the other were at the end of its socket.
//
// Bulk goes through a pipe instead, in which the kernel passes pages on without copying them: it
// halves what a byte costs. Ignore SIGPIPE, which splice(2) cannot be told to spare. Bulk out of
// TLS is gathered, up to kGatheredBytes, as long as there is more at hand: to wake the program for
// each piece costs a tenth of what it costs to decrypt it.
// Sources: recv(2), send(2), splice(2), shutdown(2), poll(2), unix(7), tcp(7).
#pragma once

#include <sys/types.h>

#include <array>
#include <cstdint>
#include <memory>
#include <span>

#include "base/limits.h"
#include "base/unique_fd.h"
#include "net/tls_stream.h"

namespace berth::net {

// What is spliced in one turn: so much costs about as much as copying kMaxRelayedBytes.
inline constexpr size_t kPipeBytes = 128 * 1024;

inline constexpr size_t kGatheredBytes = 3 * kMaxRelayedBytes;

struct Pipe {
  UniqueFd out;
  UniqueFd in;

  static constexpr uint32_t kDescriptors = 2;
};

// Where relays borrow pipes, for as long as there is bulk.
class PipeLender {
 public:
  // Nonblocking; not valid if there is none to be had.
  virtual Pipe borrow() = 0;
  virtual void give_back(Pipe pipe) = 0;  // whatever is in it

 protected:
  ~PipeLender() = default;
};

class Relay {
 public:
  enum class Side : uint8_t { program, server };
  // Read into by one relay after another.
  using Scratch = std::array<char, kMaxRelayedBytes>;

  // Borrows `lender`; nullptr: bulk is copied too, as it has to be through TLS.
  Relay(int program, Stream server, PipeLender* lender = nullptr)
      : lender_(server.tls == nullptr ? lender : nullptr),
        flows_{Flow{{program}, server}, Flow{server, {program}}} {}
  ~Relay();
  Relay(const Relay&) = delete;
  Relay& operator=(const Relay&) = delete;

  // Reads once from a side, if what it has said before is sent on or gathered, and sends it on as
  // far as the other side takes it. Returns whether there was something.
  bool move(Side from, Scratch& scratch);

  // What to wait for on a side: epoll events (epoll_ctl(2)); 0: nothing.
  uint32_t wanted(Side side) const;

  // Nothing more is carried from this side: its end of stream was read, or one of the two has
  // failed.
  bool ended(Side side) const { return flow(side).end != End::none; }
  bool failed(Side side) const { return flow(side).end == End::failed; }
  // What had come from this side has all been sent on.
  bool drained(Side side) const { return flow(side).drained(); }
  // The other side takes nothing more of this one: it was told of the end, or has failed.
  bool passed_on(Side side) const { return flow(side).passed_on; }
  // Tells the other side, by a half-close, that this one has ended. Requires: it has, and is
  // drained.
  void pass_on(Side side);

  // Bytes that were sent on.
  uint64_t carried(Side from) const { return flow(from).carried; }
  // Whether it has a pipe for what comes from this side.
  bool splices(Side from) const { return flow(from).pipe.in.valid(); }

 private:
  enum class End : uint8_t { none, stream, failed };
  // Bytes that are still to be sent.
  struct Kept {
    std::unique_ptr<char[]> bytes;
    size_t begin = 0;
    size_t end = 0;
    bool empty() const { return begin == end; }
  };
  struct Flow {
    Stream from;
    Stream to;
    End end = End::none;
    bool passed_on = false;
    Kept kept = {};
    bool gathers = false;  // more, before that is sent
    uint64_t carried = 0;
    int full_reads = 0;  // in a row
    Pipe pipe = {};
    size_t in_pipe = 0;

    bool drained() const {
      return kept.empty() && in_pipe == 0 && (to.tls == nullptr || !to.tls->keeps());
    }
  };

  const Flow& flow(Side from) const { return flows_[static_cast<size_t>(from)]; }
  Flow& flow(Side from) { return flows_[static_cast<size_t>(from)]; }
  static ssize_t read_some(const Stream& from, Scratch& scratch);
  static ssize_t write_some(const Stream& to, std::span<const char> bytes);
  bool send_kept(Flow& flow);
  void send_on(Flow& flow, std::span<const char> bytes);
  size_t send_some(Flow& flow, std::span<const char> bytes);
  void refuse_more(Flow& flow);
  static void note_end(Flow& flow, ssize_t result);
  void note_read(Flow& flow, bool full);
  bool gather(Flow& flow);
  void borrow_pipe(Flow& flow);
  bool fill_pipe(Flow& flow);
  bool empty_pipe(Flow& flow);
  void give_back_pipe(Flow& flow);

  PipeLender* lender_;
  std::array<Flow, 2> flows_;  // by the side that they come from
};

// How a program's end of a carried lease is.
enum class Hold : uint8_t {
  open,
  half_closed,  // it has said its last; it may still read
  closed,       // nobody holds it any more, or who does can neither read nor write
};

// Of a TCP socket, where the two look alike, half_closed may be closed.
Hold hold_of(int program);
// Whether they can be told apart: of a Unix socket.
bool tells_half_close(int program);
// Whether it has still to read bytes that were sent to it. Of TCP, that it has to acknowledge.
bool has_unread_by_peer(int program);

}  // namespace berth::net
