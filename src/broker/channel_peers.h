// The two sides of what Channels carries: local clients and upstream channels, each an HTTP/2
// connection; and the calls that stand between them. Only broker/channel*.cc includes it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/limits.h"
#include "broker/access_log.h"
#include "broker/channel_recoding.h"
#include "broker/channels.h"
#include "channel/grpc_code.h"
#include "wire/grpc_health.h"
#include "wire/grpc_recoder.h"
#include "wire/http2_arena.h"
#include "wire/http2_headers.h"

namespace berth::broker {

// A connection and its place in the loop. It lives until the end of the turn in which it was over.
class Channels::Peer : public wire::Http2Connection::Events {
 public:
  Peer(Channels& channels, PoolId pool, ChannelDials::Opened opened,
       wire::Http2Connection::Role role, const wire::Http2Connection::Settings& settings);
  virtual ~Peer();
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;

  PoolId pool() const { return pool_; }
  uint64_t number() const { return number_; }
  wire::Http2Connection& http2() { return socket_.http2(); }
  const std::string& why() const { return socket_.why(); }

  // Begins to listen. false: the kernel watches no more descriptors.
  bool watch();
  void ready(uint32_t events);
  // Has it flushed at the end of the turn.
  void touch();
  void flush();
  // Nothing is read or sent any more; it goes at the end of the turn. Its streams end with it.
  void give_up();
  // It goes, and with it its place in Channels: the last call.
  virtual void depart() = 0;

 protected:
  // Once, and not from within an event of it.
  virtual void lost() = 0;
  virtual void heard() {}
  // What there was to send has been framed.
  virtual void flushed() {}

  Channels& channels_;

 private:
  void update_watch();

  const PoolId pool_;
  const uint64_t number_;
  Http2Socket socket_;
  bool watched_ = false;
  bool watches_output_ = false;
  bool to_flush_ = false;
  bool over_ = false;
};

// One local stream, and the upstream stream that carries it. It lives as long as the former.
struct Channels::Call {
  Call(Client& its_client, wire::Http2Stream& stream);

  // Of the thread's own memory, as its body: both come and go with each message.
  static void* operator new(size_t size) { return wire::Http2Arena::of_thread().allocate(size); }
  static void operator delete(void* call) { wire::Http2Arena::of_thread().release(call); }
  using Body = std::basic_string<char, std::char_traits<char>, wire::Http2Allocator<char>>;

  // Bytes of what is kept of the request.
  size_t held() const { return request.bytes() + body.size() + trailers.bytes(); }

  StreamId id;  // of the hub; not valid once that knows that it is over
  const PoolId pool;
  Client& client;
  wire::Http2Stream& from;
  Upstream* upstream = nullptr;     // that carries it, or is to
  wire::Http2Stream* to = nullptr;  // of that one; nullptr while there is none
  bool grpc = false;

  // What is kept of the request until it has a channel, and then for another attempt, as long as it
  // `keeps` it whole.
  wire::Http2Headers request;
  Body body;
  wire::Http2Headers trailers;
  bool request_ended = false;  // by its client
  bool request_whole = false;  // and what is to be sent of it is all in `body`, or sent
  bool keeps = true;
  uint64_t attempt_sent = 0;  // bytes of the body, to this channel
  uint64_t credited = 0;      // and those that the client was credited for, by any attempt

  std::unique_ptr<Recoding> recoding;  // if something is compressed or decompressed

  bool response_begun = false;
  bool response_ended = false;

  std::unique_ptr<AccessRecord> record;  // nothing: no line is to be written of it
};

class Channels::Client final : public Peer {
 public:
  Client(Channels& channels, ConnectionId id, PoolId pool, AccessRecord::Client program,
         UniqueFd end, const wire::Http2Connection::Settings& settings);

  AccessRecord::Client program() const { return program_; }
  void depart() override;
  // What is held of the messages of its calls.
  wire::GrpcHold& request_hold() { return request_hold_; }
  wire::GrpcHold& answer_hold() { return answer_hold_; }
  // Goes on with the call's answer once there is room in the hold; unless forget() comes first.
  void decode_later(Call& call);
  // Has workers decode messages of its answers, as many as may be at a time: whether there may be
  // one more, which is begun; else it is begun once one of them is done.
  bool may_decode(Call& call);
  void decoded();
  void forget(Call& call);
  // Bytes of its calls that wait, for it or for a server. Takes as long as it has calls.
  size_t held() { return http2().held() + recoding_bytes_; }
  // Those of them that are held to be recoded are so many more.
  void recodes(size_t more) { recoding_bytes_ += more; }

  void headers(wire::Http2Stream& stream, wire::Http2Headers&& headers, wire::Http2Kind kind,
               bool end) override;
  void too_large(wire::Http2Stream& stream) override;
  void data(wire::Http2Stream& stream, std::string_view bytes, bool end) override;
  void sent(wire::Http2Stream& stream, size_t bytes) override;
  void closed(wire::Http2Stream& stream, uint32_t error, bool unseen) override;
  void settings(uint32_t) override {}
  void goaway(int32_t, uint32_t, std::string_view) override {}
  void pong(uint64_t) override {}

 private:
  void lost() override;
  void flushed() override;

  const ConnectionId id_;
  const AccessRecord::Client program_;
  wire::GrpcHold request_hold_{kMaxHeldMessageBytes};
  wire::GrpcHold answer_hold_{kMaxHeldMessageBytes};
  std::vector<Call*> to_decode_;
  std::deque<Call*> await_workers_;
  int decoding_ = 0;
  size_t recoding_bytes_ = 0;
};

class Channels::Upstream final : public Peer {
 public:
  Upstream(Channels& channels, ConnectionId id, PoolId pool, std::string authority,
           ChannelDials::Opened opened, const Program& program);

  ConnectionId id() const { return id_; }
  const std::string& authority() const { return authority_; }
  void depart() override;
  // The policy wants it closed, which close() does at the end of the turn; `why` goes to the calls
  // that it still carries.
  void expect_close(std::string why);
  void close();
  // In words, with its address.
  std::string why_lost() const;
  // Opens a stream for the call as soon as the server allows one more.
  void open_later(StreamId call) { later_.push_back(call); }
  bool is_lost() const { return stage_ == Stage::lost; }

  void headers(wire::Http2Stream& stream, wire::Http2Headers&& headers, wire::Http2Kind kind,
               bool end) override;
  void too_large(wire::Http2Stream&) override {}
  void data(wire::Http2Stream& stream, std::string_view bytes, bool end) override;
  void sent(wire::Http2Stream& stream, size_t bytes) override;
  void closed(wire::Http2Stream& stream, uint32_t error, bool unseen) override;
  void settings(uint32_t max_concurrent_streams) override;
  void goaway(int32_t last, uint32_t error, std::string_view debug) override;
  void pong(uint64_t payload) override;

 private:
  // connected: its SETTINGS have come. closing: the hub knows of its end. lost: there is no socket
  // any more.
  enum class Stage : uint8_t { connecting, connected, closing, lost };

  void lost() override;
  void heard() override;
  void flushed() override;
  void watch_health();
  void told_of_health(std::string_view bytes);
  void health_ended(std::optional<channel::GrpcCode> status);

  const ConnectionId id_;
  const std::string authority_;
  const std::string_view scheme_;
  // Of who watches its server's health.
  wire::Http2Stream* health_stream_ = nullptr;
  std::optional<wire::GrpcHealth> health_;
  std::optional<channel::GrpcCode> health_status_;  // with which the watching ended
  loop::Timer health_timer_;                        // until it is tried again
  Stage stage_ = Stage::connecting;
  std::string why_closed_;  // by the policy
  std::vector<StreamId> later_;
};

}  // namespace berth::broker
