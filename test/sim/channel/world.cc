#include "sim/channel/world.h"

#include <algorithm>
#include <utility>

namespace berth::sim::channels {

using channel::Failure;
using Stage = StreamModel::Stage;

// --- what is ---

PoolModel& World::pool_of(PoolId id) {
  for (PoolModel& pool : pools) {
    if (pool.id == id) return pool;
  }
  throw Broken{"an action names a pool that exists", id.value()};
}

uint32_t World::limit(const ChannelModel& channel) const {
  const uint32_t ours = pools[channel.pool].policy.max_streams_per_channel;
  return ours == 0 ? channel.max_streams : std::min(ours, channel.max_streams);
}

bool World::is_ready(const ChannelModel& channel) const {
  const bool serves = channel.serves || !channel.checked;
  return channel.up && serves && is_open(channel);
}

uint16_t World::priority_of(const std::string& address) {
  return address == "h1.2" || address == "h2.1" || address == "h2.2" ? 10 : 0;
}

bool World::is_spare(size_t index, const std::string& address) const {
  const std::string host = address.substr(0, address.find('.'));
  return std::any_of(channels.begin(), channels.end(), [&](const auto& each) {
    const ChannelModel& other = each.second;
    return other.pool == index && other.address.starts_with(host + ".") &&
           priority_of(other.address) < priority_of(address) &&
           is_known(pools[index], other.address) && (is_ready(other) || is_under_way(other));
  });
}

bool World::is_known(const PoolModel& pool, const std::string& address) const {
  return std::any_of(pool.known.begin(), pool.known.end(), [&](const auto& each) {
    return std::find(each.second.begin(), each.second.end(), address) != each.second.end();
  });
}

bool World::is_under_way(const ChannelModel& channel) const {
  if (!is_open(channel)) return false;
  const bool overdue = now >= channel.up_at + pools[channel.pool].policy.dial_timeout;
  return !channel.up || (awaits_health(channel) && !overdue);
}

size_t World::waiting(size_t pool) const {
  return static_cast<size_t>(std::count_if(streams.begin(), streams.end(), [&](const auto& each) {
    return each.second.pool == pool && each.second.stage == Stage::waiting;
  }));
}

size_t World::waiting_at_all(size_t pool) const {
  return static_cast<size_t>(std::count_if(streams.begin(), streams.end(), [&](const auto& each) {
    const StreamModel& stream = each.second;
    return stream.pool == pool &&
           (stream.stage == Stage::waiting || stream.stage == Stage::resting);
  }));
}

std::set<ConnectionId> World::with_room(size_t pool) const {
  std::set<ConnectionId> ids;
  for (const auto& [id, channel] : channels) {
    if (channel.pool == pool && has_room(channel) && hub.channel(id)->open()) ids.insert(id);
  }
  return ids;
}

// --- what happens ---

void World::open_stream(size_t index, TimePoint until) {
  PoolModel& pool = pools[index];
  ++event_count;
  const StreamId id = hub.open_stream(now, pool.id, until, actions_);
  trace.add(now, "stream %llu of pool %llu", id.value(), index);
  expect(!streams.contains(id), "an id is given once", id.value());
  StreamModel& stream = streams[id];
  stream.id = id;
  stream.pool = index;
  stream.until = until;
  stream.waits_since = now;
  ++pool.streams;
  settle();
}

void World::end_stream(StreamId id) {
  const auto at = streams.find(id);
  if (at == streams.end()) return;
  trace.add(now, "stream %llu ends", id.value());
  PoolModel& pool = pools[at->second.pool];
  if (--pool.streams == 0 && pool.clients == 0) pool.unused_since = now;
  if (at->second.stage == Stage::assigned) {
    ChannelModel& channel = channels.at(at->second.channel);
    channel.streams.erase(id);
    channel.useful = true;
  }
  streams.erase(at);
  event([&](channel::Actions& actions) { hub.end_stream(now, id, actions); });
}

void World::fail_stream(StreamId id, Failure failure, bool may_retry) {
  StreamModel& stream = streams.at(id);
  const channel::ChannelPolicy& policy = pools[stream.pool].policy;
  trace.add(now, "stream %llu fails, unseen %llu, code %llu, may be retried %llu", id.value(),
            failure.unseen, static_cast<uint64_t>(failure.code), may_retry);
  channels.at(stream.channel).streams.erase(id);
  ++event_count;
  if (hub.stream_failed(now, id, failure, may_retry, actions_)) {
    expect(may_retry, "only what may be retried is", id.value());
    expect(now < stream.until, "nothing is retried after its deadline", id.value());
    stream.retried = true;
    disturb();
    stream.waits_since = now;
    const bool rests =
        hub.stream(id) != nullptr && hub.stream(id)->state == channel::StreamState::resting;
    stream.stage = rests ? Stage::resting : Stage::waiting;
    if (rests) {
      expect(++stream.attempts <= policy.retry.attempts, "attempts as configured", id.value());
      const auto factor = int64_t{1} << (stream.attempts - 2);
      stream.not_before = now + policy.retry.backoff * factor * 8 / 10;
    } else {
      expect(failure.unseen && ++stream.unseen <= kMaxUnseenRetries,
             "at once only what was not seen, and not for ever", id.value());
    }
  } else {
    stream.stage = Stage::failed;
  }
  stream.channel = {};
  settle();
}

void World::lose(ConnectionId id) {
  ChannelModel& channel = channels.at(id);
  trace.add(now, "channel %llu is lost", id.value());
  disturb();
  if (is_open(channel)) note_end(channel);
  if (channel.up) --pools[channel.pool].connected;
  channel.closing = true;
  event([&](channel::Actions& actions) { hub.lost(now, id, "lost", actions); });
  cut_off(id);
  later(20ms, {Kind::closed, id, {}});
}

// Its streams fail; who passes that on may take a while.
void World::cut_off(ConnectionId id) {
  const std::set<StreamId> cut = channels.at(id).streams;
  for (const StreamId stream : cut) {
    if (!streams.contains(stream)) continue;
    fail_stream(stream, {.unseen = chance(30)}, chance(70));
    const auto at = streams.find(stream);
    if (at != streams.end() && at->second.stage == Stage::failed && chance(80)) end_stream(stream);
  }
}

// Those that were told to close report their streams before they are closed.
void World::cut_off_closed() {
  while (!to_cut_off_.empty()) {
    const ConnectionId id = to_cut_off_.back();
    to_cut_off_.pop_back();
    cut_off(id);
  }
}

// Those side by side count once.
void World::note_dial_failed(const ChannelModel& channel) {
  AddressModel& address = pools[channel.pool].addresses[channel.address];
  if (!address.dial_failed_at || channel.dialed_at > *address.dial_failed_at) {
    address.dial_failed_at = now;
  }
}

void World::note_end(const ChannelModel& channel) {
  AddressModel& address = pools[channel.pool].addresses[channel.address];
  if (channel.useful || now - channel.ready_at >= channel::Subchannel::kShortLife) {
    address.ended_at.reset();
  } else if (!address.ended_at || channel.ready_at > *address.ended_at) {
    address.ended_at = now;
  }
}

void World::note_ready(ChannelModel& channel) const {
  channel.ready_at = now;
  channel.lifetime = pools[channel.pool].policy.max_lifetime;
}

void World::disturb() {
  for (PoolModel& pool : pools) pool.with_room.clear();
}

void World::goaway(ConnectionId id) {
  ChannelModel& channel = channels.at(id);
  if (!channel.up || !is_open(channel)) return;
  trace.add(now, "channel %llu: GOAWAY", id.value());
  disturb();
  note_end(channel);
  channel.told_goaway = true;
  event([&](channel::Actions& actions) { hub.goaway(now, id, actions); });
}

void World::tell_limit(ConnectionId id, uint32_t max_streams) {
  ChannelModel& channel = channels.at(id);
  trace.add(now, "channel %llu may have %llu streams", id.value(), max_streams);
  disturb();
  channel.max_streams = max_streams;
  pools[channel.pool].addresses[channel.address].told_limit = max_streams;
  event([&](channel::Actions& actions) { hub.settings(now, id, max_streams, actions); });
}

void World::note_endpoints(PoolModel& pool, const std::vector<Endpoint>& before) {
  disturb();
  const std::vector<Endpoint>& after = pool.policy.endpoints;
  const auto is_there = [&](const std::string& host) {
    return std::any_of(after.begin(), after.end(), [&](const auto& e) { return e.host == host; });
  };
  std::erase_if(pool.known, [&](const auto& each) { return !is_there(each.first); });
  for (uint32_t i = 0; i < std::max(before.size(), after.size()); ++i) {
    if (i < before.size() && i < after.size() && before[i] == after[i]) continue;
    if (pool.questions.contains(i)) pool.questions[i].stale = true;
    pool.asked_at.erase(i);
    if (i < before.size()) pool.answered.erase(before[i].host);
  }
  for (auto& [id, channel] : channels) {
    if (pools[channel.pool].id != pool.id || pool.policy.health || !channel.checked) continue;
    channel.checked = false;
    if (channel.up && is_open(channel) && channel.ready_at == kNever) note_ready(channel);
  }
  for (const auto& [host, addresses] : pool.known) pool.answered.insert(host);
}

AddressModel World::healed(AddressModel address) {
  address.upstream = Upstream::healthy;
  address.max_streams = 100;
  return address;
}

// --- time ---

void World::later(Duration most, const Pending& pending) {
  world_.emplace(now + (calm ? up_to(5ms) : up_to(most)), pending);
}

void World::pass_time(TimePoint until, bool punctual) {
  while (true) {
    const TimePoint world = world_.empty() ? kNever : world_.begin()->first;
    const TimePoint timer = punctual ? std::max(now, hub.next_deadline()) : kNever;
    if (std::min(world, timer) > until) break;
    now = std::max(now, std::min(world, timer));
    if (timer <= world) {
      advance();
    } else {
      const Pending pending = world_.begin()->second;
      world_.erase(world_.begin());
      deliver(pending);
    }
  }
  now = until;
  advance();
}

void World::advance() {
  event([&](channel::Actions& actions) {
    hub.advance(now, actions);
    expect(hub.next_deadline() > now, "after the timer nothing due is left");
  });
}

void World::deliver(const Pending& pending) {
  const ConnectionId id = pending.channel;
  const auto at = channels.find(id);
  if (pending.kind == Kind::resolved) return deliver_addresses(pending.pool, pending.endpoint);
  if (at == channels.end()) return;
  ChannelModel& channel = at->second;
  switch (pending.kind) {
    case Kind::connected: return deliver_dial(id, true);
    case Kind::dial_failed: return deliver_dial(id, false);
    case Kind::closed:
      trace.add(now, "channel %llu is closed", id.value());
      channels.erase(at);
      event([&](channel::Actions& actions) { hub.closed(now, id, actions); });
      return;
    case Kind::pong:
      if (channel.mute || channel.closing) return;
      channel.heard_at = now;
      channel.pinged_at = kNever;
      hub.pong(now, id);
      return;
    case Kind::health: return tell_health(id);
    case Kind::resolved: return;
  }
}

void World::deliver_dial(ConnectionId id, bool reached) {
  ChannelModel& channel = channels.at(id);
  if (channel.closing || channel.up) return;
  PoolModel& pool = pools[channel.pool];
  AddressModel& address = pool.addresses[channel.address];
  trace.add(now, reached ? "channel %llu is connected" : "channel %llu: the dial failed",
            id.value());
  if (!reached) {
    note_dial_failed(channel);
    channels.erase(id);
    event([&](channel::Actions& actions) { hub.dial_failed(now, id, "refused", actions); });
    return;
  }
  disturb();
  channel.up = true;
  channel.up_at = now;
  channel.heard_at = now;
  channel.mute = address.upstream == Upstream::mute;
  channel.max_streams = address.max_streams;
  channel.checked = pool.policy.health;
  if (!channel.checked) note_ready(channel);
  address.told_limit = address.max_streams;
  address.dial_failed_at.reset();
  ++pool.connected;
  const uint32_t most = address.max_streams;
  if (pool.policy.health && !channel.mute) later(50ms, {Kind::health, id, {}});
  event([&](channel::Actions& actions) { hub.connected(now, id, most, actions); });
}

void World::tell_health(ConnectionId id) {
  ChannelModel& channel = channels.at(id);
  if (channel.closing || !channel.up || !pools[channel.pool].policy.health) return;
  channel.serves = pools[channel.pool].addresses[channel.address].upstream != Upstream::unwell;
  channel.checked = true;
  channel.silent_health = false;
  disturb();
  if (channel.serves && channel.ready_at == kNever && is_open(channel)) note_ready(channel);
  trace.add(now, "channel %llu serves: %llu", id.value(), channel.serves);
  const bool serves = channel.serves;
  event([&](channel::Actions& actions) { hub.serving(now, id, serves, actions); });
}

void World::deliver_addresses(PoolId id, uint32_t endpoint) {
  const auto at = std::find_if(pools.begin(), pools.end(),
                               [&](const PoolModel& each) { return each.id == id; });
  if (at == pools.end() || !at->questions.contains(endpoint)) return;
  PoolModel& pool = *at;
  const Question question = pool.questions.extract(endpoint).mapped();
  const std::vector<std::string> found = pool.truth[question.host];
  const bool fails = !calm && chance(10);
  trace.add(now, "endpoint %llu has %llu addresses", endpoint, fails ? 0 : found.size());
  if (!question.stale) {
    pool.answered.insert(question.host);
    if (!fails && !found.empty()) pool.known[question.host] = found;
  }
  event([&](channel::Actions& actions) {
    if (fails) {
      hub.resolve_failed(now, id, endpoint, "no such name", actions);
    } else {
      std::vector<channel::Place> places;
      for (const std::string& each : found) places.push_back({each, priority_of(each)});
      hub.resolved(now, id, endpoint, places, actions);
    }
  });
}

// --- actions ---

void World::carry_out() {
  while (!actions_.empty()) {
    const channel::Action action = actions_.take();
    std::visit([this](const auto& each) { on(each); }, action);
  }
}

void World::settle() {
  carry_out();
  check();
  cut_off_closed();
}

void World::on(const channel::Assign& assign) {
  trace.add(now, "Assign stream %llu to channel %llu", assign.stream.value(),
            assign.channel.value());
  judge(assign);
  StreamModel& stream = streams.at(assign.stream);
  stream.stage = Stage::assigned;
  stream.channel = assign.channel;
  channels.at(assign.channel).streams.insert(assign.stream);
  ++assigned;
}

void World::on(const channel::End& end) {
  trace.add(now, "End stream %llu with %llu", end.stream.value(), static_cast<uint64_t>(end.code));
  judge(end);
  PoolModel& pool = pools[streams.at(end.stream).pool];
  if (--pool.streams == 0 && pool.clients == 0) pool.unused_since = now;
  streams.erase(end.stream);
  ++refused;
}

void World::on(const channel::Resolve& resolve) {
  PoolModel& pool = pool_of(resolve.pool);
  trace.add(now, "Resolve endpoint %llu", resolve.endpoint);
  expect(resolve.endpoint < pool.policy.endpoints.size(), "an endpoint of the pool is looked up");
  expect(!pool.questions.contains(resolve.endpoint), "one look-up at a time");
  const std::string& host = pool.policy.endpoints[resolve.endpoint].host;
  const auto last = pool.asked_at.find(resolve.endpoint);
  expect(last == pool.asked_at.end() || now >= last->second + 1s, "not more than once a second");
  expect(may_dial(static_cast<size_t>(&pool - pools.data())), "only for a pool that may dial");
  pool.asked_at[resolve.endpoint] = now;
  pool.questions[resolve.endpoint] = {host, false};
  world_.emplace(now + (calm ? up_to(2ms) : up_to(200ms)),
                 Pending{Kind::resolved, {}, resolve.pool, resolve.endpoint});
}

void World::on(const channel::Dial& dial) {
  trace.add(now, "Dial channel %llu", dial.channel.value());
  judge(dial);
  PoolModel& pool = pool_of(dial.pool);
  ChannelModel& channel = channels[dial.channel];
  channel.id = dial.channel;
  channel.pool = static_cast<size_t>(&pool - pools.data());
  channel.address = dial.address;
  channel.dialed_at = now;
  switch (pool.addresses[dial.address].upstream) {
    case Upstream::hangs: return;
    case Upstream::refuses: return later(50ms, {Kind::dial_failed, dial.channel, {}});
    case Upstream::healthy:
    case Upstream::mute:
    case Upstream::unwell: later(50ms, {Kind::connected, dial.channel, {}});
  }
}

void World::on(const channel::Ping& ping) {
  ChannelModel& channel = channels.at(ping.channel);
  const PoolModel& pool = pools[channel.pool];
  expect(channel.up && !channel.closing, "what is connected is pinged", ping.channel.value());
  expect(now >= channel.heard_at + pool.policy.keepalive_time, "only what is silent is pinged");
  expect(pool.clients > 0 || !channel.streams.empty(), "only what is used is pinged");
  channel.pinged_at = now;
  later(100ms, {Kind::pong, ping.channel, {}});
}

void World::on(const channel::Close& close) {
  trace.add(now, "Close channel %llu: %llu", close.channel.value(),
            static_cast<uint64_t>(close.reason));
  judge(close);
  ChannelModel& channel = channels.at(close.channel);
  if (close.reason == CloseReason::dead && is_open(channel)) {
    if (channel.up) note_end(channel);
    if (!channel.up) note_dial_failed(channel);
  }
  if (channel.up) --pools[channel.pool].connected;
  channel.closing = true;
  to_cut_off_.push_back(close.channel);
  later(20ms, {Kind::closed, close.channel, {}});
}

void World::read_journal() {
  hub.take_events(told_);
  for (const pool::Event& each : told_) {
    if (each.kind != pool::EventKind::count) continue;
    for (PoolModel& pool : pools) {
      if (pool.id == each.pool) pool.told_connected = each.detail;
    }
  }
}

}  // namespace berth::sim::channels
