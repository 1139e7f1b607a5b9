#include "pool/depot.h"

#include <algorithm>
#include <utility>

#include "base/limits.h"

namespace berth::pool {
namespace {

// Found empty and not asked for twice in a row, a dynamic pool goes.
constexpr Duration kSweepEvery = 1min;

bool contains(const std::vector<uint32_t>& ids, uint32_t id) {
  return std::find(ids.begin(), ids.end(), id) != ids.end();
}

// Why such a session may not lease; "" if it may.
std::string forbids(const PoolPolicy& policy, const SessionInfo& info) {
  if (info.anonymous) return "";
  if (!info.tenant.empty()) {
    const auto& tenants = policy.tenants;
    if (std::find(tenants.begin(), tenants.end(), info.tenant) != tenants.end()) return "";
    return "keys of [socket." + info.tenant + "] do not name \"" + policy.key + "\"";
  }
  if (contains(policy.allow_uids, info.uid)) return "";
  for (const uint32_t gid : policy.allow_gids) {
    if (gid == info.gid || std::binary_search(info.groups.begin(), info.groups.end(), gid)) {
      return "";
    }
  }
  return "neither allow_users nor allow_groups of \"" + policy.key +
         "\" names it or one of its groups";
}

}  // namespace

Depot::Depot(DepotSettings settings)
    : settings_(settings), shared_(settings.fd_limit, settings.seed) {
  drain_.kind = Deadline::Kind::drain;
  sweep_.kind = Deadline::Kind::sweep;
}

// What is left when the process ends has nobody to tell.
Depot::~Depot() = default;

// --- pools ---

PoolId Depot::add_pool(TimePoint now, PoolPolicy policy, Actions& actions) {
  const PoolId id = pools_.allocate();
  const bool added = by_key_.try_emplace(policy.key, id).second;
  BERTH_CHECK(added, "a key has one pool");
  pools_[id] = std::make_unique<Pool>(id, std::move(policy), shared_);
  if (stopping_) {
    pools_[id]->stop(now, actions);
  } else {
    pools_[id]->open(now, actions);
  }
  settle(now, actions);
  return id;
}

PoolId Depot::add_dynamic_pool(TimePoint now, PoolPolicy policy, Actions& actions) {
  const PoolId id = add_pool(now, std::move(policy), actions);
  dynamic_.push_back({id, std::nullopt});
  if (sweep_.when == kNever) shared_.deadlines.set(sweep_, now + kSweepEvery);
  return id;
}

bool Depot::forget_empty(TimePoint now) {
  auto at = dynamic_.end();
  for (auto it = dynamic_.begin(); it != dynamic_.end(); ++it) {
    const Pool& pool = *pools_[it->id];
    if (!pool.empty(now)) continue;
    if (at == dynamic_.end() || pool.last_arrival() < pools_[at->id]->last_arrival()) at = it;
  }
  if (at == dynamic_.end()) return false;
  forget(at->id);
  dynamic_.erase(at);
  return true;
}

void Depot::forget(PoolId id) {
  by_key_.erase(pools_[id]->policy().key);
  pools_[id].reset();
  pools_.free(id);
}

void Depot::forget_unused(TimePoint now) {
  std::erase_if(dynamic_, [&](DynamicPool& dynamic) {
    const Pool& pool = *pools_[dynamic.id];
    const bool unused = pool.empty(now) && dynamic.empty_after == pool.last_arrival();
    if (unused) forget(dynamic.id);
    if (!unused && pool.empty(now)) dynamic.empty_after = pool.last_arrival();
    return unused;
  });
  if (!dynamic_.empty()) shared_.deadlines.set(sweep_, now + kSweepEvery);
}

bool Depot::reconfigure_pool(TimePoint now, PoolId id, PoolPolicy policy, Actions& actions) {
  Pool& pool = *pools_[id];
  std::vector<std::pair<Waiter*, Refusal>> strangers;
  for (Waiter& waiter : pool.waiters()) {
    if (auto refusal = refusal_of_kind(waiter.session->info, policy, waiter.ticket.detach)) {
      strangers.emplace_back(&waiter, std::move(*refusal));
    }
  }
  for (auto& [waiter, refusal] : strangers) {
    pool.turn_out(now, *waiter, std::move(refusal), actions);
  }
  const bool renewed = pool.reconfigure(now, std::move(policy), actions);
  settle(now, actions);
  return renewed;
}

void Depot::remove_pool(TimePoint now, PoolId id, Actions& actions) {
  by_key_.erase(pools_[id]->policy().key);
  std::erase_if(dynamic_, [id](const DynamicPool& dynamic) { return dynamic.id == id; });
  removed_.push_back(id);
  pools_[id]->remove(now, actions);
  settle(now, actions);
}

void Depot::forget_removed() {
  std::erase_if(removed_, [this](PoolId id) {
    if (pools_[id]->total() > 0) return false;
    pools_[id].reset();
    pools_.free(id);
    return true;
  });
}

void Depot::set_total_max_idle(TimePoint now, int most, Actions& actions) {
  settings_.total_max_idle = most;
  settle(now, actions);
}

std::optional<PoolId> Depot::find_pool(std::string_view key) const {
  const auto at = by_key_.find(key);
  return at != by_key_.end() ? std::optional(at->second) : std::nullopt;
}

std::vector<std::string_view> Depot::keys(SessionId id) const {
  const Session& session = sessions_[id];
  std::vector<std::string_view> keys;
  for_each_pool([&](const Pool& pool) {
    if (!pool.removed() && !refusal_of_access(session.info, pool.policy()))
      keys.push_back(pool.policy().key);
  });
  std::sort(keys.begin(), keys.end());
  return keys;
}

// --- sessions and their requests ---

SessionId Depot::open_session(const SessionInfo& info) {
  const SessionId id = sessions_.allocate();
  sessions_[id].id = id;
  sessions_[id].info = info;
  std::unique_ptr<User>& user = users_[info.uid];
  if (user == nullptr) user = std::make_unique<User>();
  ++user->sessions;
  sessions_[id].user = user.get();
  return id;
}

void Depot::end_session(TimePoint now, SessionId id, Actions& actions) {
  Session* session = sessions_.find(id);
  if (session == nullptr) return;
  // All of it ends before anybody is served, lest it be granted something at its end.
  absl::InlinedVector<PoolId, 4> left;
  while (Waiter* waiter = session->waiters.front()) {
    if (left.empty() || left.back() != waiter->pool) left.push_back(waiter->pool);
    pools_[waiter->pool]->abandon(now, *waiter);
  }
  while (Lease* lease = session->leases.front()) {
    pool_of(*lease->connection).end_lease(now, *lease, CloseReason::session_end, actions);
  }
  if (--session->user->sessions == 0) users_.erase(session->info.uid);
  sessions_.free(id);
  for (const PoolId pool : left) pools_[pool]->wake(now, actions);
  settle(now, actions);
}

// Rule A, and what a session may hold in all.
std::optional<Refusal> Depot::refusal_of_access(const SessionInfo& info, const PoolPolicy& policy) {
  if (std::string why = forbids(policy, info); !why.empty()) {
    return Refusal{Code::kNotPermitted, std::move(why), {}, {}};
  }
  const bool bare = policy.handoff == Handoff::direct || policy.handoff == Handoff::ktls;
  if (bare && !info.unmodified && is_carried(info, policy)) {
    return Refusal{Code::kNotPermitted,
                   "the program runs in another network namespace than berthd, and \"" +
                       policy.key + "\" says handoff = \"" + name_of(policy.handoff) +
                       "\" without sandbox = \"pinned\"",
                   {},
                   {}};
  }
  return std::nullopt;
}

// Detached: nobody but the program may be needed for the connection to live.
std::optional<Refusal> Depot::refusal_of_kind(const SessionInfo& info, const PoolPolicy& policy,
                                              bool detach) {
  if (auto refusal = refusal_of_access(info, policy)) return refusal;
  if (detach && policy.lends_slots()) {
    return Refusal{Code::kInvalid,
                   "\"" + policy.key + "\" is a pool of slots, which carry no connection to detach",
                   {},
                   {}};
  }
  if (detach && is_carried(info, policy)) {
    return Refusal{Code::kInvalid,
                   "berthd carries the bytes of this lease of \"" + policy.key +
                       "\", which ends with it: there is no connection to detach",
                   {},
                   {}};
  }
  if (detach && policy.uses_tls() && policy.handoff != Handoff::ktls) {
    return Refusal{Code::kInvalid,
                   "berthd may have to carry the bytes of \"" + policy.key +
                       "\", whose TLS is not always the kernel's: only with handoff = \"ktls\" "
                       "is there a connection to detach",
                   {},
                   {}};
  }
  return std::nullopt;
}

Forecast Depot::forecast(TimePoint now, const SessionInfo& info, PoolId id) const {
  const Pool& pool = *pools_[id];
  if (auto refusal = refusal_of_access(info, pool.policy())) {
    return {Step::refuse, {}, {}, std::move(refusal)};
  }
  return pool.forecast(now, info);
}

void Depot::request(TimePoint now, SessionId id, PoolId pool_id, const Request& request,
                    Actions& actions) {
  Session* const found = sessions_.find(id);
  if (found == nullptr) return;
  Session& session = *found;
  Pool& pool = *pools_[pool_id];
  std::optional<Refusal> refusal = refusal_of_kind(session.info, pool.policy(), request.detach);
  if (!refusal) refusal = refusal_of_amount(session, request.count);
  if (refusal) {
    pool.turn_away(now, id, request.request_id, std::move(*refusal), actions);
    return;
  }
  pool.request(now, session, request, actions);
  settle(now, actions);
}

std::optional<Refusal> Depot::refusal_of_amount(const Session& session, uint32_t count) const {
  const auto full = [](std::string text) {
    return Refusal{Code::kQueueFull, std::move(text), {}, {}};
  };
  if (session.leases.size() + count > kMaxLeasesPerSession) {
    return full("a session holds at most " + std::to_string(kMaxLeasesPerSession) + " leases");
  }
  const User& user = *session.user;
  const auto& [leases, waiters] = settings_.user_limits;
  if (leases != kUnlimited && user.leases + user.wanted + count > static_cast<uint64_t>(leases)) {
    return full("uid " + std::to_string(session.info.uid) + " holds " +
                std::to_string(user.leases) + " leases, waits for " + std::to_string(user.wanted) +
                " and asks for " + std::to_string(count) + "; max_leases_per_user is " +
                std::to_string(leases));
  }
  if (waiters != kUnlimited && user.waiters >= static_cast<uint64_t>(waiters)) {
    return full("uid " + std::to_string(session.info.uid) + " has " + std::to_string(user.waiters) +
                " requests that wait already (max_waiters_per_user)");
  }
  return std::nullopt;
}

Waiter* Depot::waiting(SessionId id, uint64_t request_id) const {
  const Session* session = sessions_.find(id);
  if (session == nullptr) return nullptr;
  for (Waiter& waiter : session->waiters) {
    if (waiter.ticket.request_id == request_id) return &waiter;
  }
  return nullptr;
}

bool Depot::waits(SessionId session, uint64_t request_id) const {
  return waiting(session, request_id) != nullptr;
}

void Depot::cancel(TimePoint now, SessionId session, uint64_t request_id, Actions& actions) {
  Waiter* waiter = waiting(session, request_id);
  if (waiter == nullptr) return;
  pools_[waiter->pool]->cancel(now, *waiter, actions);
  settle(now, actions);
}

const Lease* Depot::lease_of(SessionId session, LeaseId id) const {
  const Lease* lease = shared_.leases.find(id);
  return lease != nullptr && lease->session->id == session ? lease : nullptr;
}

bool Depot::release(TimePoint now, SessionId session, LeaseId id, Condition condition,
                    Actions& actions) {
  if (lease_of(session, id) == nullptr) return false;
  Lease& lease = shared_.leases[id];
  pool_of(*lease.connection).release(now, lease, condition, actions);
  settle(now, actions);
  return true;
}

// --- what came of actions ---

void Depot::take_back(TimePoint now, const Grant& grant, ConnectionId failed, CloseReason reason,
                      Actions& actions) {
  Session* session = sessions_.find(grant.ticket.session);
  if (session == nullptr) return;            // its end has closed the connections
  if (pools_.find(grant.pool) == nullptr) {  // removed, and its leases revoked meanwhile
    actions.add(Refuse{session->id, grant.ticket.request_id, {Code::kRevoked, "", {}, {}}});
    return;
  }
  Pool& pool = *pools_[grant.pool];
  pool.take_back(now, grant, *session,
                 refusal_of_kind(session->info, pool.policy(), grant.ticket.detach), failed, reason,
                 actions);
  settle(now, actions);
}

void Depot::detached(TimePoint now, const Grant& grant, Actions& actions) {
  for (const Granted& granted : grant.leases) {
    Lease* lease = shared_.leases.find(granted.lease);
    if (lease == nullptr) continue;
    pool_of(*lease->connection).end_lease(now, *lease, CloseReason::detached, actions);
  }
  settle(now, actions);
}

void Depot::carry(ConnectionId id) {
  Connection* connection = shared_.connections.find(id);
  BERTH_CHECK(connection != nullptr && connection->state == State::connecting,
              "how a connection is handed over is known before it is");
  connection->carried = true;
}

void Depot::dialed(TimePoint now, ConnectionId id, Actions& actions) {
  Connection* connection = shared_.connections.find(id);
  if (connection == nullptr || connection->state != State::connecting) return;
  pool_of(*connection).dialed(now, *connection, actions);
  settle(now, actions);
}

void Depot::dial_failed(TimePoint now, ConnectionId id, std::string_view error, Actions& actions) {
  Connection* connection = shared_.connections.find(id);
  if (connection == nullptr || connection->state != State::connecting) return;
  pool_of(*connection).dial_failed(now, *connection, error, actions);
  settle(now, actions);
}

void Depot::inspected(TimePoint now, ConnectionId id, bool clean, Actions& actions) {
  Connection* connection = shared_.connections.find(id);
  if (connection == nullptr || connection->state != State::resetting) return;
  pool_of(*connection).inspected(now, *connection, clean, actions);
  settle(now, actions);
}

void Depot::performed(TimePoint now, ConnectionId id, std::optional<CloseReason> fault,
                      std::string_view text, Actions& actions) {
  Connection* connection = shared_.connections.find(id);
  if (connection == nullptr) return;
  pool_of(*connection).performed(now, *connection, fault, text, actions);
  settle(now, actions);
}

void Depot::lost(TimePoint now, ConnectionId id, CloseReason reason, Actions& actions) {
  Connection* connection = shared_.connections.find(id);
  if (connection == nullptr) return;
  pool_of(*connection).lost(now, *connection, reason, actions);
  settle(now, actions);
}

void Depot::address_gone(TimePoint now, ConnectionId id, Actions& actions) {
  Connection* connection = shared_.connections.find(id);
  if (connection == nullptr) return;
  pool_of(*connection).address_gone(now, *connection, actions);
  settle(now, actions);
}

void Depot::closed(TimePoint now, ConnectionId id, Actions& actions) {
  Connection* connection = shared_.connections.find(id);
  BERTH_CHECK(connection != nullptr, "a connection is closed once");
  pool_of(*connection).closed(now, *connection, actions);
  settle(now, actions);
}

// --- the administrator ---

Depot::Renewed Depot::renew(TimePoint now, PoolId id, Actions& actions) {
  Pool& pool = *pools_[id];
  const size_t closed = pool.renew(now, actions);
  const size_t marked = pool.count(State::leased) + pool.count(State::resetting);
  settle(now, actions);
  return {closed, marked};
}

void Depot::set_intake(TimePoint now, PoolId id, Intake intake, Actions& actions) {
  pools_[id]->set_intake(now, intake, actions);
  settle(now, actions);
}

size_t Depot::evict(TimePoint now, PoolId id, size_t most, Actions& actions) {
  const size_t closed = pools_[id]->evict_idle(now, most, actions);
  settle(now, actions);
  return closed;
}

std::vector<Depot::Expired> Depot::expire(TimePoint now, Actions& actions) {
  std::vector<Expired> all;
  pools_.for_each([&](PoolId id, const auto& pool) {
    if (const size_t closed = pool->expire(now, actions); closed > 0) all.push_back({id, closed});
  });
  settle(now, actions);
  return all;
}

std::optional<bool> Depot::close_on_release(LeaseId id) {
  Lease* lease = shared_.leases.find(id);
  if (lease == nullptr) return std::nullopt;
  return pool_of(*lease->connection).close_on_release(*lease);
}

bool Depot::revoke(TimePoint now, LeaseId id, Actions& actions, Revoke::Cause cause) {
  Lease* lease = shared_.leases.find(id);
  if (lease == nullptr) return false;
  pool_of(*lease->connection).revoke(now, *lease, cause, actions);
  settle(now, actions);
  return true;
}

void Depot::shut_down(TimePoint now, Duration timeout, Actions& actions) {
  const bool again = std::exchange(stopping_, true);
  pools_.for_each([&](PoolId, const auto& pool) { pool->stop(now, actions); });
  if (again) {
    revoke_all(now, actions);
  } else {
    shared_.deadlines.set(drain_, after(now, timeout));
  }
}

void Depot::revoke_all(TimePoint now, Actions& actions) {
  pools_.for_each(
      [&](PoolId, const auto& pool) { pool->revoke_all(now, Revoke::Cause::shutdown, actions); });
}

// --- descriptors of others ---

bool Depot::reserve_slots(uint32_t count) {
  return shared_.slots.empty() && shared_.budget.reserve(count);
}

void Depot::release_slots(TimePoint now, uint32_t count, Actions& actions) {
  shared_.budget.release(count);
  settle(now, actions);
}

bool Depot::make_room(TimePoint now, uint32_t count, Actions& actions) {
  while (shared_.closing + shared_.budget.free() < count) {
    if (shared_.evictable.empty()) return false;
    evict_oldest(now, CloseReason::evicted, actions);
  }
  return true;
}

void Depot::evict_oldest(TimePoint now, CloseReason reason, Actions& actions) {
  Connection& oldest = *shared_.evictable.front();
  pool_of(oldest).evict(now, oldest, reason, actions);
}

// One step at a time until none is left to take: each may undo what an earlier one had settled.
void Depot::settle(TimePoint now, Actions& actions) {
  while (settle_one(now, actions)) {
  }
  if (!removed_.empty()) forget_removed();
}

bool Depot::settle_one(TimePoint now, Actions& actions) {
  if (!shared_.lifted.empty()) {
    const PoolId pool = *shared_.lifted.begin();
    shared_.lifted.erase(pool);
    pools_[pool]->wake(now, actions);
    return true;
  }
  const SlotQueue& slots = shared_.slots;
  const uint32_t free = shared_.budget.free();
  const bool evictable = !shared_.evictable.empty();
  if (!slots.empty() && free >= slots.front_need()) {
    pools_[slots.front()]->wake(now, actions);
    return true;
  }
  if (slots.needed() > shared_.closing + free && evictable) {
    evict_oldest(now, CloseReason::evicted, actions);
    return true;
  }
  if (!slots.empty() && shared_.closing == 0 && yield_latest(now, actions)) return true;
  if (slots.empty() && !shared_.hungry.empty() && free > 0) {
    pools_[*shared_.hungry.begin()]->wake(now, actions);
    return true;
  }
  if (settings_.total_max_idle == kUnlimited || !evictable) return false;
  const auto most = static_cast<size_t>(std::max(0, settings_.total_max_idle));
  if (shared_.idle <= most) return false;
  evict_oldest(now, CloseReason::overflow, actions);
  return true;
}

// Batches of several pools that each hold a part of what the others lack would wait for ever: the
// one that came last gives way, one slot at a time, to the first that waits for one.
bool Depot::yield_latest(TimePoint now, Actions& actions) {
  Waiter* latest = shared_.collectors.back();
  if (latest == nullptr || latest->ticket.arrival <= shared_.slots.front_arrival()) return false;
  pools_[latest->pool]->yield(now, *latest, actions);
  return true;
}

// --- time ---

void Depot::advance(TimePoint now, Actions& actions) {
  while (next_deadline() <= now) {
    while (Deadline* due = shared_.deadlines.pop_due(now)) dispatch(now, *due, actions);
    settle(now, actions);
  }
}

void Depot::dispatch(TimePoint now, Deadline& due, Actions& actions) {
  switch (due.kind) {
    case Deadline::Kind::connection: {
      Connection& connection = shared_.connections[ConnectionId::from_value(due.subject)];
      pool_of(connection).connection_due(now, connection, actions);
      break;
    }
    case Deadline::Kind::waiter: {
      Waiter& waiter = shared_.waiters[WaiterId::from_value(due.subject)];
      pools_[waiter.pool]->waiter_due(now, waiter, actions);
      break;
    }
    case Deadline::Kind::lease: {
      Lease& lease = shared_.leases[LeaseId::from_value(due.subject)];
      pool_of(*lease.connection).lease_due(now, lease, actions);
      break;
    }
    case Deadline::Kind::pool: pools_[PoolId::from_value(due.subject)]->due(now, actions); break;
    case Deadline::Kind::drain: revoke_all(now, actions); break;
    case Deadline::Kind::sweep: forget_unused(now); break;
  }
}

}  // namespace berth::pool
