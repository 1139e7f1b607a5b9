// Http2Connection: one HTTP/2 connection over memory, either side of it (RFC 9113). Bytes of the
// socket go in and come out; it sees neither a socket nor a clock. Loop thread only.
//
// What is to be sent is gathered until fill(), once in a turn of the loop. Flow control is the
// driver's: what data() brought counts against the peer until consume(), and what send_data() could
// not send waits, without a bound of its own: the driver goes by queued().
//
// Messages are checked as RFC 9113, section 8 demands, and a malformed one ends its stream. Less is
// demanded in two things: blanks around a value, which servers of gRPC send in `grpc-message`, are
// taken away (section 8.2.1); and of requests, `:authority` may be anything that a field value may
// be, or missing (sections 8.3.1 and 8.2.1), since clients of Unix sockets put paths there.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "wire/http2_error.h"
#include "wire/http2_headers.h"

namespace berth::wire {

// One stream. It belongs to its connection, and is valid until Events::closed() returns.
struct Http2Stream {
  int32_t id = 0;
  void* owner = nullptr;  // the driver's
};

enum class Http2Kind { request, response, informational, trailers };

class Http2Connection {
 public:
  enum class Role { client, server };

  struct Settings {
    // Streams at a time: that the peer may open (server), or that are opened (client), even if the
    // peer allowed more.
    uint32_t max_concurrent_streams = 1000;
    // Bytes that a peer may send ahead of consume(): of one stream, and of all.
    uint32_t stream_window = 256 * 1024;
    uint32_t connection_window = 1 << 30;
    // Of one header block, as Http2Headers::bytes() counts; no more is kept of a longer one.
    size_t max_header_bytes = 64 * 1024;
  };

  // What happens. Called from within feed(), fill() and end() alone, which must not be called of
  // the same connection meanwhile, nor may it be destroyed; all else may be called of it, and
  // everything of other connections.
  class Events {
   public:
    // `end`: the peer sends no more on this stream; data() will not come. Informational ones and
    // their response are told apart, trailers have `end`.
    virtual void headers(Http2Stream& stream, Http2Headers&& headers, Http2Kind kind, bool end) = 0;
    // Server: a request whose headers are longer than max_header_bytes. It is answered with status
    // 431 (RFC 6585, section 5) unless this answers it with respond() or reset(). Nothing of it
    // follows but closed().
    virtual void too_large(Http2Stream& stream) = 0;
    // `bytes` are valid during the call, and may be none if `end`.
    virtual void data(Http2Stream& stream, std::string_view bytes, bool end) = 0;
    // So many bytes have left the queue of the stream for the output: now the other side of what is
    // carried may be credited.
    virtual void sent(Http2Stream& stream, size_t bytes) = 0;
    // The last of a stream, and exactly once for each that headers() or too_large() or open() gave.
    // `error`: kHttp2NoError if both sides ended, or it was reset so. `unseen`: the server has
    // certainly not acted on it, so that it may be tried again (RFC 9113, section 8.7): refused,
    // beyond the last stream of a GOAWAY, or never sent.
    virtual void closed(Http2Stream& stream, uint32_t error, bool unseen) = 0;
    // The peer's SETTINGS: how many streams it allows now.
    virtual void settings(uint32_t max_concurrent_streams) = 0;
    // The peer's GOAWAY: it takes no streams beyond `last`, and open() opens none any more.
    virtual void goaway(int32_t last, uint32_t error, std::string_view debug) = 0;
    virtual void pong(uint64_t payload) = 0;

   protected:
    ~Events() = default;
  };

  // `events` outlives it. What opens the connection is ready for fill().
  Http2Connection(Role role, const Settings& settings, Events& events);
  ~Http2Connection();  // without events
  Http2Connection(const Http2Connection&) = delete;
  Http2Connection& operator=(const Http2Connection&) = delete;

  // --- bytes of the socket ---
  // Takes all. false: the peer broke a rule of the connection or is a flood, why() says which; all
  // streams have been closed, and once the output (a GOAWAY) is sent, it is done().
  bool feed(std::string_view bytes);
  const std::string& why() const;
  // The socket has ended or failed: closes all streams with that error; nothing is sent any more.
  void end(uint32_t error);

  // Frames what may go now, until kMaxHttp2OutputBytes wait.
  void fill();
  // What is to be sent. Valid until fill(), sent() or end().
  std::span<const iovec> to_send() const;
  size_t to_send_bytes() const;
  void sent(size_t size);
  // Whether fill() has something to do, or to_send() is not empty.
  bool wants_to_send() const;
  // The connection is over: nothing is read, and all is sent. The socket may be closed.
  bool done() const;

  // --- streams ---
  // Client: a request. nullptr, and `headers` are left as they are, while no stream may be opened
  // (can_open()).
  Http2Stream* open(Http2Headers&& headers, bool end, void* owner);
  // Whether open() would open one: not beyond the limits of either side, nor after a GOAWAY or the
  // end, nor once the ids of streams are used up; the last two are final (is_closing()).
  bool can_open() const;
  bool is_closing() const;
  // Client: how many more streams could be opened now, by the limits alone.
  uint32_t room() const;
  size_t open_streams() const;

  // Server: an informational response, and once, the response.
  void inform(Http2Stream& stream, Http2Headers&& headers);
  void respond(Http2Stream& stream, Http2Headers&& headers, bool end);
  // Copies `bytes`. After `end`, nor after send_trailers(), nothing may be sent on the stream.
  void send_data(Http2Stream& stream, std::string_view bytes, bool end);
  // Behind what is queued, and the end.
  void send_trailers(Http2Stream& stream, Http2Headers&& trailers);
  // Drops what is queued. Nothing of the stream follows but closed(); what is sent on it after
  // this, or after the peer's own reset, is ignored.
  void reset(Http2Stream& stream, uint32_t error);
  // Lets the peer send as much again as that of what data() brought.
  void consume(Http2Stream& stream, size_t bytes);
  // Bytes given to send_data() that sent() has not told of.
  size_t queued(const Http2Stream& stream) const;
  // Bytes of all streams that wait: to be sent, and what data() brought for consume(). Takes as
  // long as there are streams.
  size_t held() const;

  // --- the connection ---
  void ping(uint64_t payload);
  // Server: no new streams from now on, but none that is on its way is lost (RFC 9113, section
  // 6.8): says so, and means it a round trip later. Client: open() opens none any more. Either is
  // done() when the last stream is.
  void close_gracefully();
  // At once: all streams are closed when fill() has sent it.
  void close(uint32_t error, std::string_view debug);
  // Once a second while bytes come: makes good for frames that ask for work and carry nothing.
  void tick();
  // Bytes that the connection and its streams take, but for bodies and what is sent.
  size_t memory() const;

 private:
  class State;
  std::unique_ptr<State> state_;
};

}  // namespace berth::wire
