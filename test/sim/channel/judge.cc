// The world's part that judges single actions.
#include <algorithm>

#include "sim/channel/world.h"

namespace berth::sim::channels {

using Stage = StreamModel::Stage;

// --- Assign ---

void World::judge(const channel::Assign& assign) {
  const uint64_t id = assign.stream.value();
  const auto stream = streams.find(assign.stream);
  const auto channel = channels.find(assign.channel);
  expect(stream != streams.end(), "only a stream that is open is assigned", id);
  expect(channel != channels.end(), "only a channel that is there carries streams", id);
  const bool waits = stream->second.stage == Stage::waiting;
  const bool rested = stream->second.stage == Stage::resting && now >= stream->second.not_before;
  expect(waits || rested, "a stream has one channel, after its rest", id);
  expect(is_ready(channel->second), "a stream goes to a channel that is ready", id);
  expect(has_room(channel->second), "no channel has more streams than it may", id);
  expect(channel->second.pool == stream->second.pool, "a stream stays in its pool", id);
  expect(may_dial(stream->second.pool), "a paused or ending pool assigns nothing", id);
  judge_turn(stream->second, channel->second);
}

// Round robin, as long as who has room is the same.
void World::judge_turn(const StreamModel& stream, const ChannelModel& channel) {
  PoolModel& pool = pools[stream.pool];
  const std::set<ConnectionId> room = with_room(stream.pool);
  if (room != pool.with_room || stream.retried) {
    for (auto& [name, address] : pool.addresses) address.assigned = 0;
  }
  pool.with_room = stream.retried ? std::set<ConnectionId>() : room;
  ++pool.addresses[channel.address].assigned;
  if (pool.policy.balance == channel::Balance::failover || stream.retried) return;
  uint64_t fewest = UINT64_MAX;
  uint64_t most = 0;
  for (const ConnectionId id : room) {
    const uint64_t assigned_to = pool.addresses[channels.at(id).address].assigned;
    fewest = std::min(fewest, assigned_to);
    most = std::max(most, assigned_to);
  }
  if (pool.policy.balance == channel::Balance::round_robin) {
    expect(most - fewest <= 1, "round robin is within one of even", stream.id.value());
  }
}

// --- End ---

void World::judge(const channel::End& end) const {
  const uint64_t id = end.stream.value();
  const auto at = streams.find(end.stream);
  expect(at != streams.end(), "only a stream that is open ends", id);
  const StreamModel& stream = at->second;
  const PoolModel& pool = pools[stream.pool];
  expect(stream.stage == Stage::waiting || stream.stage == Stage::resting,
         "only a stream that waits ends", id);
  switch (end.code) {
    case GrpcCode::deadline_exceeded:
      return expect(now >= stream.until, "not before its deadline", id);
    case GrpcCode::resource_exhausted:
      return expect(waiting(stream.pool) > pool.policy.max_waiters, "only beyond max_waiters", id);
    case GrpcCode::unavailable: break;
    default: expect(false, "streams end with a code that says why", id);
  }
  const bool waited = now >= stream.waits_since + pool.policy.acquire_timeout;
  const bool refused_all = stopping || pool.removed || pool.intake == pool::Intake::disabled;
  expect(waited || refused_all || (pool.policy.fail_fast && no_upstream(stream.pool, false)),
         "none ends that could still get a channel", id);
}

bool World::no_upstream(size_t index, bool sure) const {
  const PoolModel& pool = pools[index];
  std::set<std::string> unwell;
  for (const auto& [id, channel] : channels) {
    if (channel.pool != index || !is_open(channel) || !hub.channel(id)->open()) continue;
    if (is_ready(channel) || is_under_way(channel)) return false;
    if (sure && awaits_health(channel)) return false;
    unwell.insert(channel.address);
  }
  for (const auto& [host, addresses] : pool.known) {
    for (const std::string& address : addresses) {
      const auto at = pool.addresses.find(address);
      const bool failing = at != pool.addresses.end() && at->second.failing();
      if (!sure && !failing && !unwell.contains(address)) return false;
    }
  }
  return std::all_of(
      pool.policy.endpoints.begin(), pool.policy.endpoints.end(),
      [&](const Endpoint& endpoint) { return pool.answered.contains(endpoint.host); });
}

// --- Dial ---

void World::judge(const channel::Dial& dial) {
  const uint64_t id = dial.channel.value();
  PoolModel& pool = pool_of(dial.pool);
  const auto index = static_cast<size_t>(&pool - pools.data());
  expect(!channels.contains(dial.channel), "an id is given once", id);
  expect(may_dial(index) && wanted(index), "only a pool that is wanted dials", id);
  expect(is_known(pool, dial.address), "only an address that was found is dialled", id);
  expect(!is_spare(index, dial.address), "no spare is dialled while what it is for works", id);
  judge_backoff(pool.addresses[dial.address]);
  const channel::Channel* const channel = hub.channel(dial.channel);
  if (channel == nullptr || !channel->replaces.valid()) return judge_need(pool, dial);
  const ChannelModel& replaced = channels.at(channel->replaces);
  expect(is_ready(replaced) && replaced.address == dial.address, "what is ready is replaced", id);
  expect(is_old(replaced), "only what is old or renewed is replaced", id);
}

bool World::is_old(const ChannelModel& channel) const {
  const bool ready = channel.lifetime != 0s && channel.ready_at != kNever;
  return channel.renewed || (ready && now >= channel.ready_at + channel.lifetime * 3 / 4);
}

void World::judge_backoff(const AddressModel& address) const {
  for (const auto& failed_at : {address.dial_failed_at, address.ended_at}) {
    expect(!failed_at || now >= *failed_at + 80ms, "none is dialled before its backoff is over");
  }
}

void World::judge_need(const PoolModel& pool, const channel::Dial& dial) const {
  const uint64_t id = dial.channel.value();
  const auto index = static_cast<size_t>(&pool - pools.data());
  size_t open = 0;
  size_t lasting = 0;
  bool replaces = false;  // one that has ended in this event, too
  for (const auto& [other, channel] : channels) {
    if (channel.pool != index || channel.address != dial.address || !is_open(channel)) continue;
    ++open;
    const bool just_ended = !hub.channel(other)->open();  // why, is judged after the event
    lasting += !just_ended && !hub.channel(other)->successor.valid();
    replaces |= just_ended;
  }
  expect(lasting < pool.policy.max_channels, "max_channels holds", id);
  if (pool.policy.balance == channel::Balance::failover) judge_failover(index, dial.address);
  if (open == 0 || replaces) return;
  expect(with_room(index).empty(), "no second channel while another has room", id);
  expect(waiting(index) + rested(index) > coming(index), "no channel is dialled that nobody needs",
         id);
}

// Those that may wait for a channel by now.
size_t World::rested(size_t index) const {
  return static_cast<size_t>(std::count_if(streams.begin(), streams.end(), [&](const auto& each) {
    const StreamModel& stream = each.second;
    return stream.pool == index && stream.stage == Stage::resting && now >= stream.not_before;
  }));
}

// Places on channels that are under way, as far as can be foreseen.
size_t World::coming(size_t index) const {
  const PoolModel& pool = pools[index];
  const uint32_t ours = pool.policy.max_streams_per_channel;
  size_t coming = 0;
  for (const auto& [id, channel] : channels) {
    if (channel.pool != index || !is_under_way(channel)) continue;
    const uint32_t told = pool.addresses.at(channel.address).told_limit;
    coming += std::max(1u, ours == 0 ? told : std::min(ours, told));
  }
  return coming;
}

void World::judge_failover(size_t index, const std::string& address) const {
  const PoolModel& pool = pools[index];
  for (const Endpoint& endpoint : pool.policy.endpoints) {
    const auto known = pool.known.find(endpoint.host);
    if (known == pool.known.end()) continue;
    for (const std::string& better : known->second) {
      if (better == address) return;
      for (const auto& [id, channel] : channels) {
        if (channel.pool != index || channel.address != better) continue;
        expect(!is_ready(channel) && !is_under_way(channel),
               "failover dials none behind one that works", id.value());
      }
    }
  }
}

// --- Close ---

void World::judge(const channel::Close& close) const {
  const auto at = channels.find(close.channel);
  const uint64_t id = close.channel.value();
  expect(at != channels.end() && !at->second.closing, "a channel closes once", id);
  const ChannelModel& channel = at->second;
  const PoolModel& pool = pools[channel.pool];
  if (close.reason == CloseReason::dead) {
    const bool silent = channel.pinged_at != kNever && channel.heard_at < channel.pinged_at &&
                        now >= channel.pinged_at + pool.policy.keepalive_timeout;
    const bool hung = !channel.up && now >= channel.dialed_at + pool.policy.dial_timeout;
    return expect(silent || hung, "dead is what did not answer", id);
  }
  if (!channel.leaving)
    expect(has_cause(channel, close.reason), "a channel closes for a cause", id);
  if (channel.leaving) expect(close.reason == channel.why_leaving, "and for no other", id);
  if (channel.streams.empty()) return;
  expect(channel.leaving && now >= channel.leaving_since + pool.policy.drain_timeout,
         "nothing closes under its streams before drain_timeout", id);
}

bool World::has_cause(const ChannelModel& channel, CloseReason reason) const {
  const PoolModel& pool = pools[channel.pool];
  switch (reason) {
    case CloseReason::age: return is_old(channel) && gave_way(channel);
    case CloseReason::renewed:
      return (channel.renewed && gave_way(channel)) || pool.was_failover ||
             is_spare(channel.pool, channel.address);
    case CloseReason::goaway: return channel.told_goaway;
    case CloseReason::address_gone: return !is_known(pool, channel.address);
    case CloseReason::idle:
      return pool.clients == 0 && pool.streams == 0 &&
             now >= pool.unused_since + pool.policy.idle_timeout;
    case CloseReason::expired: return expiring && pool.clients == 0;
    case CloseReason::evicted: return evicting == &pool && channel.streams.empty();
    case CloseReason::overflow: return pool.reloaded;
    case CloseReason::removed: return pool.removed;
    case CloseReason::shutdown: return stopping;
    default: return false;
  }
}

// To a fresh one that is ready; or nobody wants any.
bool World::gave_way(const ChannelModel& channel) const {
  if (!wanted(channel.pool)) return true;
  return std::any_of(channels.begin(), channels.end(), [&](const auto& each) {
    const ChannelModel& other = each.second;
    return other.pool == channel.pool && other.address == channel.address &&
           other.id != channel.id && is_ready(other) && other.dialed_at >= channel.dialed_at;
  });
}

}  // namespace berth::sim::channels
