// The player's part that is the administrator and the rest of the daemon.
#include <algorithm>
#include <utility>

#include "sim/player.h"

namespace berth::sim {

using pool::Actions;

namespace {

constexpr uint32_t kMostOthers = 3;

}  // namespace

// --- pools come, change and go ---

size_t Player::add_pool(pool::PoolPolicy policy, bool dynamic) {
  PoolModel model;
  model.policy = policy;
  const size_t index = free_place();
  model.dynamic = dynamic;
  model.most_kept = policy.min_idle;
  if (model_.chance(40)) model.server_idle = 1200ms;
  model_.trace.add(model_.now, "add pool %llu", index);
  if (index == model_.pools.size()) model_.pools.emplace_back();
  model_.pools[index] = model;
  pool::Depot& depot = driver_.depot();
  driver_.event([&](Actions& actions) {
    const PoolId id = dynamic ? depot.add_dynamic_pool(model_.now, std::move(policy), actions)
                              : depot.add_pool(model_.now, std::move(policy), actions);
    model_.pools[index].id = id;
  });
  driver_.carry_out();
  return index;
}

// Where a pool was that has gone and that nobody asks any more.
size_t Player::free_place() const {
  for (size_t i = 0; i < model_.pools.size(); ++i) {
    const auto& asks = model_.asks;
    if (model_.pools[i].gone && std::none_of(asks.begin(), asks.end(), [&](const auto& ask) {
          return ask.second.pool == i;
        })) {
      return i;
    }
  }
  return model_.pools.size();
}

void Player::renew() {
  const size_t index = any_pool();
  PoolModel& pool = model_.pools[index];
  ++pool.epoch;
  for (auto& [at, endpoint] : pool.endpoints) endpoint.idle_age = {};
  size_t ready = 0;
  size_t out = 0;
  for (const auto& [id, c] : model_.connections) {
    ready += c.pool == index && c.stage == Stage::open;
    out += c.pool == index && c.stage != Stage::open && c.stage != Stage::dialing &&
           c.stage != Stage::closing;
  }
  model_.trace.add(model_.now, "renew pool %llu", index);
  event([&](Actions& actions) {
    const auto renewed = driver_.depot().renew(model_.now, pool.id, actions);
    expect(renewed.closed == ready, "renew says how many it closed", renewed.closed);
    expect(renewed.marked == out, "renew says how many it marked", renewed.marked);
  });
}

// Other limits and times; now and then other servers or another share.
void Player::reload() {
  const size_t index = any_pool();
  PoolModel& pool = model_.pools[index];
  pool::PoolPolicy policy = draw_policy(model_.random, index);
  policy.key = pool.policy.key;
  // What all pools keep together stays within the budget.
  policy.min_idle = std::min(policy.min_idle, pool.most_kept);
  if (!policy.lends_slots() && !pool.policy.lends_slots() && model_.chance(50))
    policy.endpoints = pool.policy.endpoints;
  const bool elsewhere = policy.endpoints != pool.policy.endpoints ||
                         policy.share != pool.policy.share || policy.login != pool.policy.login ||
                         policy.relogin != pool.policy.relogin || policy.warm != pool.policy.warm;
  if (elsewhere) {
    ++pool.epoch;
    for (auto& [at, endpoint] : pool.endpoints) endpoint = {endpoint.upstream, {}};
  }
  // Which are kept is decided anew, and none while there are more than max_connections.
  for (auto& [id, c] : model_.connections) c.was_kept &= c.pool != index;
  pool.policy = policy;
  pool.reload_event = model_.event + 1;
  judge_asks_anew(index);
  model_.trace.add(model_.now, "reload pool %llu, other servers %llu, max_connections %llu", index,
                   elsewhere, static_cast<uint64_t>(policy.max_connections));
  event([&](Actions& actions) {
    const bool renewed =
        driver_.depot().reconfigure_pool(model_.now, pool.id, std::move(policy), actions);
    expect(renewed == elsewhere, "other servers or another share renew a pool", index);
  });
}

// After a reload; those in hand too, should they be taken back.
void Player::judge_asks_anew(size_t pool) {
  for (auto& [key, ask] : model_.asks) {
    if (ask.pool != pool) continue;
    const pool::SessionInfo& info = model_.session(key.session)->info;
    ask.owner = model_.owner_for(pool, info);
    ask.permitted = model_.may_ask(pool, info);
  }
}

// The configuration has another pool of its key instead, or it came from a dynamic key.
void Player::remove_pool() {
  const size_t index = any_pool();
  if (model_.stopping) return;
  PoolModel& pool = model_.pools[index];
  pool::PoolPolicy policy = draw_policy(model_.random, index);
  policy.key = pool.policy.key;
  policy.min_idle = std::min(policy.min_idle, pool.most_kept);
  const bool dynamic = pool.dynamic;
  const int most_kept = pool.most_kept;
  pool.removed = true;
  model_.trace.add(model_.now, "remove pool %llu", index);
  event([&](Actions& actions) { driver_.depot().remove_pool(model_.now, pool.id, actions); });
  driver_.carry_out();
  if (!dynamic) model_.pools[add_pool(std::move(policy), false)].most_kept = most_kept;
}

void Player::set_total_max_idle() {
  model_.total_max_idle = draw_total_max_idle(model_.random);
  model_.trace.add(model_.now, "total_max_idle is now %llu",
                   static_cast<uint64_t>(std::max(0, model_.total_max_idle)));
  event([&](Actions& actions) {
    driver_.depot().set_total_max_idle(model_.now, model_.total_max_idle, actions);
  });
}

void Player::set_intake() {
  constexpr pool::Intake kAll[] = {pool::Intake::open, pool::Intake::open, pool::Intake::paused,
                                   pool::Intake::disabled};
  const size_t index = any_pool();
  open_or_close(index, kAll[model_.random.below(4)]);
}

void Player::open_or_close(size_t index, pool::Intake intake) {
  PoolModel& pool = model_.pools[index];
  if (pool.intake == intake) return;
  pool.intake = intake;
  pool.intake_event = model_.event + 1;
  model_.trace.add(model_.now, "intake of pool %llu is now %llu", index,
                   static_cast<uint64_t>(intake));
  event(
      [&](Actions& actions) { driver_.depot().set_intake(model_.now, pool.id, intake, actions); });
}

void Player::evict() {
  const size_t index = any_pool();
  PoolModel& pool = model_.pools[index];
  const size_t most = model_.random.below(4);
  const size_t idle = driver_.depot().pool(pool.id).count(pool::State::idle);
  pool.evict_event = model_.event + 1;
  model_.trace.add(model_.now, "evict %llu of pool %llu", most, index);
  event([&](Actions& actions) {
    const size_t closed = driver_.depot().evict(model_.now, pool.id, most, actions);
    expect(closed == std::min(most, idle), "an eviction says how many it closed", closed);
  });
}

void Player::expire() {
  model_.tick_before = model_.tick;
  model_.tick = model_.now;
  model_.trace.add(model_.now, "a tick of expire");
  event([&](Actions& actions) {
    size_t told = 0;
    for (const auto& pool : driver_.depot().expire(model_.now, actions)) told += pool.closed;
    const auto pending = actions.pending();
    const auto closed = std::count_if(pending.begin(), pending.end(), [](const auto& action) {
      const auto* close = std::get_if<pool::Close>(&action);
      return close != nullptr && close->reason == CloseReason::expired;
    });
    expect(told == static_cast<size_t>(closed), "a tick says how many it closed", told);
  });
}

void Player::revoke() {
  std::vector<LeaseId> leases;  // those in hand too
  for (const auto& [id, c] : model_.connections) {
    if (c.stage == Stage::leased) leases.push_back(c.lease);
  }
  if (leases.empty()) return;
  const LeaseId lease = leases[model_.random.below(leases.size())];
  if (model_.chance(50)) return close_on_release(lease);
  model_.revoking = lease;
  model_.trace.add(model_.now, "revoke lease %llu", model_.revoking.value());
  driver_.event([&](Actions& actions) {
    expect(driver_.depot().revoke(model_.now, model_.revoking, actions), "a lease may be revoked",
           model_.revoking.value());
    expect(!driver_.depot().revoke(model_.now, model_.revoking, actions), "a lease is revoked once",
           model_.revoking.value());
  });
  driver_.carry_out();
  model_.revoking = {};
}

void Player::close_on_release(LeaseId lease) {
  model_.trace.add(model_.now, "close lease %llu on release", lease.value());
  for (auto& [id, c] : model_.connections) {
    if (c.lease != lease) continue;
    const bool renewed = c.epoch != model_.pools[c.pool].epoch;
    if (!renewed) c.epoch = pool::kNoEpoch;
    expect(driver_.depot().close_on_release(lease) == !renewed, "a connection is marked once",
           lease.value());
  }
}

void Player::others() {
  pool::Depot& depot = driver_.depot();
  if (model_.others_fds > 0 && model_.chance(50)) {
    --model_.others_fds;
    model_.trace.add(model_.now, "others give a descriptor back");
    return event([&](Actions& actions) { depot.release_slots(model_.now, 1, actions); });
  }
  if (model_.others_fds >= kMostOthers) return;
  const auto wanted = 1 + static_cast<uint32_t>(model_.random.below(2));
  const bool could = depot.could_reserve(wanted);
  if (depot.reserve_slots(wanted)) {
    model_.others_fds += wanted;
    model_.trace.add(model_.now, "others take %llu descriptors", wanted);
    expect(could, "what could not be reserved is not", wanted);
    return;
  }
  model_.make_room_event = model_.event + 1;
  model_.trace.add(model_.now, "others want %llu descriptors", wanted);
  event([&](Actions& actions) {
    const bool made = depot.make_room(model_.now, wanted, actions);
    expect(made || !could, "idle connections make room for others", wanted);
  });
}

void Player::dynamic_pools() {
  pool::Depot& depot = driver_.depot();
  if (depot.dynamic_pools() < 2) {
    pool::PoolPolicy policy = draw_policy(model_.random, next_dynamic_);
    policy.key = "dynamic-" + std::to_string(next_dynamic_++);
    policy.min_idle = 0;
    add_pool(std::move(policy), true);
    return;
  }
  const bool forgot = depot.forget_empty(model_.now);
  model_.trace.add(model_.now, "forget an empty pool: %llu", forgot);
  driver_.note_forgotten();
}

}  // namespace berth::sim
