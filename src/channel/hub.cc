#include "channel/hub.h"

#include "base/check.h"

namespace berth::channel {

Hub::Hub(uint64_t seed) : shared_(seed) {}

// What is left when the process ends has nobody to tell.
Hub::~Hub() = default;

// --- pools ---

void Hub::add_pool(TimePoint now, PoolId id, ChannelPolicy policy, Actions& actions) {
  const auto [at, added] = pools_.try_emplace(id);
  BERTH_CHECK(added, "an id names one pool");
  at->second = std::make_unique<Pool>(id, std::move(policy), shared_);
  if (shared_.stopping) at->second->stop(now, CloseReason::shutdown, actions);
}

void Hub::reconfigure_pool(TimePoint now, PoolId id, ChannelPolicy policy, Actions& actions) {
  find_own(id).reconfigure(now, std::move(policy), actions);
}

void Hub::remove_pool(TimePoint now, PoolId id, Actions& actions) {
  Pool& pool = find_own(id);
  pool.stop(now, CloseReason::removed, actions);
  forget_if_over(pool);
}

const Pool* Hub::pool(PoolId id) const {
  const auto at = pools_.find(id);
  return at != pools_.end() ? at->second.get() : nullptr;
}

Pool* Hub::find(PoolId id) {
  const auto at = pools_.find(id);
  return at != pools_.end() ? at->second.get() : nullptr;
}

Pool& Hub::find_own(PoolId id) {
  Pool* const pool = find(id);
  BERTH_CHECK(pool != nullptr, "the caller names a pool that is there");
  return *pool;
}

void Hub::forget_if_over(Pool& pool) {
  if (!pool.over()) return;
  shared_.deadlines.clear(pool.deadline());
  pools_.erase(pool.id());
}

// --- local clients ---

void Hub::join(TimePoint now, PoolId id, Actions& actions) {
  if (Pool* pool = find(id)) pool->join(now, actions);
}

void Hub::leave(TimePoint now, PoolId id, Actions& actions) {
  if (Pool* pool = find(id)) pool->leave(now, actions);
}

// --- streams ---

StreamId Hub::open_stream(TimePoint now, PoolId id, TimePoint until, Actions& actions) {
  if (Pool* pool = find(id)) return pool->open_stream(now, until, actions);
  const StreamId stream = shared_.streams.allocate();
  shared_.streams.free(stream);
  actions.add(End{stream, GrpcCode::unavailable, "its pool has left the configuration"});
  return stream;
}

void Hub::end_stream(TimePoint now, StreamId id, Actions& actions) {
  Stream* const stream = shared_.streams.find(id);
  if (stream == nullptr) return;
  Pool& pool = *stream->pool;
  pool.end_stream(now, *stream, actions);
  forget_if_over(pool);
}

bool Hub::stream_failed(TimePoint now, StreamId id, Failure failure, bool may_retry,
                        Actions& actions) {
  Stream* const stream = shared_.streams.find(id);
  return stream != nullptr &&
         stream->pool->stream_failed(now, *stream, failure, may_retry, actions);
}

// --- channels ---

template <class Act>
void Hub::at(ConnectionId id, Act&& act) {
  Channel* const channel = shared_.channels.find(id);
  if (channel == nullptr) return;
  Pool& pool = *channel->pool;
  act(pool, *channel);
  forget_if_over(pool);
}

void Hub::connected(TimePoint now, ConnectionId id, uint32_t max_streams, Actions& actions) {
  at(id, [&](Pool& p, Channel& channel) { p.connected(now, channel, max_streams, actions); });
}

void Hub::dial_failed(TimePoint now, ConnectionId id, std::string_view text, Actions& actions) {
  at(id, [&](Pool& p, Channel& channel) { p.dial_failed(now, channel, text, actions); });
}

void Hub::settings(TimePoint now, ConnectionId id, uint32_t max_streams, Actions& actions) {
  at(id, [&](Pool& p, Channel& channel) { p.settings(now, channel, max_streams, actions); });
}

void Hub::serving(TimePoint now, ConnectionId id, bool serves, Actions& actions) {
  at(id, [&](Pool& p, Channel& channel) { p.serving(now, channel, serves, actions); });
}

void Hub::goaway(TimePoint now, ConnectionId id, Actions& actions) {
  at(id, [&](Pool& p, Channel& channel) { p.goaway(now, channel, actions); });
}

void Hub::lost(TimePoint now, ConnectionId id, std::string_view text, Actions& actions) {
  at(id, [&](Pool& p, Channel& channel) { p.lost(now, channel, text, actions); });
}

void Hub::pong(TimePoint now, ConnectionId id) {
  at(id, [&](Pool& p, Channel& channel) { p.pong(now, channel); });
}

void Hub::closed(TimePoint now, ConnectionId id, Actions& actions) {
  at(id, [&](Pool& p, Channel& channel) { p.closed(now, channel, actions); });
}

// --- addresses ---

void Hub::resolved(TimePoint now, PoolId id, uint32_t endpoint, const std::vector<Place>& places,
                   Actions& actions) {
  if (Pool* pool = find(id)) pool->resolved(now, endpoint, places, actions);
}

void Hub::resolve_failed(TimePoint now, PoolId id, uint32_t endpoint, std::string_view text,
                         Actions& actions) {
  if (Pool* pool = find(id)) pool->resolve_failed(now, endpoint, text, actions);
}

// --- the administrator ---

size_t Hub::renew(TimePoint now, PoolId id, Actions& actions) {
  return find_own(id).renew(now, actions);
}

std::vector<Hub::Expired> Hub::expire(TimePoint now, Actions& actions) {
  std::vector<Expired> expired;
  for (const auto& [id, pool] : pools_) {
    if (const size_t closed = pool->expire(now, actions); closed > 0) {
      expired.push_back({id, closed});
    }
  }
  return expired;
}

size_t Hub::evict(TimePoint now, PoolId id, size_t most, Actions& actions) {
  return find_own(id).evict(now, most, actions);
}

void Hub::set_intake(TimePoint now, PoolId id, pool::Intake intake, Actions& actions) {
  find_own(id).set_intake(now, intake, actions);
}

void Hub::shut_down(TimePoint now, Actions& actions) {
  shared_.stopping = true;
  for (const auto& [id, pool] : pools_) pool->stop(now, CloseReason::shutdown, actions);
}

// --- time ---

void Hub::advance(TimePoint now, Actions& actions) {
  while (const pool::Deadline* due = shared_.deadlines.pop_due(now)) {
    switch (due->kind) {
      case pool::Deadline::Kind::connection: {
        const auto id = ConnectionId::from_value(due->subject);
        at(id, [&](Pool& p, Channel& channel) { p.channel_due(now, channel, actions); });
        break;
      }
      case pool::Deadline::Kind::waiter: {
        Stream& stream = shared_.streams[StreamId::from_value(due->subject)];
        Pool& pool = *stream.pool;
        pool.stream_due(now, stream, actions);
        break;
      }
      default: find_own(PoolId::from_value(due->subject)).due(now, actions);
    }
  }
}

}  // namespace berth::channel
