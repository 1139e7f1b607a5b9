#include "broker/driver.h"

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "base/status_text.h"
#include "net/pin.h"
#include "net/process.h"

namespace berth::broker {
namespace {

Question question_of(const Endpoint& endpoint, const pool::PoolPolicy& policy) {
  return {endpoint, policy.resolver, policy.dns_refresh, policy.balance != pool::Balance::failover};
}

}  // namespace

PoolDriver::PoolDriver(loop::Loop& loop, const pool::DepotSettings& settings, bool pin)
    : loop_(loop),
      pin_(pin),
      depot_(settings),
      lookups_(loop),
      resolver_(
          loop,
          [this](const Question& question, std::function<void(net::Answer)> done) {
            lookups_.ask(question, std::move(done));
          },
          [this](ConnectionId id) { address_gone(id); }, settings.seed),
      dialer_(loop, resolver_,
              {[this] { return depot_.reserve_slots(1); },
               [this](uint32_t count) { release_slots(count); }},
              [this](ConnectionId id, absl::StatusOr<Dialed> result) {
                dialed(id, std::move(result));
              }),
      dialogues_(
          loop,
          [this](ConnectionId id, Talk talk, const std::string& why) { talked(id, talk, why); },
          {[this] { return depot_.reserve_slots(1); }, [this] { release_slots(1); }}),
      commands_(
          loop,
          {[this](uint32_t count) { return could_reserve(count); },
           [this](uint32_t count) { return reserve_slots(count); },
           [this](uint32_t count) { release_slots(count); }},
          [this](ConnectionId id, absl::StatusOr<Dialed> result) { dialed(id, std::move(result)); },
          [this](ConnectionId id, Talk talk, const std::string& why) {
            talked(id, talk, why.empty() ? flaw_after_login(id) : why);
          }),
      idle_watch_(
          loop, upstreams_,
          [this](ConnectionId id) -> std::optional<TimePoint> {
            const pool::Connection* connection = depot_.connection(id);
            if (connection == nullptr || connection->state != pool::State::idle) return {};
            return connection->idle_since;
          },
          [this](ConnectionId id) { stirred(id); }),
      relays_(
          loop, [this](ConnectionId id) { program_gone(id); },
          [this](uint32_t count) { return depot_.reserve_slots(count); }),
      channels_(
          loop, resolver_,
          {[this](uint32_t count) { return could_reserve(count); },
           [this](uint32_t count) { return reserve_slots(count); },
           [this](uint32_t count) { release_slots(count); }},
          [this](ConnectionId id) { program_gone(id); }, settings.seed, pin),
      timer_(loop,
             [this] {
               dialogues_.expire();
               commands_.expire();
               depot_.advance(loop_.now(), actions_);
               pump();
             }),
      settling_timer_(loop, [this] { inspect_settling(); }),
      revoked_timer_(loop, [this] { reset_revoked(); }),
      farewells_(loop, [this](const absl::Status& closed) {
        note_close(closed, "?");
        release_slots(1);
      }) {}

PoolDriver::~PoolDriver() {
  for (Revoked& revoked : revoked_) close_upstream(std::move(revoked.upstream), "?");
}

PoolId PoolDriver::add_pool(pool::PoolPolicy policy, bool dynamic) {
  const TimePoint now = loop_.now();
  const PoolId id = dynamic ? depot_.add_dynamic_pool(now, std::move(policy), actions_)
                            : depot_.add_pool(now, std::move(policy), actions_);
  compile(id);
  channels_.add_pool(id, depot_.pool(id).policy());
  pump();
  return id;
}

bool PoolDriver::reconfigure_pool(PoolId pool, pool::PoolPolicy policy) {
  const bool renewed = depot_.reconfigure_pool(loop_.now(), pool, std::move(policy), actions_);
  compile(pool);
  channels_.reconfigure_pool(pool, depot_.pool(pool).policy());
  if (renewed) channels_.renew(pool);
  pump();
  return renewed;
}

void PoolDriver::remove_pool(PoolId pool) {
  channels_.remove_pool(pool);
  depot_.remove_pool(loop_.now(), pool, actions_);
  pump();
}

void PoolDriver::set_total_max_idle(int most) {
  depot_.set_total_max_idle(loop_.now(), most, actions_);
  pump();
}

// --- sessions ---

SessionId PoolDriver::open_session(const pool::SessionInfo& info, Recipient& recipient) {
  const SessionId id = depot_.open_session(info);
  if (recipients_.size() <= id.index()) recipients_.resize(id.index() + 1);
  recipients_[id.index()] = {id, &recipient};
  return id;
}

void PoolDriver::end_session(SessionId session) {
  if (recipient(session) != nullptr) recipients_[session.index()] = {};
  depot_.end_session(loop_.now(), session, actions_);
  pump();
}

void PoolDriver::request(SessionId session, PoolId pool, const pool::Request& request) {
  depot_.request(loop_.now(), session, pool, request, actions_);
  pump();
}

void PoolDriver::cancel(SessionId session, uint64_t request_id) {
  depot_.cancel(loop_.now(), session, request_id, actions_);
  pump();
}

bool PoolDriver::release(SessionId session, LeaseId lease, Outcome outcome) {
  const pool::Lease* held = depot_.lease_of(session, lease);
  if (held == nullptr) return false;
  const ConnectionId connection = held->connection->id;
  pool::Condition condition = pool::Condition::discarded;
  if (outcome == Outcome::kReuse) {
    condition = held->connection->slot ? pool::Condition::clean : inspect(connection);
  } else {
    condition = discard(connection);
  }
  depot_.release(loop_.now(), session, lease, condition, actions_);
  look_after(connection);
  pump();
  return true;
}

void PoolDriver::hand_over(const pool::Grant& grant) {
  try_hand_over(grant);
  pump();
}

Recipient* PoolDriver::recipient(SessionId id) const {
  if (id.index() >= recipients_.size()) return nullptr;
  const Attached& attached = recipients_[id.index()];
  return attached.session == id ? attached.recipient : nullptr;
}

// --- slots ---

bool PoolDriver::reserve_slots(uint32_t count) {
  if (depot_.reserve_slots(count)) return true;
  if (!depot_.make_room(loop_.now(), count, actions_)) return false;
  pump();
  return depot_.reserve_slots(count);
}

void PoolDriver::release_slots(uint32_t count) {
  depot_.release_slots(loop_.now(), count, actions_);
  pump();
}

// --- the administrator ---

pool::Depot::Renewed PoolDriver::renew(PoolId pool) {
  if (const std::optional<size_t> channels = channels_.renew(pool)) return {0, *channels};
  const pool::Depot::Renewed renewed = depot_.renew(loop_.now(), pool, actions_);
  pump();
  return renewed;
}

void PoolDriver::set_intake(PoolId pool, pool::Intake intake) {
  depot_.set_intake(loop_.now(), pool, intake, actions_);
  channels_.set_intake(pool, intake);
  pump();
}

size_t PoolDriver::evict(PoolId pool, size_t most) {
  if (const std::optional<size_t> channels = channels_.evict(pool, most)) return *channels;
  const size_t closed = depot_.evict(loop_.now(), pool, most, actions_);
  pump();
  return closed;
}

std::vector<pool::Depot::Expired> PoolDriver::expire() {
  std::vector<pool::Depot::Expired> expired = depot_.expire(loop_.now(), actions_);
  for (const channel::Hub::Expired& each : channels_.expire()) {
    expired.push_back({each.pool, each.closed});
  }
  pump();
  return expired;
}

bool PoolDriver::revoke(LeaseId lease, pool::Revoke::Cause cause) {
  const bool known = depot_.revoke(loop_.now(), lease, actions_, cause);
  pump();
  return known;
}

// What a follower does may be the next event, but never within this call.
void PoolDriver::publish() {
  depot_.journal().take(events_);
  for (const pool::Event& event : events_) {
    if (event.kind == pool::EventKind::lease_warning) warn_of(event);
    if (follower_) follower_(event);
  }
}

// What befalls a pool as a whole the depot tells of channel pools, too.
void PoolDriver::publish_channels() {
  channels_.take_events(events_);
  if (!follower_) return;
  for (const pool::Event& event : events_) {
    using enum pool::EventKind;
    const bool told = event.kind == pause || event.kind == disable || event.kind == open ||
                      event.kind == reload || event.kind == remove;
    if (!told) follower_(event);
  }
}

void PoolDriver::warn_of(const pool::Event& event) {
  const pool::Lease* lease = depot_.lease(event.lease);
  if (lease == nullptr) return;
  const pool::SessionInfo& who = lease->session->info;
  log().warn("pool {}: lease {} is held for {} by pid {} {} (uid {}), longer than lease_warn",
             depot_.pool(event.pool).policy().key, event.lease.value(),
             format_duration(event.at - lease->granted_at), who.pid, net::command_of(who.pid),
             who.uid);
}

// --- the end ---

void PoolDriver::shut_down(Duration timeout, std::function<void()> done) {
  drained_ = std::move(done);
  channels_.shut_down();
  depot_.shut_down(loop_.now(), timeout, actions_);
  pump();
}

// --- actions ---

// Actions of actions join the queue: nothing here is entered twice.
void PoolDriver::pump() {
  if (std::exchange(pumping_, true)) return;
  while (!actions_.empty()) {
    std::swap(actions_, carrying_);
    for (const pool::Action& action : carrying_.pending()) {
      std::visit([this](const auto& each) { carry_out(each); }, action);
    }
    carrying_.clear();
  }
  pumping_ = false;
  if (!depot_.journal().empty()) publish();
  if (!drained_ || !depot_.drained() || !farewells_.idle() || !channels_.drained()) return;
  commands_.kill_leavers();
  std::exchange(drained_, nullptr)();
}

void PoolDriver::carry_out(const pool::Dial& action) {
  const pool::Pool& pool = depot_.pool(action.pool);
  const Programs& programs = programs_of(action.pool);
  const pool::PoolPolicy& policy = pool.policy();
  if (!policy.dial_command.empty()) {
    const pool::Connection& connection = *depot_.connection(action.connection);
    return commands_.dial(action.connection, job(connection, policy.dial_command),
                          programs.options);
  }
  const Endpoint& server = pool.endpoints()[action.endpoint].endpoint;
  const Proxy* proxy = policy.proxy_to(server);
  dialer_.dial(action.connection, question_of(proxy != nullptr ? proxy->server : server, policy),
               proxy != nullptr ? programs.unpinned : programs.options);
}

void PoolDriver::dialed(ConnectionId id, absl::StatusOr<Dialed> result) {
  const Proxy* proxy = proxy_of(id);
  absl::Status status = result.status();
  if (status.ok() && proxy != nullptr && pin_) {
    status = net::pin_connected(result->fd.get(), result->peer);
  }
  if (status.ok()) {
    Upstream& upstream = upstreams_.insert(id);
    upstream.fd = std::move(result->fd);
    upstream.peer = result->peer;
    const Programs& programs = programs_of(depot_.connection(id)->pool);
    upstream.options = proxy != nullptr ? programs.options : result->options;
    upstream.handed_out = result->shared;
    upstream.opening = programs.opening;
    upstream.tls_source = programs.tls;
    if (result->name) resolver_.use(upstream, *result->name);
    open(id);
  } else {
    dial_failed(id, (proxy != nullptr ? proxy->name() + ": " : "") + text_of(status));
  }
  pump();
}

void PoolDriver::address_gone(ConnectionId id) {
  depot_.address_gone(loop_.now(), id, actions_);
  pump();
}

void PoolDriver::dial_failed(ConnectionId id, const std::string& error) {
  log().warn("pool {}: {}", key_of(id), error);
  depot_.dial_failed(loop_.now(), id, error, actions_);
}

void PoolDriver::try_hand_over(const pool::Grant& grant) {
  Recipient* to = recipient(grant.ticket.session);
  if (to == nullptr) return;  // its end has closed the connections
  if (!all_live(grant)) {
    depot_.take_back(loop_.now(), grant, ConnectionId(), CloseReason::revoked, actions_);
    return;
  }
  const pool::PoolPolicy& policy = depot_.pool(grant.pool).policy();
  const bool same_user = policy.share == pool::Share::user;
  const net::Heir heir = same_user ? net::Heir::same_user : net::Heir::other_user;
  for (const pool::Granted& granted : grant.leases) {
    if (granted.slot) continue;
    Upstream* upstream = upstreams_.find(granted.connection);
    BERTH_CHECK(upstream != nullptr, "a granted connection has a socket");
    const bool may_hold_greeting = granted.fresh && policy.leaves_greeting();
    // No relay may have to wait for a former holder.
    const bool held_up = grant.carried && upstream->contended();
    if (const auto fault = held_up ? std::optional(CloseReason::dirty)
                                   : prepare(*upstream, granted, may_hold_greeting, heir)) {
      depot_.take_back(loop_.now(), grant, granted.connection, *fault, actions_);
      return;
    }
  }
  if (policy.carries_channels()) {
    hand_over_channel(grant, *to);
  } else if (grant.carried) {
    hand_over_carried(grant, *to);
  } else {
    hand_over_direct(grant, *to);
  }
}

void PoolDriver::hand_over_direct(const pool::Grant& grant, Recipient& to) {
  Fds fds;
  for (const pool::Granted& granted : grant.leases) {
    if (granted.slot) continue;
    fds.push_back(upstreams_.find(granted.connection)->fd.get());
    net::make_blocking(fds.back());
  }
  if (!to.take(grant, fds)) return;
  for (const pool::Granted& granted : grant.leases) {
    if (granted.slot) continue;
    Upstream& upstream = *upstreams_.find(granted.connection);
    upstream.handed_out = upstream.used = true;
    idle_watch_.remove(upstream);
  }
  if (grant.ticket.detach) depot_.detached(loop_.now(), grant, actions_);
}

// A grant that had to wait may have been overtaken by a revocation; the request is then served
// anew.
bool PoolDriver::all_live(const pool::Grant& grant) const {
  return std::all_of(grant.leases.begin(), grant.leases.end(),
                     [this](const pool::Granted& g) { return depot_.lease(g.lease) != nullptr; });
}

void PoolDriver::carry_out(const pool::Refuse& action) {
  if (Recipient* to = recipient(action.session)) to->refused(action.request_id, action.refusal);
}

void PoolDriver::carry_out(const pool::Revoke& action) {
  if (Recipient* to = recipient(action.session)) to->revoked(action.lease, action.cause);
}

void PoolDriver::carry_out(const pool::Close& action) {
  dialer_.abandon(action.connection);
  dialogues_.abandon(action.connection);
  commands_.abandon(action.connection);
  relays_.end(action.connection);
  channels_.end(action.connection);
  if (std::unique_ptr<Upstream> upstream = take_upstream(action.connection)) {
    idle_watch_.remove(*upstream);
    if (log().should_log(spdlog::level::debug)) {
      log().debug("pool {}: closes {}: {}", key_of(action.connection), upstream->peer.text(),
                  close_reason_name(action.reason));
    }
    if (action.reason == CloseReason::detached) {
      let_go(std::move(upstream), key_of(action.connection));
    } else if (action.reason != CloseReason::revoked || !keep_for_reset(upstream)) {
      close_upstream(std::move(upstream), key_of(action.connection));
    }
  }
  depot_.closed(loop_.now(), action.connection, actions_);
}

// nullptr: it goes to its server itself.
const Proxy* PoolDriver::proxy_of(ConnectionId id) const {
  const pool::Connection* connection = depot_.connection(id);
  if (connection == nullptr) return nullptr;
  const pool::Pool& pool = depot_.pool(connection->pool);
  return pool.policy().proxy_to(pool.endpoints()[connection->endpoint].endpoint);
}

const char* PoolDriver::key_of(ConnectionId id) const {
  const pool::Connection* connection = depot_.connection(id);
  return connection != nullptr ? depot_.pool(connection->pool).policy().key.c_str() : "?";
}

}  // namespace berth::broker
