// Pool: the policy of one key's channels: which streams they carry, when they are dialled, replaced
// and closed.
//
// Pure: events in, actions out, `now` a parameter. Hub owns it and finds it; hub.h says what each
// event is. The gates are move_to(): one for channels, one for streams.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/random.h"
#include "base/slab.h"
#include "channel/actions.h"
#include "channel/balancer.h"
#include "channel/place.h"
#include "channel/policy.h"
#include "channel/records.h"
#include "channel/subchannel.h"
#include "pool/deadlines.h"
#include "pool/intake.h"
#include "pool/journal.h"

namespace berth::channel {

// What all pools of a hub share. Owned by the hub.
struct Shared {
  explicit Shared(uint64_t seed) : random(seed) {}

  Random random;
  pool::Deadlines deadlines;
  Slab<ConnectionId, Channel> channels;
  Slab<StreamId, Stream> streams;
  pool::Journal journal;
  bool stopping = false;
};

// Since the pool was made. Each stream that has begun is open, ended or refused.
struct StreamCounters {
  uint64_t begun = 0;
  uint64_t ended = 0;    // by end_stream
  uint64_t refused = 0;  // by End
  uint64_t failed = 0;   // upstream: each time
  uint64_t retried = 0;  // of those, for ChannelPolicy::retry
  uint64_t unseen = 0;   // of those, since no server had seen them
};

class Pool {
 public:
  using Subchannels = std::vector<std::unique_ptr<Subchannel>>;

  // Borrows `shared`.
  Pool(PoolId id, ChannelPolicy policy, Shared& shared);
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  // --- streams (pool_streams.cc) ---
  StreamId open_stream(TimePoint now, TimePoint until, Actions& actions);
  void end_stream(TimePoint now, Stream& stream, Actions& actions);
  bool stream_failed(TimePoint now, Stream& stream, Failure failure, bool may_retry,
                     Actions& actions);
  void stream_due(TimePoint now, Stream& stream, Actions& actions);

  // --- channels (pool.cc, pool_health.cc) ---
  void connected(TimePoint now, Channel& channel, uint32_t max_streams, Actions& actions);
  void dial_failed(TimePoint now, Channel& channel, std::string_view text, Actions& actions);
  void settings(TimePoint now, Channel& channel, uint32_t max_streams, Actions& actions);
  void serving(TimePoint now, Channel& channel, bool serves, Actions& actions);
  void goaway(TimePoint now, Channel& channel, Actions& actions);
  void lost(TimePoint now, Channel& channel, std::string_view text, Actions& actions);
  void pong(TimePoint now, Channel& channel);
  void closed(TimePoint now, Channel& channel, Actions& actions);
  void channel_due(TimePoint now, Channel& channel, Actions& actions);

  // --- addresses (pool_addresses.cc) ---
  void resolved(TimePoint now, uint32_t endpoint, const std::vector<Place>& places,
                Actions& actions);
  void resolve_failed(TimePoint now, uint32_t endpoint, std::string_view text, Actions& actions);

  // --- clients, the administrator, reload (pool_admin.cc) ---
  void join(TimePoint now, Actions& actions);
  void leave(TimePoint now, Actions& actions);
  size_t renew(TimePoint now, Actions& actions);
  size_t evict(TimePoint now, size_t most, Actions& actions);
  size_t expire(TimePoint now, Actions& actions);
  void set_intake(TimePoint now, pool::Intake intake, Actions& actions);
  void reconfigure(TimePoint now, ChannelPolicy policy, Actions& actions);
  // Ends what waits, and drains the channels: removed or shutdown.
  void stop(TimePoint now, CloseReason reason, Actions& actions);
  void due(TimePoint now, Actions& actions);

  // --- what is ---
  PoolId id() const { return id_; }
  const ChannelPolicy& policy() const { return policy_; }
  pool::Intake intake() const { return intake_; }
  size_t clients() const { return clients_; }
  // Begun, and neither ended nor refused.
  size_t streams() const { return streams_; }
  // That have no channel now, those that wait for a retry too.
  size_t waiting() const {
    return list(StreamState::waiting).size() + list(StreamState::again).size() +
           list(StreamState::resting).size();
  }
  size_t count(State state) const;
  // Not closed yet: descriptors.
  size_t channels() const { return channels_; }
  const Subchannels& subchannels() const { return subchannels_; }
  const pool::Counters& counters() const { return counters_; }
  const StreamCounters& stream_counters() const { return stream_counters_; }
  // Of dials and look-ups, since a channel was last ready; "": none.
  const std::string& last_error() const { return last_error_; }
  // Of look-ups, of dials, and of channels that ended at once: of each place since it last worked.
  uint64_t failures() const;
  bool ending() const { return ending_.has_value(); }
  // Removed, and nothing is left.
  bool over() const { return ending_ == CloseReason::removed && channels_ == 0 && streams_ == 0; }
  // Every address is in backoff, is not known, or does not serve, and nothing is under way.
  bool hopeless(TimePoint now) const;
  // Of the pool itself.
  pool::Deadline& deadline() { return deadline_; }

 private:
  // One of the policy's endpoints: its look-ups.
  struct Source {
    bool asked = false;  // a Resolve has no answer yet
    TimePoint asked_at = TimePoint::min();
    TimePoint ask_at{};  // when the next is due
    pool::Backoff backoff;
    bool failed = false;  // the last one
    bool stale = false;   // asked: it was for another endpoint, before a reload
  };

  StreamList& list(StreamState state) { return by_state_[static_cast<size_t>(state)]; }
  const StreamList& list(StreamState state) const { return by_state_[static_cast<size_t>(state)]; }

  // A local client, or a stream that lacks a channel, is there: channels are to be had.
  bool wanted() const { return clients_ > 0 || waiting() > 0; }
  bool used() const { return clients_ > 0 || streams_ > 0; }
  bool may_dial() const { return !ending_ && intake_ == pool::Intake::open && wanted(); }

  // pool.cc
  void move_to(TimePoint now, Channel& channel, State state);
  void leave_open(Channel& channel);
  void note_room(Channel& channel);
  void make_ready(TimePoint now, Channel& channel, Actions& actions);
  void take_over(TimePoint now, Channel& channel, Actions& actions);
  uint32_t limit_of(uint32_t max_streams) const;
  // Takes no new streams, and closes once its last one has ended.
  void drain(TimePoint now, Channel& channel, CloseReason reason, Actions& actions);
  void drain_all(TimePoint now, Subchannel& subchannel, CloseReason reason, Actions& actions);
  void close(TimePoint now, Channel& channel, CloseReason reason, Actions& actions,
             std::string_view text = {});
  void fail_dial(TimePoint now, Channel& channel, std::string_view text);
  void forget(Channel& channel);
  void blame(Subchannel& subchannel, std::string_view text);

  // pool_health.cc
  void watch(TimePoint now, Channel& channel);
  void watch_all(TimePoint now);
  TimePoint due_at(TimePoint now, const Channel& channel) const;
  TimePoint keepalive_at(const Channel& channel) const;
  bool keeps_alive(const Channel& channel) const;
  bool is_dead(TimePoint now, const Channel& channel) const;
  void look_after(TimePoint now, Channel& channel, Actions& actions);
  void no_answer(TimePoint now, Channel& channel);

  // pool_streams.cc
  void move_to(TimePoint now, Stream& stream, StreamState state, Channel* channel = nullptr);
  void unlink(Stream& stream);
  Channel* choose(const Stream& stream);
  void assign(TimePoint now, Stream& stream, Channel& channel, Actions& actions);
  void left(TimePoint now, Channel& channel, Actions& actions);
  void wait(TimePoint now, Stream& stream, Actions& actions);
  void await_channel(Stream& stream);
  bool retry(TimePoint now, Stream& stream, Failure failure);
  bool retry_unseen(TimePoint now, Stream& stream);
  bool retry_code(TimePoint now, Stream& stream, GrpcCode code);
  void end(TimePoint now, Stream& stream, GrpcCode code, std::string text, Actions& actions);
  // UNAVAILABLE.
  void end_all(TimePoint now, std::initializer_list<StreamState> states, const std::string& text,
               Actions& actions);
  void forget(TimePoint now, Stream& stream);
  void serve(TimePoint now, Actions& actions);
  std::string why_it_waits(TimePoint now) const;
  std::string what_is_under_way(TimePoint now) const;
  std::string no_upstream() const;
  std::string ending_text() const;

  // pool_dial.cc
  // After each event but the frequent ones: streams to channels, channels to addresses.
  void settle(TimePoint now, Actions& actions);
  void seek(TimePoint now, Actions& actions);
  void dial_each(TimePoint now, Actions& actions);
  void dial_first(TimePoint now, Actions& actions);
  void give_way(TimePoint now, const Subchannel& reached, Actions& actions);
  bool is_spare(const Subchannel& subchannel, bool (*good)(const Subchannel&)) const;
  void dial_for_waiters(TimePoint now, Actions& actions);
  Subchannel* with_fewest(TimePoint now) const;
  uint32_t expected_room(const Subchannel& subchannel) const;
  void replace_expired(TimePoint now, Actions& actions);
  Channel& dial(TimePoint now, Subchannel& subchannel, Actions& actions);
  void note_use(TimePoint now);
  void plan(TimePoint now);
  TimePoint next_dial_at(TimePoint now) const;

  // pool_addresses.cc
  void look_up(TimePoint now, Actions& actions);
  void ask_soon(TimePoint now, uint32_t endpoint);
  Source* answered(TimePoint now, uint32_t endpoint, Actions& actions);
  bool knows_address_of(uint32_t endpoint) const;
  Subchannel* find(uint32_t endpoint, std::string_view address) const;
  void set_addresses(uint32_t endpoint, const std::vector<Place>& places);
  void drop_gone(TimePoint now, Actions& actions);
  void erase_if_gone(Subchannel& subchannel);
  void sort_subchannels();
  std::string name_of(uint32_t endpoint) const;
  void rename_endpoints(TimePoint now, const std::vector<Endpoint>& before);

  // pool_admin.cc
  bool has_open() const;
  void apply_limits(TimePoint now, Channel& channel);
  void drain_one(TimePoint now, Subchannel& subchannel, Actions& actions);
  void close_idle(TimePoint now, Actions& actions);
  void note(TimePoint now, pool::EventKind kind, uint64_t detail = 0, std::string_view text = {},
            ConnectionId channel = {});

  const PoolId id_;
  ChannelPolicy policy_;
  Shared& shared_;
  Subchannels subchannels_;  // by rank; those that are gone too, until their channels are
  bool has_spares_ = false;  // an endpoint has addresses of several priorities
  Balancer balancer_;
  std::vector<Source> sources_;                     // one for each endpoint
  std::array<StreamList, kStreamStates> by_state_;  // of assigned ones none: channels have them
  size_t clients_ = 0;
  size_t streams_ = 0;
  size_t channels_ = 0;
  size_t connected_ = 0;  // checking, ready, draining
  bool missed_ = false;   // a use found no channel, and none is dialled yet
  TimePoint unused_since_{};
  pool::Intake intake_ = pool::Intake::open;
  std::optional<CloseReason> ending_;
  std::string last_error_;
  pool::Deadline deadline_;
  pool::Counters counters_;
  StreamCounters stream_counters_;
};

}  // namespace berth::channel
