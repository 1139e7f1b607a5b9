// Channels: carries the streams of local HTTP/2 clients over the channels of their pools.
//
// Loop thread only. Owns the policy of the channel pools (channel/hub.h), every channel's socket
// and each local client's end. Each call passes events to the hub and carries out its actions
// before it returns; what is to be sent goes at the end of the turn.
#pragma once

#include <absl/container/flat_hash_map.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/compression.h"
#include "base/ids.h"
#include "base/unique_fd.h"
#include "broker/access_log.h"
#include "broker/channel_dials.h"
#include "broker/http2_socket.h"
#include "broker/long_messages.h"
#include "channel/hub.h"
#include "loop/loop.h"
#include "loop/timer.h"
#include "loop/watch_set.h"
#include "pool/policy.h"

namespace berth::broker {

class Channels {
 public:
  // Told once for each client that begin() was called for, unless end() came first, and never from
  // within begin(): nobody holds the other end any more, or it is of no more use.
  using Gone = std::function<void(ConnectionId)>;
  // Borrows `resolver`.
  Channels(loop::Loop& loop, Resolver& resolver, ChannelDials::Slots slots, Gone gone,
           uint64_t seed, bool pin);
  ~Channels();

  // --- pools; nothing comes of an id that is not of a channel pool ---
  void add_pool(PoolId id, const pool::PoolPolicy& policy);
  void reconfigure_pool(PoolId id, const pool::PoolPolicy& policy);
  void remove_pool(PoolId id);
  std::optional<size_t> renew(PoolId id);  // as evict()
  void set_intake(PoolId id, pool::Intake intake);
  // Nothing: it is no channel pool.
  std::optional<size_t> evict(PoolId id, size_t most);
  std::vector<channel::Hub::Expired> expire();

  // --- local clients ---
  // Takes over the end of a client's socket that is ours; `program` holds the other. The slot of
  // the fd budget is the caller's.
  void begin(ConnectionId client, PoolId pool, AccessRecord::Client program, UniqueFd end);
  // Closes it. No effect if there is none.
  void end(ConnectionId client);

  // Of all calls together: what waits for a reader or a server. Beyond it the client that has most
  // of it is dropped, until it is kept.
  void set_most_held(size_t bytes) { most_held_ = bytes; }

  // No new calls: clients are told, those that wait end, and the rest may come to their end.
  void shut_down();
  // After shut_down: no channel is left.
  bool drained() const { return hub_.drained(); }

  // To be called at the end of each turn: sends what is to be sent, and closes what is over.
  void end_turn();

  // What happened since the last call; see Hub.
  void take_events(std::vector<pool::Event>& out) { hub_.take_events(out); }
  void listen(bool on) { hub_.listen(on); }

  const channel::Hub& hub() const { return hub_; }

 private:
  class Peer;
  class Client;
  class Upstream;
  struct Call;
  struct Recoding;

  void pump();
  void carry_out(const channel::Assign& action);
  void carry_out(const channel::End& action);
  void carry_out(const channel::Resolve& action);
  void carry_out(const channel::Dial& action);
  void carry_out(const channel::Ping& action);
  void carry_out(const channel::Close& action);

  void opened(ConnectionId id, absl::StatusOr<ChannelDials::Opened> result);
  void ready(uint64_t number, uint32_t events);
  void close_some();
  void end_those_over();
  void drop_who_holds_most();
  void forget_removed();

  // channel_calls.cc
  void begin_call(Client& client, wire::Http2Stream& from, wire::Http2Headers&& request, bool end);
  void end_call(Call& call);
  void write_line(const Call& call);
  void shorten_timeout(wire::Http2Headers& request, TimePoint until) const;
  void send_request(Call& call, Upstream& upstream);
  void more_request(Call& call, std::string_view bytes, bool end);
  void pass_request(Call& call, std::string_view bytes, bool end);
  void request_trailers(Call& call, wire::Http2Headers&& trailers);
  static void pass_trailers(Call& call, wire::Http2Headers&& trailers);
  void request_sent(Call& call, size_t bytes);
  void response(Call& call, wire::Http2Headers&& headers, bool end);
  void answer(Call& call, channel::GrpcCode code, std::string_view text);
  static void stop_request(Call& call);
  void client_closed(Call& call);
  void upstream_closed(Call& call, uint32_t error, bool unseen);
  bool retry(Call& call, channel::Failure failure);
  static void leave_upstream(Call& call);
  void finish(Call& call);
  Call* find_call(StreamId id) const;

  // channel_recoding.cc
  void begin_recoding(Call& call);
  void stop_recoding(Call& call);
  static bool encodes_request(const Call& call);
  void encode_request(Call& call, std::string_view bytes);
  void feed_request(Call& call, std::string_view bytes);
  void request_worked(Call& call);
  static void credit_request(Call& call);
  void count_held(Call& call);
  static bool decodes_answer(const Call& call);
  static void begin_answer(Call& call, wire::Http2Headers& headers);
  void more_answer(Call& call, std::string_view bytes, bool end);
  void answer_trailers(Call& call, wire::Http2Headers&& trailers);
  void drop_request_rest(Call& call);
  void decode_answer(Call& call);
  void begin_decoding(Call& call);
  void answer_worked(Call& call);
  void end_answer(Call& call);
  void answer_failed(Call& call, const absl::Status& status);
  void recoding_failed(Call& call, std::string_view what, const absl::Status& status);

  struct Program {
    PoolId pool;
    std::string_view scheme;
    bool watches_health = false;
    std::vector<std::string> authorities;  // of the endpoints
    size_t retry_buffer = 0;
    Compression compression = Compression::none;
    bool logs_calls = false;
    wire::Http2Connection::Settings local;
    wire::Http2Connection::Settings upstream;
  };
  const Program& program_of(PoolId id) const { return *programs_.at(id); }
  void compile(PoolId id, const pool::PoolPolicy& policy);

  loop::Loop& loop_;
  Gone gone_;
  channel::Hub hub_;
  channel::Actions actions_;
  bool pumping_ = false;
  ChannelDials dials_;
  LongMessages long_messages_;
  absl::flat_hash_map<PoolId, std::shared_ptr<const Program>> programs_;
  absl::flat_hash_map<ConnectionId, std::unique_ptr<Client>> clients_;
  absl::flat_hash_map<ConnectionId, std::unique_ptr<Upstream>> upstreams_;  // by channel
  absl::flat_hash_map<uint64_t, Peer*> peers_;  // both, by the numbers of their watches
  bool some_compress_ = false;                  // a pool does, or did
  uint64_t numbers_ = 0;
  size_t most_held_ = SIZE_MAX;
  size_t recoding_bytes_ = 0;  // that are held to be recoded
  std::vector<uint64_t> to_flush_;
  std::vector<uint64_t> over_;
  std::vector<ConnectionId> closing_;  // channels, at the end of the turn
  std::vector<PoolId> removed_;        // and not forgotten yet
  std::vector<Call*> calls_;           // by the index of their streams' ids
  std::unique_ptr<Http2Socket::Scratch> scratch_ = std::make_unique<Http2Socket::Scratch>();
  loop::WatchSet watch_;
  loop::Timer timer_;
};

}  // namespace berth::broker
