#include "control/view.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "base/limits.h"
#include "base/log.h"
#include "base/nearest.h"
#include "control/measures.h"

namespace berth::control {
namespace {

// `after` of a page that begins with channels: beyond the places of all connections.
constexpr uint64_t kChannels = uint64_t{1} << 32;

uint32_t shown_pid(int32_t pid) {
  return pid > 0 ? static_cast<uint32_t>(pid) : 0;
}

void add_counts(const pool::Pool& pool, v1::ConnectionCounts& counts) {
  using pool::State;
  counts.set_connecting(counts.connecting() + u32(pool.count(State::connecting)));
  counts.set_idle(counts.idle() + u32(pool.count(State::idle)));
  counts.set_leased(counts.leased() + u32(pool.count(State::leased)));
  counts.set_parked(counts.parked() + u32(pool.count(State::parked)));
  counts.set_resetting(counts.resetting() + u32(pool.count(State::resetting)));
  counts.set_closing(counts.closing() + u32(pool.count(State::closing)));
}

v1::ConnectionInfo::Kind kind_of(const pool::PoolPolicy& policy) {
  if (policy.carries_channels()) return v1::ConnectionInfo::CLIENT;
  return policy.lends_slots() ? v1::ConnectionInfo::SLOT : v1::ConnectionInfo::STREAM;
}

size_t limit_of(const v1::ListRequest& request) {
  return request.limit() != 0 ? request.limit() : kMaxRowsPerPage;
}

void add_closes(const pool::Counters& counters, v1::PoolInfo& row) {
  for (size_t i = 0; i < kCloseReasons; ++i) {
    const auto reason = static_cast<CloseReason>(i);
    if (counters.of(reason) == 0) continue;
    v1::CloseCount& closes = *row.add_closes();
    closes.set_reason(reason_of(reason));
    closes.set_count(counters.of(reason));
  }
}

bool concerns(const pool::Session& session, PoolId pool) {
  for (const pool::Lease& lease : session.leases) {
    if (lease.connection->pool == pool) return true;
  }
  for (const pool::Waiter& waiter : session.waiters) {
    if (waiter.pool == pool) return true;
  }
  return false;
}

}  // namespace

v1::ConnectionInfo::State state_of(pool::State state) {
  switch (state) {
    case pool::State::connecting: return v1::ConnectionInfo::CONNECTING;
    case pool::State::idle: return v1::ConnectionInfo::IDLE;
    case pool::State::leased: return v1::ConnectionInfo::LEASED;
    case pool::State::parked: return v1::ConnectionInfo::PARKED;
    case pool::State::resetting: return v1::ConnectionInfo::RESETTING;
    case pool::State::closing: return v1::ConnectionInfo::CLOSING;
  }
  return v1::ConnectionInfo::STATE_UNSPECIFIED;
}

v1::CloseReason reason_of(CloseReason reason) {
  return static_cast<v1::CloseReason>(static_cast<int>(reason) + 1);
}

v1::PoolInfo::Intake intake_of(pool::Intake intake) {
  switch (intake) {
    case pool::Intake::open: return v1::PoolInfo::OPEN;
    case pool::Intake::paused: return v1::PoolInfo::PAUSED;
    case pool::Intake::disabled: return v1::PoolInfo::DISABLED;
  }
  return v1::PoolInfo::INTAKE_UNSPECIFIED;
}

View::View(const loop::Loop& loop, const broker::Broker& broker, std::string version,
           std::function<Clients()> clients)
    : loop_(loop),
      broker_(broker),
      version_(std::move(version)),
      clients_(std::move(clients)),
      started_(loop.now()) {}

absl::Status View::show(const v1::StatusRequest&, v1::StatusReply& reply) const {
  const pool::Shared& shared = depot().shared();
  reply.set_version(version_);
  reply.set_pid(shown_pid(getpid()));
  reply.set_uid(geteuid());
  reply.set_uptime_ms(ms_of(loop_.now() - started_));
  reply.set_stopping(depot().stopping());
  v1::ConnectionCounts& connections = *reply.mutable_connections();
  uint32_t pools = 0;
  depot().for_each_pool([&](const pool::Pool& pool) {
    ++pools;
    if (!pool.policy().carries_channels()) add_counts(pool, connections);
  });
  add_channel_pools(reply);
  reply.set_pools(pools);
  uint32_t sessions = 0;
  broker_.sessions().for_each([&](const broker::Session& session) {
    if (session.greeted()) ++sessions;
  });
  broker_.local_clients().for_each([&](uint64_t, SessionId, const std::string&) { ++sessions; });
  reply.set_sessions(sessions);
  reply.set_leases(u32(shared.leases.size()));
  reply.set_waiters(u32(shared.waiters.size()));
  reply.set_slots(shared.budget.limit());
  reply.set_slots_used(shared.budget.used());
  const Clients clients = clients_();
  reply.set_control_connections(u32(clients.connections));
  reply.set_watchers(u32(clients.watchers));
  reply.set_failed_closes(broker_.driver().failed_closes());
  reply.set_lost_log_lines(lost_log_lines());
  return absl::OkStatus();
}

absl::Status View::unknown_key(const std::string& key) const {
  std::vector<std::string_view> keys;
  depot().for_each_pool([&](const pool::Pool& pool) { keys.push_back(pool.policy().key); });
  const std::string near = nearest(key, keys);
  return absl::NotFoundError(fmt::format("no pool serves \"{}\"{}", key,
                                         near.empty() ? "" : "; did you mean \"" + near + "\"?"));
}

absl::StatusOr<PoolId> View::find_pool(const std::string& key) const {
  const broker::Keys::Found found = broker_.keys().look_up(key);
  if (const auto* pool = std::get_if<PoolId>(&found)) return *pool;
  if (const auto* wrong = std::get_if<pool::Refusal>(&found)) {
    return absl::InvalidArgumentError(wrong->text);
  }
  return unknown_key(key);
}

absl::StatusOr<std::optional<PoolId>> View::chosen(const v1::ListRequest& request) const {
  if (request.limit() > kMaxRowsPerPage) {
    return absl::InvalidArgumentError(fmt::format("limit is {}; at most {} rows are told at once",
                                                  request.limit(), kMaxRowsPerPage));
  }
  if (request.key().empty()) return std::nullopt;
  const absl::StatusOr<PoolId> pool = find_pool(request.key());
  if (!pool.ok()) return pool.status();
  return *pool;
}

// The rows of one page: those of `slab` that belong to the key.
template <class Slab, class Rows, class PoolOf, class Fill>
absl::Status View::list(const v1::ListRequest& request, const Slab& slab, Rows& rows,
                        uint64_t& next, PoolOf pool_of, Fill fill) const {
  const auto only = chosen(request);
  if (!only.ok()) return only.status();
  const auto first = static_cast<uint32_t>(std::min<uint64_t>(request.after(), UINT32_MAX));
  next = slab.for_some(first, kMaxRecordsPerPage, [&](auto, const auto& record) {
    if (*only && pool_of(record) != **only) return true;
    if (static_cast<size_t>(rows.size()) == limit_of(request)) return false;
    fill(record, *rows.Add());
    return true;
  });
  return absl::OkStatus();
}

// Channels follow the connections, whose clients they serve.
absl::Status View::show(const v1::ListRequest& request, v1::ListConnectionsReply& reply) const {
  if (request.after() >= kChannels) return list_channels(request, reply);
  uint64_t next = 0;
  absl::Status status = list(
      request, depot().shared().connections, *reply.mutable_connections(), next,
      [](const pool::Connection& connection) { return connection.pool; },
      [this](const pool::Connection& connection, auto& row) { fill(connection, row); });
  if (next == 0 && status.ok() && hub().shared().channels.size() > 0) next = kChannels;
  if (next != 0) reply.set_next(next);
  return status;
}

absl::Status View::list_channels(const v1::ListRequest& request,
                                 v1::ListConnectionsReply& reply) const {
  v1::ListRequest of_channels = request;
  of_channels.set_after(request.after() - kChannels);
  uint64_t next = 0;
  absl::Status status = list(
      of_channels, hub().shared().channels, *reply.mutable_connections(), next,
      [](const channel::Channel& channel) { return channel.pool->id(); },
      [this](const channel::Channel& channel, auto& row) { fill(channel, row); });
  if (next != 0) reply.set_next(kChannels + next);
  return status;
}

absl::Status View::show(const v1::ListRequest& request, v1::ListLeasesReply& reply) const {
  uint64_t next = 0;
  absl::Status status = list(
      request, depot().shared().leases, *reply.mutable_leases(), next,
      [](const pool::Lease& lease) { return lease.connection->pool; },
      [this](const pool::Lease& lease, auto& row) { fill(lease, row); });
  if (next != 0) reply.set_next(next);
  return status;
}

absl::Status View::show(const v1::ListRequest& request, v1::ListWaitersReply& reply) const {
  uint64_t next = 0;
  absl::Status status = list(
      request, depot().shared().waiters, *reply.mutable_waiters(), next,
      [](const pool::Waiter& waiter) { return waiter.pool; },
      [this](const pool::Waiter& waiter, auto& row) { fill(waiter, row); });
  if (next != 0) reply.set_next(next);
  return status;
}

// Pools are few enough to walk past those of earlier pages. The addresses of channel pools count as
// rows; those of one pool stand in one page.
absl::Status View::show(const v1::ListRequest& request, v1::ListPoolsReply& reply) const {
  const auto only = chosen(request);
  if (!only.ok()) return only.status();
  if (*only) {
    fill(depot().pool(**only), *reply.add_pools());
    return absl::OkStatus();
  }
  size_t rows = 0;
  depot().for_each_pool([&](const pool::Pool& pool) {
    if (pool.id().index() < request.after() || reply.has_next()) return;
    const channel::Pool* channels = hub().pool(pool.id());
    const size_t more = 1 + (channels != nullptr ? channels->subchannels().size() : 0);
    if (rows > 0 && rows + more > limit_of(request)) {
      reply.set_next(pool.id().index());
    } else {
      rows += more;
      fill(pool, *reply.add_pools());
    }
  });
  return absl::OkStatus();
}

// In the order of their numbers, by which `after` goes.
absl::Status View::show(const v1::ListRequest& request, v1::ListSessionsReply& reply) const {
  const auto only = chosen(request);
  if (!only.ok()) return only.status();
  struct Found {
    uint64_t number;
    const pool::Session* record;
    std::string_view name;
  };
  std::vector<Found> found;
  const auto look_at = [&](uint64_t number, SessionId id, std::string_view name) {
    const pool::Session* record = depot().session(id);
    if (record == nullptr || number < request.after()) return;
    if (!*only || concerns(*record, **only)) found.push_back({number, record, name});
  };
  broker_.sessions().for_each([&](const broker::Session& session) {
    look_at(session.number(), session.id(), session.name());
  });
  broker_.local_clients().for_each(look_at);
  std::sort(found.begin(), found.end(),
            [](const Found& a, const Found& b) { return a.number < b.number; });
  for (const Found& session : found) {
    if (static_cast<size_t>(reply.sessions_size()) == limit_of(request)) {
      reply.set_next(session.number);
      break;
    }
    v1::SessionInfo& row = *reply.add_sessions();
    row.set_name(std::string(session.name));
    fill(*session.record, row);
  }
  return absl::OkStatus();
}

void View::fill(const pool::Pool& pool, v1::PoolInfo& row) const {
  const pool::PoolPolicy& policy = pool.policy();
  row.set_key(policy.key);
  for (const Endpoint& endpoint : policy.endpoints) row.add_endpoints(endpoint.url());
  row.set_intake(intake_of(pool.intake()));
  const channel::Pool* channels = hub().pool(pool.id());
  v1::ConnectionCounts& connections = *row.mutable_connections();
  if (!policy.carries_channels()) add_counts(pool, connections);
  row.set_waiting(u32(pool.waiting()));
  row.set_max_connections(static_cast<uint32_t>(policy.max_connections));
  row.set_min_idle(static_cast<uint32_t>(policy.min_idle));
  const pool::Counters& counters = pool.counters();
  row.set_grants(counters.of(pool::EventKind::grant));
  row.set_refusals(counters.of(pool::EventKind::refuse));
  add_closes(channels != nullptr ? channels->counters() : counters, row);
  if (channels != nullptr) return fill(*channels, row);
  row.set_dials(counters.of(pool::EventKind::dial));
  row.set_failed_dials(counters.of(pool::EventKind::dial_failed));
  const pool::Why why = pool.why(loop_.now());
  row.set_dial_failures(why.dial_failures);
  if (why.dial_failures > 0) row.set_last_dial_error(shown(why.last_dial_error));
}

void View::fill(const pool::Connection& connection, v1::ConnectionInfo& row) const {
  const pool::Pool& in = depot().pool(connection.pool);
  row.set_kind(kind_of(in.policy()));
  row.set_connection_id(connection.id.value());
  row.set_key(in.policy().key);
  row.set_state(state_of(connection.state));
  row.set_in_state_ms(ms_of(loop_.now() - connection.since));
  if (!in.policy().carries_channels()) row.set_endpoint(in.endpoints()[connection.endpoint].name);
  row.set_uses(connection.uses);
  if (connection.state == pool::State::leased) row.set_lease_id(connection.lease.value());
  if (connection.expires_at != kNever) {
    row.set_expires_in_ms(ms_of(connection.expires_at - loop_.now()));
  }
  row.set_kept(connection.state == pool::State::idle && connection.kept);
  if (connection.state == pool::State::closing) {
    row.set_close_reason(reason_of(connection.close_reason));
  }
}

void View::fill(const pool::Lease& lease, v1::LeaseInfo& row) const {
  const pool::SessionInfo& who = lease.session->info;
  row.set_lease_id(lease.id.value());
  row.set_key(key_of(lease.connection->pool));
  row.set_session_id(lease.session->id.value());
  row.set_uid(who.uid);
  row.set_pid(shown_pid(who.pid));
  row.set_held_ms(ms_of(loop_.now() - lease.granted_at));
  row.set_connection_id(lease.connection->id.value());
}

void View::fill(const pool::Session& session, v1::SessionInfo& row) const {
  row.set_session_id(session.id.value());
  row.set_uid(session.info.uid);
  row.set_pid(shown_pid(session.info.pid));
  row.set_leases(u32(session.leases.size()));
  row.set_waiters(u32(session.waiters.size()));
  row.set_foreign_netns(session.info.foreign_netns);
}

void View::fill(const pool::Waiter& waiter, v1::WaiterInfo& row) const {
  const pool::SessionInfo& who = waiter.session->info;
  row.set_key(key_of(waiter.pool));
  row.set_session_id(waiter.session->id.value());
  row.set_request_id(waiter.ticket.request_id);
  row.set_uid(who.uid);
  row.set_pid(shown_pid(who.pid));
  row.set_count(waiter.count);
  row.set_missing(waiter.missing());
  row.set_waited_ms(ms_of(loop_.now() - waiter.ticket.since));
  if (waiter.ticket.until != kNever) {
    row.set_expires_in_ms(ms_of(waiter.ticket.until - loop_.now()));
  }
}

}  // namespace berth::control
