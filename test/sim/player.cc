#include "sim/player.h"

#include <algorithm>
#include <utility>

#include "sim/foretold.h"

namespace berth::sim {

using pool::Actions;
using pool::Condition;

namespace {

constexpr uint32_t kMostBatch = 6;
constexpr size_t kMostSessions = 8;
constexpr Duration kQuietTurn = 100ms;
constexpr int kQuietTurns = 900;  // 90 s: beyond every timeout and backoff

}  // namespace

Player::Player(uint64_t seed, bool aloud)
    : seed_(seed),
      model_(seed, aloud),
      settings_(draw_settings(model_.random)),
      driver_(model_, settings_.depot) {
  model_.now += 1h;
  model_.total_max_idle = settings_.depot.total_max_idle;
  model_.user_limits = settings_.depot.user_limits;
  model_.listening = model_.chance(50);
  driver_.depot().journal().listen(model_.listening);
  for (const pool::PoolPolicy& policy : settings_.pools) add_pool(policy, false);
}

void Player::play(const Turn& turn) {
  model_.random = Random(Random(seed_).next() + turn.step);
  model_.trace.step(turn.step);
  switch (turn.kind) {
    case Turn::Kind::step: return step();
    case Turn::Kind::quiet: return quiet();
    case Turn::Kind::shut_down: return shut_down();
  }
}

void Player::step() {
  const uint64_t draw = model_.random.below(100);
  if (draw < 24) {
    driver_.carry_out();
    driver_.pass_time(model_.now + model_.up_to(5ms), model_.chance(70));
  } else if (draw < 34) {
    driver_.carry_out();
    driver_.pass_time(model_.now + model_.up_to(400ms), model_.chance(70));
  } else if (draw < 62) {
    ask();
  } else if (draw < 84) {
    release();
  } else {
    sometimes();
  }
}

void Player::sometimes() {
  switch (model_.random.below(10)) {
    case 0: return open_session();
    case 1: return end_session();
    case 2: return cancel();
    case 3: return model_.chance(50) ? release_what_is_not_his() : release_what_is_over();
    case 4:
    case 5: return lose_one();
    case 6: return model_.chance(50) ? others() : close_quiet();
    case 7: return driver_.hand_over_again();
    default: return seldom();
  }
}

void Player::seldom() {
  driver_.carry_out();
  switch (model_.random.below(14)) {
    case 0:
    case 1: return change_upstream();
    case 2: return renew();
    case 3: return dynamic_pools();
    case 4:
    case 5: return set_intake();
    case 6: return evict();
    case 7: return expire();
    case 8: return revoke();
    case 9: return reload();
    case 10: return remove_pool();
    case 11: return set_total_max_idle();
    case 12: return lose_address();
    default: driver_.pass_time(model_.now + model_.up_to(6s), model_.chance(70));
  }
}

size_t Player::any_pool() {
  while (true) {
    const size_t pool = model_.random.below(model_.pools.size());
    if (model_.usable(pool)) return pool;
  }
}

// --- programs ---

void Player::open_session() {
  if (model_.sessions.size() >= kMostSessions) return;
  SessionModel session;
  session.info.uid = static_cast<uint32_t>(model_.random.below(3));
  session.info.socket = static_cast<uint32_t>(model_.random.below(2));
  if (session.info.socket != 0) session.info.tenant = "app";
  session.info.foreign_netns = model_.chance(10);
  session.info.gid = static_cast<uint32_t>(model_.random.below(2));
  if (model_.chance(50)) session.info.groups = {static_cast<uint32_t>(2 + model_.random.below(2))};
  session.id = driver_.depot().open_session(session.info);
  model_.trace.add(model_.now, "open session %llu, uid %llu, socket %llu", session.id.value(),
                   session.info.uid, session.info.socket);
  model_.sessions.push_back(session);
}

void Player::end_session() {
  if (model_.sessions.empty()) return;
  const size_t index = model_.random.below(model_.sessions.size());
  const SessionId id = model_.sessions[index].id;
  model_.trace.add(model_.now, "end session %llu", id.value());
  model_.sessions.erase(model_.sessions.begin() + static_cast<ptrdiff_t>(index));
  driver_.drop_hands(id);
  for (const LeaseModel& lease : model_.leases) {
    if (lease.session != id) continue;
    ConnectionModel& c = model_.connections.at(lease.connection);
    c.stage = Stage::returned;
    c.doomed = true;
    c.lease = {};
  }
  std::erase_if(model_.leases, [&](const LeaseModel& lease) { return lease.session == id; });
  for (auto at = model_.asks.begin(); at != model_.asks.end();) {
    const bool his = at->first.session == id;
    if (his && !at->second.in_hand) --model_.pools[at->second.pool].waiting;
    at = his ? model_.asks.erase(at) : std::next(at);
  }
  event([&](Actions& actions) { driver_.depot().end_session(model_.now, id, actions); });
}

Duration Player::draw_timeout() {
  switch (model_.random.below(8)) {
    case 0: return Duration::zero();
    case 1: return -1ms;
    case 2: return model_.up_to(20ms);
    case 3: return 1h;
    default: return model_.up_to(3s);
  }
}

void Player::ask() {
  if (model_.sessions.empty()) return open_session();
  const SessionModel& session = model_.sessions[model_.random.below(model_.sessions.size())];
  if (model_.asks.size() > 40) return;
  const bool batch = model_.chance(20);
  const pool::Request request{
      ++next_request_, batch ? 2 + static_cast<uint32_t>(model_.random.below(kMostBatch - 1)) : 1,
      draw_timeout(), model_.chance(5)};
  Ask ask;
  ask.key = {session.id, request.request_id};
  ask.pool = any_pool();
  ask.count = request.count;
  ask.owner = model_.owner_for(ask.pool, session.info);
  ask.asked_at = model_.now;
  ask.patient = request.timeout > 0s;
  ask.detach = request.detach;
  ask.until = model_.now + std::max<Duration>(request.timeout, 0s);
  ask.order = request.request_id;
  ask.entered = model_.event + 1;
  model_.trace.add(model_.now, "request %llu of %llu: pool %llu, count %llu", request.request_id,
                   session.id.value(), ask.pool, ask.count);
  const PoolId pool = model_.pools[ask.pool].id;
  ask.queue_before = driver_.depot().pool(pool).waiting();
  ask.foreign_netns = session.info.foreign_netns;
  ask.permitted = model_.may_ask(ask.pool, session.info);
  const pool::User& user = *driver_.depot().user(session.info.uid);
  const auto& [leases, waiters] = model_.user_limits;
  ask.too_much = (leases != 0 && user.leases + user.wanted + ask.count > size_t(leases)) ||
                 (waiters != 0 && user.waiters >= size_t(waiters));
  ++model_.pools[ask.pool].waiting;
  model_.asks.emplace(ask.key, ask);
  pool::Depot& depot = driver_.depot();
  event([&](Actions& actions) {
    if (ask.count > 1 || !ask.patient || model_.cannot_detach(ask)) {
      return depot.request(model_.now, session.id, pool, request, actions);
    }
    const Foretold foretold(model_, depot, ask);
    depot.request(model_.now, session.id, pool, request, actions);
    foretold.judge(actions.pending());
  });
}

void Player::cancel() {
  if (model_.asks.empty()) return;
  auto at = model_.asks.begin();
  std::advance(at, static_cast<ptrdiff_t>(model_.random.below(model_.asks.size())));
  const AskKey key = at->first;
  at->second.cancelled |= driver_.depot().waits(key.session, key.request);
  model_.trace.add(model_.now, "cancel request %llu of %llu", key.request, key.session.value());
  event([&](Actions& actions) {
    driver_.depot().cancel(model_.now, key.session, key.request, actions);
  });
}

void Player::release() {
  if (model_.leases.empty()) return;
  const size_t index = model_.random.below(model_.leases.size());
  const LeaseModel lease = model_.leases[index];
  model_.leases.erase(model_.leases.begin() + static_cast<ptrdiff_t>(index));
  ConnectionModel& c = model_.connections.at(lease.connection);
  const Condition condition = !model_.chance(85)  ? Condition::discarded
                              : c.slot            ? Condition::clean
                              : model_.chance(40) ? Condition::unsent
                              : model_.chance(93) ? Condition::clean
                                                  : Condition::dirty;
  const bool reset = !model_.pools[c.pool].policy.reset.empty();
  c.stage = condition == Condition::clean    ? (reset ? Stage::resetting : Stage::open)
            : condition == Condition::unsent ? Stage::unsent
                                             : Stage::returned;
  c.doomed = c.stage == Stage::returned;
  c.since = model_.now;
  if (condition == Condition::clean) {
    c.idle_since = model_.now;
    model_.used(c, false);
  }
  c.returned_event = model_.event + 1;
  c.lease = {};
  model_.trace.add(model_.now, "release %llu by %llu, condition %llu", c.id.value(),
                   lease.session.value(), static_cast<uint64_t>(condition));
  if (condition == Condition::unsent) driver_.tell_of_unsent(c.id);
  event([&](Actions& actions) {
    expect(driver_.depot().release(model_.now, lease.session, lease.id, condition, actions),
           "a holder may release", lease.id.value());
    ++model_.pools[c.pool].counted_of(pool::EventKind::release);
    // Again at once: nothing may come of it.
    expect(!driver_.depot().release(model_.now, lease.session, lease.id, condition, actions),
           "a lease is released once", lease.id.value());
  });
}

// Its holder has not heard yet that it was revoked, or errs about what he has for good.
void Player::release_what_is_over() {
  if (model_.over.empty()) return;
  const LeaseModel lease = model_.over[model_.random.below(model_.over.size())];
  const bool reuse = model_.chance(50);
  event([&](Actions& actions) {
    expect(!driver_.depot().release(model_.now, lease.session, lease.id,
                                    reuse ? Condition::clean : Condition::discarded, actions),
           "a revoked or detached lease is over", lease.id.value());
    expect(actions.empty(), "nothing comes of the release of a lease that is over",
           lease.id.value());
  });
}

void Player::release_what_is_not_his() {
  if (model_.sessions.empty()) return;
  const SessionId session = model_.sessions[model_.random.below(model_.sessions.size())].id;
  LeaseId lease = LeaseId::from_value(model_.random.next() >> model_.random.below(64));
  if (!model_.leases.empty() && model_.chance(70)) {
    const LeaseModel& other = model_.leases[model_.random.below(model_.leases.size())];
    if (other.session == session) return;
    lease = other.id;
  } else if (driver_.depot().lease(lease) != nullptr) {
    return;
  }
  event([&](Actions& actions) {
    expect(!driver_.depot().release(model_.now, session, lease, Condition::discarded, actions),
           "nobody releases what is not his", lease.value());
  });
}

// --- servers ---

void Player::change_upstream() {
  const size_t index = any_pool();
  PoolModel& pool = model_.pools[index];
  const bool dies = model_.chance(30);
  const auto places = driver_.depot().pool(pool.id).endpoints().all().size();
  for (uint32_t endpoint = 0; endpoint < places; ++endpoint) {
    if (model_.chance(30)) continue;
    const uint64_t draw = model_.random.below(8);
    Upstream& upstream = pool.endpoints[endpoint].upstream;
    upstream = draw == 0 ? Upstream::hangs : draw <= 2 ? Upstream::refuses : Upstream::healthy;
    model_.trace.add(model_.now, "upstream of pool %llu is now %llu, connections die %llu", index,
                     static_cast<uint64_t>(upstream), dies);
    for (auto& [id, c] : model_.connections) {
      c.dead |= dies && c.pool == index && c.endpoint == endpoint;
    }
  }
}

// The watch of an idle connection fires; often for one that has just left, or is being collected.
void Player::lose_one() {
  if (model_.connections.empty()) return;
  auto at = model_.connections.begin();
  std::advance(at, static_cast<ptrdiff_t>(model_.random.below(model_.connections.size())));
  lose(at->first);
}

void Player::lose(ConnectionId id) {
  ConnectionModel& c = model_.connections.at(id);
  const pool::Connection* own = driver_.depot().connection(id);
  const bool ready = own != nullptr && !own->lease.valid() &&
                     (own->state == pool::State::idle || own->state == pool::State::leased);
  if (ready && c.stage == Stage::open) c.stage = Stage::returned;
  if (ready && own->state == pool::State::idle) {
    model_.pools[c.pool].endpoints[c.endpoint].idle_age.closed(model_.now,
                                                               model_.now - c.quiet_since);
  }
  model_.trace.add(model_.now, "lost %llu", id.value());
  event(
      [&](Actions& actions) { driver_.depot().lost(model_.now, id, CloseReason::dead, actions); });
}

// A name has other addresses than before: some connections, in whatever state, are to one that is
// gone.
void Player::lose_address() {
  std::vector<ConnectionId> gone;
  for (const auto& [id, c] : model_.connections) {
    if (!c.slot && model_.chance(30)) gone.push_back(id);
  }
  for (const ConnectionId id : gone) {
    const auto at = model_.connections.find(id);
    if (at == model_.connections.end()) continue;  // another's end was its end too
    ConnectionModel& c = at->second;
    const uint64_t epoch = model_.pools[c.pool].epoch;
    if (c.stage != Stage::closing && c.epoch == epoch) c.epoch = pool::kGoneEpoch;
    model_.trace.add(model_.now, "the address of %llu is gone", id.value());
    event([&](Actions& actions) { driver_.depot().address_gone(model_.now, id, actions); });
  }
}

// A server with an idle timeout closes the one that is quiet for longest, when its time has come.
void Player::close_quiet() {
  driver_.carry_out();
  const size_t index = any_pool();
  const Duration limit = model_.pools[index].server_idle;
  if (limit == 0s) return;
  const ConnectionModel* quietest = nullptr;
  for (const auto& [id, c] : model_.connections) {
    if (c.pool != index || c.stage != Stage::open) continue;
    if (quietest == nullptr || c.quiet_since < quietest->quiet_since) quietest = &c;
  }
  if (quietest == nullptr || quietest->quiet_since + limit < model_.now) return;
  const ConnectionId id = quietest->id;
  driver_.pass_time(quietest->quiet_since + limit, true);
  const auto at = model_.connections.find(id);
  if (at == model_.connections.end() || at->second.quiet_since + limit != model_.now) return;
  const pool::Connection* own = driver_.depot().connection(id);
  if (own != nullptr && own->state == pool::State::idle) lose(id);
}

// --- time to make good ---

void Player::give_all_back() {
  driver_.hand_over_again();
  while (!model_.leases.empty()) release();
  driver_.carry_out();
}

void Player::quiet() {
  driver_.carry_out();
  model_.trace.add(model_.now, "quiet");
  model_.calm = true;
  for (size_t i = 0; i < model_.pools.size(); ++i) {
    for (auto& [at, endpoint] : model_.pools[i].endpoints) endpoint.upstream = Upstream::healthy;
    if (model_.usable(i)) open_or_close(i, pool::Intake::open);
  }
  pool::Depot& depot = driver_.depot();
  event([&](Actions& actions) {
    depot.release_slots(model_.now, std::exchange(model_.others_fds, 0), actions);
  });
  for (int turn = 0; turn < kQuietTurns; ++turn) {
    driver_.carry_out();
    give_all_back();
    if (model_.asks.empty() && turn > kQuietTurns / 2) break;
    driver_.pass_time(model_.now + (turn > 200 ? 10 * kQuietTurn : kQuietTurn), true);
  }
  driver_.checks().after_quiet();
  model_.calm = false;
}

void Player::shut_down() {
  driver_.carry_out();
  model_.trace.add(model_.now, "shut down");
  model_.stopping = true;
  model_.drained_by = model_.now + 2s;
  pool::Depot& depot = driver_.depot();
  event([&](Actions& actions) { depot.shut_down(model_.now, 2s, actions); });
  for (uint64_t left = model_.random.below(20); left > 0; --left) step();
  driver_.carry_out();
  if (model_.chance(30)) {
    model_.drained_by = model_.now;
    event([&](Actions& actions) { depot.shut_down(model_.now, 2s, actions); });
    driver_.carry_out();
  }
  driver_.pass_time(std::max(model_.now, model_.drained_by), true);
  driver_.checks().after_drain();
  driver_.pass_time(model_.now + 1s, true);
  driver_.hand_over_again();
  driver_.pass_time(model_.now + 1s, true);
  driver_.checks().after_shutdown();
}

}  // namespace berth::sim
