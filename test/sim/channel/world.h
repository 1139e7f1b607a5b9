// World: servers, channels and streams around one hub, kept from its events and actions alone; it
// carries the actions out, at once, later or never, and judges each.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/random.h"
#include "channel/hub.h"
#include "sim/game.h"
#include "sim/trace.h"

namespace berth::sim::channels {

using namespace std::chrono_literals;
using channel::GrpcCode;

// mute: takes connections and says nothing after that.
enum class Upstream { healthy, refuses, hangs, mute, unwell };

struct AddressModel {
  Upstream upstream = Upstream::healthy;
  uint32_t max_streams = 100;
  uint32_t told_limit = kAssumedStreams;  // what it told last
  // The last failed dial that counts, until it is reached; and the last channel that had a short
  // life, until one has not.
  std::optional<TimePoint> dial_failed_at;
  std::optional<TimePoint> ended_at;
  uint64_t assigned = 0;  // since who has room is as it is

  bool failing() const { return dial_failed_at || ended_at; }
};

struct Question {
  std::string host;
  bool stale = false;  // since then its endpoint has become another
};

struct PoolModel {
  PoolId id;
  channel::ChannelPolicy policy;
  std::map<std::string, std::vector<std::string>> truth;  // what a look-up of each host would find
  std::map<std::string, std::vector<std::string>> known;  // what the last ones found
  std::set<std::string> answered;                         // hosts that were found, or were not
  std::map<uint32_t, Question> questions;                 // by endpoint
  std::map<uint32_t, TimePoint> asked_at;
  std::map<std::string, AddressModel> addresses;
  size_t clients = 0;
  size_t streams = 0;
  pool::Intake intake = pool::Intake::open;
  bool removed = false;
  bool gone = false;
  bool was_failover = false;  // ever
  bool reloaded = false;      // ever
  TimePoint unused_since{};
  std::set<ConnectionId> with_room;  // at the last turn of round robin
  uint64_t connected = 0;
  uint64_t told_connected = 0;  // as the journal has it
};

struct ChannelModel {
  ConnectionId id;
  size_t pool = 0;
  std::string address;
  bool up = false;
  bool checked = false;  // its health counts
  bool serves = false;
  bool silent_health = true;  // nothing was said of it yet
  bool leaving = false;       // drains
  CloseReason why_leaving = CloseReason::dead;
  bool told_goaway = false;
  bool useful = false;  // has carried a stream to its end
  bool closing = false;
  bool renewed = false;
  bool mute = false;
  uint32_t max_streams = 0;
  std::set<StreamId> streams;
  TimePoint dialed_at{};
  TimePoint up_at{};
  TimePoint ready_at = kNever;
  TimePoint leaving_since{};
  TimePoint heard_at{};
  TimePoint pinged_at = kNever;
  Duration lifetime{};  // max_lifetime when it became ready
};

struct StreamModel {
  StreamId id;
  size_t pool = 0;
  enum class Stage { waiting, resting, assigned, failed } stage = Stage::waiting;
  ConnectionId channel;
  TimePoint until = kNever;
  TimePoint waits_since{};
  TimePoint not_before{};  // resting
  uint32_t attempts = 1;
  uint32_t unseen = 0;
  bool retried = false;
};

class World {
 public:
  World(uint64_t seed, bool aloud) : random(seed), trace(aloud), hub(seed) {}

  Random random;
  Trace trace;
  channel::Hub hub;
  TimePoint now = TimePoint() + 1h;
  uint64_t event_count = 0;
  uint64_t assigned = 0;
  uint64_t refused = 0;
  bool stopping = false;
  bool expiring = false;  // a tick of expire
  const PoolModel* evicting = nullptr;
  bool calm = false;  // servers answer, and quickly
  std::vector<PoolModel> pools;
  std::map<ConnectionId, ChannelModel> channels;
  std::map<StreamId, StreamModel> streams;

  bool chance(uint64_t percent) { return random.below(100) < percent; }
  Duration up_to(Duration most) {
    return Duration(random.below(static_cast<uint64_t>(most.count()) + 1));
  }

  // One event: `call` passes it to the hub. What comes of it is carried out, and then all is
  // checked.
  template <class Call>
  void event(Call&& call) {
    ++event_count;
    call(actions_);
    settle();
  }
  // What the world has begun comes to its end. Punctual: the timer fires exactly when it should;
  // otherwise only at the end.
  void pass_time(TimePoint until, bool punctual);

  // --- what happens to streams and channels ---
  void open_stream(size_t pool, TimePoint until);
  void end_stream(StreamId id);
  void fail_stream(StreamId id, channel::Failure failure, bool may_retry);
  void lose(ConnectionId id);
  void goaway(ConnectionId id);
  void tell_limit(ConnectionId id, uint32_t max_streams);
  void tell_health(ConnectionId id);
  // A pool's endpoints are others now.
  void note_endpoints(PoolModel& pool, const std::vector<Endpoint>& before);
  static AddressModel healed(AddressModel address);

  // --- what is ---
  PoolModel& pool_of(PoolId id);
  uint32_t limit(const ChannelModel& channel) const;
  bool is_ready(const ChannelModel& channel) const;
  bool has_room(const ChannelModel& channel) const {
    return is_ready(channel) && channel.streams.size() < limit(channel);
  }
  bool is_open(const ChannelModel& channel) const {
    return !channel.closing && !channel.leaving && !channel.told_goaway;
  }
  bool is_known(const PoolModel& pool, const std::string& address) const;
  // Of some hosts, which are services, a few addresses are there for when no other works.
  static uint16_t priority_of(const std::string& address);
  // One that is preferred to it works, or is under way.
  bool is_spare(size_t pool, const std::string& address) const;
  bool is_under_way(const ChannelModel& channel) const;
  static bool awaits_health(const ChannelModel& channel) {
    return channel.up && channel.checked && channel.silent_health;
  }
  size_t waiting(size_t pool) const;
  bool wanted(size_t pool) const { return pools[pool].clients > 0 || waiting_at_all(pool) > 0; }
  size_t waiting_at_all(size_t pool) const;
  // But for what drains since this event, which check() finds out.
  std::set<ConnectionId> with_room(size_t pool) const;
  bool may_dial(size_t pool) const {
    return !stopping && !pools[pool].removed && pools[pool].intake == pool::Intake::open;
  }

 private:
  enum class Kind { connected, dial_failed, resolved, closed, pong, health };
  struct Pending {
    Kind kind;
    ConnectionId channel;
    PoolId pool;
    uint32_t endpoint = 0;
  };

  void advance();
  void settle();
  void carry_out();
  void cut_off(ConnectionId id);
  void cut_off_closed();
  void note_dial_failed(const ChannelModel& channel);
  void note_end(const ChannelModel& channel);
  void note_ready(ChannelModel& channel) const;
  // Who has room may have changed in a way that a turn does not show.
  void disturb();
  void later(Duration most, const Pending& pending);
  void deliver(const Pending& pending);
  void deliver_dial(ConnectionId id, bool reached);
  void deliver_addresses(PoolId pool, uint32_t endpoint);
  void read_journal();

  void on(const channel::Assign& assign);
  void on(const channel::End& end);
  void on(const channel::Resolve& resolve);
  void on(const channel::Dial& dial);
  void on(const channel::Ping& ping);
  void on(const channel::Close& close);

  // judge.cc
  void judge(const channel::Assign& assign);
  void judge_turn(const StreamModel& stream, const ChannelModel& channel);
  void judge(const channel::End& end) const;
  void judge(const channel::Dial& dial);
  void judge_need(const PoolModel& pool, const channel::Dial& dial) const;
  void judge_backoff(const AddressModel& address) const;
  void judge_failover(size_t pool, const std::string& address) const;
  size_t coming(size_t pool) const;
  size_t rested(size_t pool) const;
  void judge(const channel::Close& close) const;
  bool has_cause(const ChannelModel& channel, CloseReason reason) const;
  bool is_old(const ChannelModel& channel) const;
  bool gave_way(const ChannelModel& channel) const;
  // Nothing is ready or under way. Sure: so it must be, and the pool must know; else it may be.
  bool no_upstream(size_t pool, bool sure) const;

  // checks.cc
  void check();
  void check_channels();
  void check_channel(ChannelModel& model, const channel::Channel& channel);
  void check_streams();
  void check_pool(size_t index);
  void check_addresses(size_t index);

  channel::Actions actions_;
  std::multimap<TimePoint, Pending> world_;
  std::vector<pool::Event> told_;
  std::vector<ConnectionId> to_cut_off_;
};

}  // namespace berth::sim::channels
