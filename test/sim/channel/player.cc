#include "sim/channel/player.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <utility>

namespace berth::sim::channels {

using channel::Balance;
using channel::ChannelPolicy;
using Stage = StreamModel::Stage;

namespace {

constexpr size_t kPools = 3;
constexpr uint64_t kHosts = 4;
constexpr size_t kMostStreams = 80;
constexpr Duration kQuiet = 90s;  // beyond every timeout and backoff

}  // namespace

Player::Player(uint64_t seed, bool aloud) : seed_(seed), world_(seed, aloud) {
  for (size_t i = 0; i < kPools; ++i) add_pool();
}

// --- pools ---

ChannelPolicy Player::draw_policy() {
  World& w = world_;
  const auto pick = [&](auto... values) {
    const std::array all{values...};
    return all[w.random.below(all.size())];
  };
  ChannelPolicy p;
  p.key = "pool";
  const uint64_t first = w.random.below(kHosts);
  const uint64_t count = 1 + w.random.below(3);
  for (uint64_t i = 0; i < count; ++i) {
    p.endpoints.push_back({Endpoint::Kind::tcp, "h" + std::to_string((first + i) % kHosts), 1, ""});
  }
  p.balance = pick(Balance::round_robin, Balance::least_streams, Balance::failover);
  p.max_channels = pick(1u, 2u, 4u);
  p.max_streams_per_channel = pick(0u, 0u, 1u, 3u);
  p.max_waiters = pick(5u, 10'000u);
  p.acquire_timeout = pick(Duration(1s), Duration(5s));
  p.dial_timeout = 2s;
  p.fail_fast = w.chance(50);
  p.max_lifetime = pick(Duration(0s), Duration(2s), Duration(20s));
  p.drain_timeout = 3s;
  p.keepalive_time = 1s;
  p.keepalive_timeout = 500ms;
  p.idle_timeout = pick(Duration(0s), Duration(1s), Duration(10s));
  p.dns_refresh = pick(Duration(0s), Duration(2s));
  p.retry = {pick(1u, 2u, 4u), only(GrpcCode::unavailable), 20ms};
  p.health = w.chance(30);
  return p;
}

void Player::draw_truth(PoolModel& pool) {
  for (uint64_t host = 0; host < kHosts; ++host) {
    const std::string name = "h" + std::to_string(host);
    std::vector<std::string>& addresses = pool.truth[name];
    addresses.clear();
    for (int i = 0; i < 3; ++i) {
      if (world_.chance(60)) addresses.push_back(name + "." + std::to_string(i));
    }
    if (addresses.empty() || world_.chance(5)) addresses = {name + ".0"};
  }
}

void Player::add_pool() {
  World& w = world_;
  auto at = std::find_if(w.pools.begin(), w.pools.end(), [](const PoolModel& p) { return p.gone; });
  if (at == w.pools.end()) at = w.pools.emplace(at);
  *at = PoolModel();
  PoolModel& pool = *at;
  pool.id = PoolId(next_pool_++, 1);
  pool.policy = draw_policy();
  pool.was_failover = pool.policy.balance == Balance::failover;
  draw_truth(pool);
  w.trace.add(w.now, "pool %llu is added", pool.id.value());
  w.event([&](channel::Actions& actions) { w.hub.add_pool(w.now, pool.id, pool.policy, actions); });
}

// --- turns ---

void Player::play(const Turn& turn) {
  world_.random = Random(Random(seed_).next() + turn.step);
  world_.trace.step(turn.step);
  switch (turn.kind) {
    case Turn::Kind::step: return step();
    case Turn::Kind::quiet: return quiet();
    case Turn::Kind::shut_down: return shut_down();
  }
}

void Player::step() {
  World& w = world_;
  const uint64_t draw = w.random.below(100);
  if (draw < 30) {
    w.pass_time(w.now + w.up_to(5ms), w.chance(70));
  } else if (draw < 40) {
    w.pass_time(w.now + w.up_to(400ms), w.chance(70));
  } else if (draw < 65) {
    open_streams();
  } else if (draw < 85) {
    end_one();
  } else if (draw < 90) {
    fail_one();
  } else {
    sometimes();
  }
}

void Player::sometimes() {
  switch (world_.random.below(8)) {
    case 0:
    case 1: return join_or_leave();
    case 2: return change_upstream();
    case 3: return lose_one();
    case 4: return tell_limit();
    case 5: return tell_health();
    case 6: return move_addresses();
    default: return seldom();
  }
}

void Player::seldom() {
  switch (world_.random.below(8)) {
    case 0: return renew();
    case 6: return evict();
    case 1:
    case 2: return expire();
    case 3: return set_intake();
    case 4: return reload();
    case 5: return replace_pool();
    default: world_.pass_time(world_.now + world_.up_to(15s), world_.chance(70));
  }
}

// --- programs ---

void Player::open_streams() {
  World& w = world_;
  const size_t pool = any_pool();
  if (w.pools[pool].gone) return;
  const uint64_t count = w.chance(10) ? w.random.below(20) : 1;
  for (uint64_t i = 0; i < count && w.streams.size() < kMostStreams; ++i) {
    w.open_stream(pool, w.chance(30) ? w.now + w.up_to(3s) : kNever);
    if (w.pools[pool].gone) return;
  }
}

StreamId Player::any_stream(std::initializer_list<Stage> stages) {
  std::vector<StreamId> found;
  for (const auto& [id, stream] : world_.streams) {
    if (std::find(stages.begin(), stages.end(), stream.stage) != stages.end()) found.push_back(id);
  }
  return found.empty() ? StreamId() : found[world_.random.below(found.size())];
}

void Player::end_one() {
  world_.end_stream(any_stream({Stage::assigned, Stage::failed, Stage::waiting, Stage::resting}));
}

void Player::fail_one() {
  World& w = world_;
  const StreamId id = any_stream({Stage::assigned});
  if (!id.valid()) return;
  const GrpcCode code = w.chance(70) ? GrpcCode::unavailable : GrpcCode::internal;
  w.fail_stream(id, {w.chance(40), code}, w.chance(80));
}

void Player::join_or_leave() {
  World& w = world_;
  PoolModel& pool = w.pools[any_pool()];
  if (pool.gone) return;
  const bool joins = pool.clients == 0 || w.chance(40);
  w.trace.add(w.now, joins ? "a client of pool %llu comes" : "a client of pool %llu goes",
              pool.id.value());
  if (joins) {
    ++pool.clients;
    w.event([&](channel::Actions& actions) { w.hub.join(w.now, pool.id, actions); });
  } else {
    if (--pool.clients == 0 && pool.streams == 0) pool.unused_since = w.now;
    w.event([&](channel::Actions& actions) { w.hub.leave(w.now, pool.id, actions); });
  }
}

// --- servers ---

void Player::change_upstream() {
  World& w = world_;
  PoolModel& pool = w.pools[any_pool()];
  if (pool.addresses.empty()) return;
  auto at = pool.addresses.begin();
  std::advance(at, w.random.below(pool.addresses.size()));
  constexpr std::array kAll{Upstream::healthy, Upstream::healthy, Upstream::refuses,
                            Upstream::hangs,   Upstream::mute,    Upstream::unwell};
  constexpr std::array kLimits{0u, 1u, 2u, 5u, 100u};
  at->second.upstream = kAll[w.random.below(kAll.size())];
  at->second.max_streams = kLimits[w.random.below(kLimits.size())];
}

ConnectionId Player::any_channel() {
  World& w = world_;
  if (w.channels.empty()) return {};
  auto at = w.channels.begin();
  std::advance(at, w.random.below(w.channels.size()));
  return at->second.up && !at->second.closing ? at->first : ConnectionId();
}

void Player::lose_one() {
  const ConnectionId id = any_channel();
  if (!id.valid()) return;
  if (world_.chance(40)) {
    world_.goaway(id);
  } else {
    world_.lose(id);
  }
}

void Player::tell_limit() {
  const ConnectionId id = any_channel();
  if (id.valid()) world_.tell_limit(id, static_cast<uint32_t>(world_.random.below(6)));
}

void Player::tell_health() {
  const ConnectionId id = any_channel();
  if (id.valid()) world_.tell_health(id);
}

void Player::move_addresses() {
  draw_truth(world_.pools[any_pool()]);
}

// --- the administrator ---

void Player::renew() {
  World& w = world_;
  const size_t index = any_pool();
  PoolModel& pool = w.pools[index];
  if (pool.gone) return;
  w.trace.add(w.now, "pool %llu is renewed", pool.id.value());
  for (auto& [id, channel] : w.channels) {
    if (channel.pool == index && w.is_open(channel)) channel.renewed = true;
  }
  w.event([&](channel::Actions& actions) { w.hub.renew(w.now, pool.id, actions); });
}

void Player::evict() {
  World& w = world_;
  PoolModel& pool = w.pools[any_pool()];
  if (pool.gone) return;
  const size_t most = w.random.below(4);
  w.trace.add(w.now, "pool %llu evicts up to %zu", pool.id.value(), most);
  w.evicting = &pool;
  w.event([&](channel::Actions& actions) {
    expect(w.hub.evict(w.now, pool.id, most, actions) <= most, "no more are evicted than asked",
           pool.id.value());
  });
  w.evicting = nullptr;
}

void Player::expire() {
  World& w = world_;
  w.trace.add(w.now, "a tick of expire");
  w.expiring = true;
  w.event([&](channel::Actions& actions) { w.hub.expire(w.now, actions); });
  w.expiring = false;
}

void Player::set_intake() {
  World& w = world_;
  PoolModel& pool = w.pools[any_pool()];
  if (pool.gone || pool.removed) return;
  constexpr std::array kAll{pool::Intake::open, pool::Intake::open, pool::Intake::paused,
                            pool::Intake::disabled};
  const pool::Intake intake = kAll[w.random.below(kAll.size())];
  w.trace.add(w.now, "intake of pool %llu: %llu", pool.id.value(), static_cast<uint64_t>(intake));
  pool.intake = intake;
  w.event([&](channel::Actions& actions) { w.hub.set_intake(w.now, pool.id, intake, actions); });
}

void Player::reload() {
  World& w = world_;
  PoolModel& pool = w.pools[any_pool()];
  if (pool.gone || pool.removed) return;
  const ChannelPolicy before = std::exchange(pool.policy, draw_policy());
  w.trace.add(w.now, "pool %llu is reloaded", pool.id.value());
  pool.reloaded = true;
  pool.was_failover |= pool.policy.balance == Balance::failover;
  w.note_endpoints(pool, before.endpoints);
  w.event([&](channel::Actions& actions) {
    w.hub.reconfigure_pool(w.now, pool.id, pool.policy, actions);
  });
}

void Player::replace_pool() {
  World& w = world_;
  PoolModel& pool = w.pools[any_pool()];
  if (pool.gone || pool.removed || w.pools.size() > 2 * kPools) return;
  w.trace.add(w.now, "pool %llu is removed", pool.id.value());
  pool.removed = true;
  w.event([&](channel::Actions& actions) { w.hub.remove_pool(w.now, pool.id, actions); });
  add_pool();
}

// --- the ends ---

void Player::end_all() {
  while (!world_.streams.empty()) world_.end_stream(world_.streams.begin()->first);
}

void Player::heal_channels() {
  std::vector<ConnectionId> ids;
  for (const auto& [id, channel] : world_.channels) ids.push_back(id);
  for (const ConnectionId id : ids) {
    const auto at = world_.channels.find(id);
    if (at == world_.channels.end() || !at->second.up || at->second.closing) continue;
    world_.tell_limit(id, 100);
    world_.tell_health(id);
  }
}

void Player::quiet() {
  World& w = world_;
  w.calm = true;
  end_all();
  for (PoolModel& pool : w.pools) {
    for (auto& [name, address] : pool.addresses) address = w.healed(address);
    if (pool.gone || pool.removed) continue;
    pool.intake = pool::Intake::open;
    w.event([&](channel::Actions& actions) {
      w.hub.set_intake(w.now, pool.id, pool::Intake::open, actions);
    });
    if (pool.clients > 0) continue;
    ++pool.clients;
    w.event([&](channel::Actions& actions) { w.hub.join(w.now, pool.id, actions); });
  }
  heal_channels();
  w.pass_time(w.now + kQuiet, true);
  for (size_t i = 0; i < w.pools.size(); ++i) {
    if (w.pools[i].gone || w.pools[i].removed) continue;
    expect(!w.with_room(i).empty(), "after quiet a pool in use has a channel", i);
    w.open_stream(i, kNever);
    expect(w.waiting_at_all(i) == 0, "after quiet nobody waits", i);
  }
  w.calm = false;
}

void Player::shut_down() {
  World& w = world_;
  w.trace.add(w.now, "shutdown");
  w.stopping = true;
  w.calm = true;
  w.event([&](channel::Actions& actions) { w.hub.shut_down(w.now, actions); });
  w.pass_time(w.now + 1s, true);
  if (w.chance(50)) end_all();
  w.pass_time(w.now + 10s, true);
  end_all();
  expect(w.hub.drained(), "after a shutdown nothing is left");
  expect(w.hub.next_deadline() == kNever, "after a shutdown nothing will be due");
}

}  // namespace berth::sim::channels
