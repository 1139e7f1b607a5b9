// The settings of one run: small limits and short times, so that everything happens often.
#include <algorithm>
#include <initializer_list>
#include <string>
#include <utility>

#include "sim/player.h"

namespace berth::sim {
namespace {

template <class T>
T any_of(Random& random, std::initializer_list<T> values) {
  return values.begin()[random.below(values.size())];
}

}  // namespace

// Nothing else means anything to slots.
pool::PoolPolicy Player::draw_slots(Random& random, pool::PoolPolicy policy) {
  policy.endpoints = {{.kind = Endpoint::Kind::slot, .host = {}, .path = {}}};
  policy.max_connections = any_of(random, {0, 0, 1, 3, 8});
  policy.min_idle = policy.max_idle = 0;
  policy.max_uses = 0;
  policy.warm = pool::Warm::reuse;
  policy.greeting = policy.login = policy.check = policy.reset = {};
  return policy;
}

pool::PoolPolicy Player::draw_policy(Random& random, size_t index) {
  pool::PoolPolicy policy;
  policy.key = "pool-" + std::to_string(index);
  policy.endpoints.clear();
  const bool secure = random.below(3) == 0;
  for (uint64_t left = any_of<uint64_t>(random, {1, 1, 2, 3}), port = 6379 + random.below(3);
       left > 0; --left, ++port) {
    policy.endpoints.push_back({Endpoint::Kind::tcp, "192.0.2.1", static_cast<uint16_t>(port), ""});
    policy.endpoints.back().secure = secure;
  }
  policy.balance = any_of(
      random, {pool::Balance::round_robin, pool::Balance::least_leased, pool::Balance::failover});
  policy.allow_uids = {0, 1};
  if (random.below(4) > 0) policy.tenants = {"app"};
  if (random.below(4) > 0) {
    policy.allow_uids.push_back(2);
  } else if (random.below(2) > 0) {
    policy.allow_gids = {static_cast<uint32_t>(random.below(4))};
  }
  policy.idle_order = any_of(random, {pool::IdleOrder::lifo, pool::IdleOrder::fifo});
  policy.share = any_of(random, {pool::Share::user, pool::Share::user, pool::Share::socket,
                                 pool::Share::group, pool::Share::any});
  policy.sandbox = any_of(random, {pool::Sandbox::relay, pool::Sandbox::pinned});
  policy.handoff =
      any_of(random, {pool::Handoff::automatic,
                      secure ? pool::Handoff::ktls : pool::Handoff::direct, pool::Handoff::relay});
  policy.max_connections = any_of(random, {0, 1, 2, 3, 5, 8});
  policy.min_idle = any_of(random, {0, 0, 0, 1, 2});
  if (policy.max_connections != pool::kUnlimited) {
    policy.min_idle = std::min(policy.min_idle, policy.max_connections);
  }
  policy.max_idle = any_of(random, {0, 0, -1, 1, 2});
  if (policy.max_idle == pool::kNone || policy.min_idle > policy.max_idle) {
    if (policy.max_idle != pool::kUnlimited && policy.min_idle > 0) policy.max_idle = 2;
  }
  policy.max_waiters = any_of(random, {2, 6, 1000});
  policy.max_uses = any_of<uint64_t>(random, {0, 0, 1, 3});
  policy.idle_timeout = any_of<Duration>(random, {0s, 500ms, 2s, 10s});
  policy.max_lifetime = any_of<Duration>(random, {0s, 700ms, 3s, 20s});
  if (random.below(2) == 0) policy.reset = {{.text = "RESET"}};
  if (random.below(2) == 0) policy.check = {{.text = "PING"}};
  if (random.below(4) == 0) policy.login = {{.text = "AUTH"}};
  policy.dial_concurrency = any_of(random, {1, 2, 4});
  if (random.below(5) == 0) policy.warm = pool::Warm::single_use;
  policy.max_warm_age = any_of<Duration>(random, {300ms, 2s, 45s});
  policy.check_after = any_of<Duration>(random, {0s, 5ms, 300ms, 5s});
  policy.check_interval = any_of<Duration>(random, {0s, 200ms, 1s, 10s});
  policy.check_timeout = 100ms;
  policy.dial_timeout = 1s;
  policy.reset_timeout = 200ms;
  policy.lease_warn = any_of<Duration>(random, {0s, 0s, 300ms, 2s});
  policy.lease_timeout = any_of<Duration>(random, {0s, 0s, 500ms, 3s});
  policy.fail_fast = random.below(2) == 0;
  return random.below(6) > 0 ? policy : draw_slots(random, std::move(policy));
}

int Player::draw_total_max_idle(Random& random) {
  return any_of(random, {0, 0, -1, 2, 5});
}

Player::Settings Player::draw_settings(Random& random) {
  Settings settings;
  const size_t pools = 2 + random.below(4);
  int min_idle = 0;
  for (size_t i = 0; i < pools; ++i) {
    settings.pools.push_back(draw_policy(random, i));
    min_idle += settings.pools.back().min_idle;
  }
  // So many that the largest batch can be had beside what the other pools keep.
  settings.depot.fd_limit =
      static_cast<uint32_t>(min_idle) + 6 + static_cast<uint32_t>(random.below(16));
  settings.depot.total_max_idle = draw_total_max_idle(random);
  settings.depot.user_limits.leases = any_of(random, {0, 0, 4, 12});
  settings.depot.user_limits.waiters = any_of(random, {0, 0, 3, 8});
  settings.depot.seed = random.next();
  return settings;
}

}  // namespace berth::sim
