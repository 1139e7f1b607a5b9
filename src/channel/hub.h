// Hub: all channel pools: keys whose streams share a few upstream HTTP/2 connections, the channels
// (DESIGN section 8).
//
// Loop thread only. Pure: events in, actions out, `now` a parameter that never goes back. The
// driver carries the actions of an event out in order, and reports what comes of them as further
// events. Ids that are stale miss: nothing comes of them.
//
// Descriptors are not counted here: a driver that has none for a Dial answers dial_failed.
#pragma once

#include <absl/container/flat_hash_map.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "channel/actions.h"
#include "channel/place.h"
#include "channel/policy.h"
#include "channel/pool.h"
#include "channel/records.h"

namespace berth::channel {

class Hub {
 public:
  explicit Hub(uint64_t seed);
  ~Hub();
  Hub(const Hub&) = delete;
  Hub& operator=(const Hub&) = delete;

  // --- pools ---
  // `id` is the caller's choice, and not one that is there.
  void add_pool(TimePoint now, PoolId id, ChannelPolicy policy, Actions& actions);
  // The key does not change. Channels to endpoints that are no longer there drain; lifetimes count
  // from the next dial; everything else is live. Every endpoint is looked up anew.
  void reconfigure_pool(TimePoint now, PoolId id, ChannelPolicy policy, Actions& actions);
  // It has left the configuration: waiting streams and new ones end, channels drain, and with the
  // last of them, and the last stream, the pool goes.
  void remove_pool(TimePoint now, PoolId id, Actions& actions);
  // nullptr: it has gone.
  const Pool* pool(PoolId id) const;
  template <class Visit>
  void for_each_pool(Visit&& visit) const {
    for (const auto& [id, pool] : pools_) visit(*pool);
  }

  // --- local clients ---
  // One more, one less. With the first one the pool looks up and dials.
  void join(TimePoint now, PoolId pool, Actions& actions);
  void leave(TimePoint now, PoolId pool, Actions& actions);

  // --- streams ---
  // A client has begun a call that is due at `until` (grpc-timeout; kNever: no limit). In `actions`
  // stands Assign or End, or neither, and it waits. While it is assigned nobody here looks at its
  // deadline. A pool that has gone ends it.
  StreamId open_stream(TimePoint now, PoolId pool, TimePoint until, Actions& actions);
  // Over: its answer was passed on whole, or its client has cancelled or gone. After End, not to
  // be called.
  void end_stream(TimePoint now, StreamId stream, Actions& actions);
  // It ended in failure upstream. `may_retry`: no response header was passed on, and the request is
  // still there whole. True: nothing is passed on; it waits for another Assign, which may stand in
  // `actions`, or for an End. False: pass the failure on, then call end_stream.
  bool stream_failed(TimePoint now, StreamId stream, Failure failure, bool may_retry,
                     Actions& actions);

  // --- channels ---
  // `max_streams`: what the server's SETTINGS_MAX_CONCURRENT_STREAMS allows (RFC 9113, section
  // 6.5.2); kAssumedStreams as long as it is not known; UINT32_MAX: no limit.
  void connected(TimePoint now, ConnectionId channel, uint32_t max_streams, Actions& actions);
  // The channel is no more. `text` says where and why, for people.
  void dial_failed(TimePoint now, ConnectionId channel, std::string_view text, Actions& actions);
  void settings(TimePoint now, ConnectionId channel, uint32_t max_streams, Actions& actions);
  // With ChannelPolicy::health: what the server says of itself.
  void serving(TimePoint now, ConnectionId channel, bool serves, Actions& actions);
  void goaway(TimePoint now, ConnectionId channel, Actions& actions);
  // The connection is gone, unasked. stream_failed for each of its streams, then closed, follow.
  void lost(TimePoint now, ConnectionId channel, std::string_view text, Actions& actions);
  // Whatever came from the server.
  void heard(TimePoint now, ConnectionId channel) {
    if (Channel* found = shared_.channels.find(channel)) found->heard_at = now;
  }
  void pong(TimePoint now, ConnectionId channel);
  // Of Close, and after lost(). No stream is on it any more.
  void closed(TimePoint now, ConnectionId channel, Actions& actions);

  // --- addresses ---
  // In order of preference, by priority first. Of a pool at most kMaxAddresses are used. None is a
  // failure.
  void resolved(TimePoint now, PoolId pool, uint32_t endpoint, const std::vector<Place>& places,
                Actions& actions);
  void resolve_failed(TimePoint now, PoolId pool, uint32_t endpoint, std::string_view text,
                      Actions& actions);

  // --- the administrator ---
  // Fresh channels take the place of all; returns how many are to go.
  size_t renew(TimePoint now, PoolId pool, Actions& actions);
  struct Expired {
    PoolId pool;
    size_t closed;
  };
  // One tick: channels without a client and a stream at the last one and ever since are closed.
  // Tells only of pools that closed some.
  std::vector<Expired> expire(TimePoint now, Actions& actions);
  // Closes channels that carry no stream, at most so many, oldest first; what is wanted of them is
  // dialled again. Returns how many are closed.
  size_t evict(TimePoint now, PoolId pool, size_t most, Actions& actions);
  // Paused: new streams wait. Disabled: they end, and so do those that wait. Neither dials.
  void set_intake(TimePoint now, PoolId pool, pool::Intake intake, Actions& actions);
  // Streams that wait, and new ones, end; channels close as their streams end, or when
  // drain_timeout is over.
  void shut_down(TimePoint now, Actions& actions);
  // After shut_down: neither a channel nor a stream is left.
  bool drained() const {
    return shared_.stopping && shared_.channels.size() == 0 && shared_.streams.size() == 0;
  }

  // --- time ---
  // kNever: nothing will be due.
  TimePoint next_deadline() const { return shared_.deadlines.next(); }
  void advance(TimePoint now, Actions& actions);

  // --- what is ---
  // What happened since the last call: connect, cache_miss, count, dials, closes and the rest. Of
  // connect only while somebody listens.
  void take_events(std::vector<pool::Event>& out) { shared_.journal.take(out); }
  void listen(bool on) { shared_.journal.listen(on); }
  const Channel* channel(ConnectionId id) const { return shared_.channels.find(id); }
  const Stream* stream(StreamId id) const { return shared_.streams.find(id); }
  const Shared& shared() const { return shared_; }

 private:
  Pool* find(PoolId id);
  Pool& find_own(PoolId id);
  // Calls act(pool, channel) if there is such a channel, and forgets the pool if that was its last.
  template <class Act>
  void at(ConnectionId id, Act&& act);
  void forget_if_over(Pool& pool);

  Shared shared_;
  absl::flat_hash_map<PoolId, std::unique_ptr<Pool>> pools_;
};

}  // namespace berth::channel
