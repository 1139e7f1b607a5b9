#include "sim/driver.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace berth::sim {
namespace {

using pool::Close;
using pool::Dial;
using pool::EventKind;
using pool::Grant;
using pool::Refuse;
using pool::Revoke;

// Events at one and the same time beyond this mean that depot and driver chase each other.
constexpr int kMostEventsAtOnce = 10'000;
constexpr size_t kOverKept = 8;

}  // namespace

Driver::Driver(Model& model, const pool::DepotSettings& settings)
    : model_(model), depot_(settings), checks_(model, depot_) {}

void Driver::carry_out(size_t most) {
  int rounds = 0;
  for (; !queue_.empty() && most > 0; --most) {
    expect(++rounds < kMostEventsAtOnce, "depot and driver come to rest");
    const Decided next = std::move(queue_.front());
    queue_.pop_front();
    std::visit([&](const auto& action) { on(next.event, action); }, next.action);
  }
  if (queue_.empty()) checks_.after_event();
}

void Driver::note_forgotten() {
  for (PoolModel& pool : model_.pools) {
    if (pool.gone || pool.removed || depot_.find_pool(pool.policy.key)) continue;
    pool.gone = true;
    expect(pool.dynamic && pool.connections == 0 && pool.waiting == 0,
           "only an empty dynamic pool is forgotten");
  }
}

void Driver::advance() {
  event([&](pool::Actions& actions) { depot_.advance(model_.now, actions); });
  note_forgotten();
  carry_out();
  checks_.after_advance();
}

void Driver::pass_time(TimePoint until, bool punctual) {
  int at_once = 0;
  while (true) {
    const TimePoint due = punctual ? depot_.next_deadline() : kNever;
    const TimePoint next = std::min(due, world_.empty() ? kNever : world_.begin()->first);
    if (next > until) break;
    at_once = next > model_.now ? 0 : at_once + 1;
    expect(at_once < kMostEventsAtOnce, "time passes");
    model_.now = std::max(model_.now, next);
    if (due == next) {
      advance();
    } else {
      const Pending pending = world_.begin()->second;
      world_.erase(world_.begin());
      deliver(pending);
      carry_out();
    }
  }
  model_.now = until;
  advance();
}

ConnectionModel& Driver::connection(ConnectionId id) {
  const auto at = model_.connections.find(id);
  expect(at != model_.connections.end(), "an action names a connection that exists", id.value());
  return at->second;
}

// --- the world answers ---

void Driver::answer_in(Duration most, unsigned percent_at_once, Kind kind, ConnectionId id) {
  if (model_.chance(percent_at_once)) {
    deliver({kind, id});
  } else {
    world_.emplace(model_.now + model_.up_to(most), Pending{kind, id});
  }
}

void Driver::note_failure(PoolModel& pool, const ConnectionModel& connection) {
  EndpointModel& endpoint = pool.endpoints[connection.endpoint];
  const bool alone = connection.dialed_at > endpoint.failed_at || endpoint.lifted;
  if (endpoint.failures++ == 0 || alone) {
    endpoint.failed_at = model_.now;
    ++endpoint.failed_rounds;
  }
  endpoint.failed_event = model_.event;
  endpoint.lifted = false;
}

// Once nothing works, each other place is tried whatever its backoff.
void Driver::lift_backoffs(uint64_t decided, const ConnectionModel& closed) {
  PoolModel& pool = model_.pools[closed.pool];
  for (const auto& [id, c] : model_.connections) {
    const bool works = c.stage != Stage::dialing && c.stage != Stage::closing;
    if (c.pool == closed.pool && works && pool.endpoints[c.endpoint].succeeded_event <= decided) {
      return;
    }
  }
  for (auto& [index, endpoint] : pool.endpoints) {
    if (index != closed.endpoint && decided >= endpoint.failed_event) endpoint.lifted = true;
  }
}

// What is connected to endpoints that stand after this one's is renewed.
void Driver::give_way(const ConnectionModel& reached) {
  const pool::Endpoints& endpoints = depot_.pool(model_.pools[reached.pool].id).endpoints();
  for (auto& [id, c] : model_.connections) {
    if (c.pool != reached.pool || c.stage == Stage::dialing || c.stage == Stage::closing) continue;
    if (endpoints.gives_way(c.endpoint, reached.endpoint)) c.epoch = pool::kNoEpoch;
  }
}

void Driver::tell_of_unsent(ConnectionId id) {
  if (model_.chance(10)) return;  // they never leave: reset_timeout
  const bool clean = model_.chance(93);
  answer_in(5ms, 0, clean ? Kind::inspected_clean : Kind::inspected_dirty, id);
}

// Some come too late, and the depot must not mind.
void Driver::deliver(const Pending& pending) {
  const ConnectionId id = pending.connection;
  const auto at = model_.connections.find(id);
  ConnectionModel* c = at != model_.connections.end() ? &at->second : nullptr;
  const bool clean = pending.kind == Kind::inspected_clean;
  switch (pending.kind) {
    case Kind::dialed:
      model_.trace.add(model_.now, "dialed %llu", id.value());
      if (c != nullptr && c->stage == Stage::dialing) {
        c->stage = Stage::open;
        c->since = c->up_at = c->idle_since = model_.now;
        model_.used(*c, true);
        c->lifetime = model_.pools[c->pool].policy.max_lifetime;
        const pool::PoolPolicy& policy = model_.pools[c->pool].policy;
        if (policy.warm == pool::Warm::single_use) c->warm_age = policy.max_warm_age;
        EndpointModel& endpoint = model_.pools[c->pool].endpoints[c->endpoint];
        endpoint.failures = 0;
        endpoint.failed_rounds = 0;
        endpoint.succeeded_event = model_.event + 1;
        if (policy.balance == pool::Balance::failover) give_way(*c);
        ++model_.pools[c->pool].counted_of(EventKind::dialed);
        const bool may_be_kernels = policy.handoff == pool::Handoff::ktls;
        c->carried = policy.uses_tls() && !may_be_kernels && id.value() % 2 == 0;
        if (c->carried) depot_.carry(id);
      }
      event([&](pool::Actions& actions) { depot_.dialed(model_.now, id, actions); });
      break;
    case Kind::dial_failed:
      model_.trace.add(model_.now, "dial failed %llu", id.value());
      if (c != nullptr && c->stage == Stage::dialing) {
        note_failure(model_.pools[c->pool], *c);
        ++model_.pools[c->pool].counted_of(EventKind::dial_failed);
        --model_.pools[c->pool].connections;
        model_.connections.erase(at);
      }
      event([&](pool::Actions& actions) {
        depot_.dial_failed(model_.now, id, "connection refused", actions);
      });
      break;
    case Kind::inspected_clean:
    case Kind::inspected_dirty:
      model_.trace.add(model_.now, "inspected %llu, clean %llu", id.value(), clean);
      if (c != nullptr && c->stage == Stage::unsent) {
        const bool reset = !model_.pools[c->pool].policy.reset.empty();
        c->stage = !clean ? Stage::returned : reset ? Stage::resetting : Stage::open;
        c->since = c->idle_since = model_.now;
        model_.used(*c, false);
      }
      event([&](pool::Actions& actions) { depot_.inspected(model_.now, id, clean, actions); });
      break;
    case Kind::performed:
    case Kind::step_failed: return deliver_steps(c, id, pending.kind == Kind::performed);
    case Kind::closed:
      model_.trace.add(model_.now, "closed %llu", id.value());
      BERTH_CHECK(c != nullptr, "what is closed was there");
      --model_.pools[c->pool].connections;
      model_.connections.erase(at);
      event([&](pool::Actions& actions) { depot_.closed(model_.now, id, actions); });
      break;
  }
}

void Driver::deliver_steps(ConnectionModel* c, ConnectionId id, bool good) {
  model_.trace.add(model_.now, "went through the steps of %llu, well %llu", id.value(), good);
  const bool checks = c != nullptr && c->stage == Stage::checking;
  if (checks || (c != nullptr && c->stage == Stage::resetting)) {
    if (!checks) c->idle_since = model_.now;
    c->stage = good ? Stage::open : Stage::returned;
    c->since = model_.now;
    if (good) model_.used(*c, true);
  }
  const auto fault = good     ? std::nullopt
                     : checks ? std::optional(CloseReason::check_failed)
                              : std::optional(CloseReason::reset_failed);
  event([&](pool::Actions& actions) {
    depot_.performed(model_.now, id, fault, "no answer", actions);
  });
}

// --- actions ---

void Driver::on(uint64_t decided, const Dial& dial) {
  const size_t index = model_.pool_index(dial.pool);
  PoolModel& pool = model_.pools[index];
  model_.trace.add(model_.now, "  -> dial %llu, pool %llu", dial.connection.value(), index);
  ConnectionModel c;
  c.id = dial.connection;
  c.pool = index;
  c.endpoint = dial.endpoint;
  c.dialed_at = c.since = model_.now;
  c.epoch = pool.epoch;
  ++pool.connections;
  judge_dial(decided, pool, dial);
  const bool added = model_.connections.emplace(c.id, c).second;
  expect(added, "a connection id names one connection", c.id.value());
  expect(model_.connections.size() + model_.others_fds <= depot_.budget().limit(),
         "descriptors never exceed the budget", model_.connections.size());
  switch (pool.endpoints[dial.endpoint].upstream) {
    case Upstream::healthy:
      if (!model_.calm && model_.chance(5)) {
        answer_in(1500ms, 0, Kind::dialed, c.id);
      } else {
        answer_in(40ms, 10, Kind::dialed, c.id);
      }
      break;
    case Upstream::refuses: answer_in(20ms, 30, Kind::dial_failed, c.id); break;
    case Upstream::hangs:
      if (model_.chance(20)) answer_in(3s, 0, Kind::dialed, c.id);
      break;
  }
}

void Driver::on(uint64_t decided, const pool::Perform& perform) {
  ConnectionModel& c = connection(perform.connection);
  const PoolModel& pool = model_.pools[c.pool];
  const uint64_t id = c.id.value();
  const bool checks = perform.task == pool::Task::check;
  model_.trace.add(model_.now, checks ? "  -> check %llu" : "  -> reset %llu", id);
  if (checks) {
    expect(c.stage == Stage::open, "what is checked is at rest", id);
    expect(!pool.policy.check.empty() || decided < pool.reload_event, "a pool checks if it may",
           c.pool);
    c.stage = Stage::checking;
  } else {
    expect(c.stage == Stage::resetting, "what came back clean is reset", id);
  }
  c.since = model_.now;
  if (!model_.calm && model_.chance(5)) return;  // the server hangs
  const bool good = !c.dead && (model_.calm || model_.chance(90));
  answer_in(30ms, 20, good ? Kind::performed : Kind::step_failed, c.id);
}

void Driver::on(uint64_t decided, const Refuse& refuse) {
  const auto at = model_.asks.find({refuse.session, refuse.request_id});
  model_.trace.add(model_.now, "  -> refuse request %llu of %llu, code %llu", refuse.request_id,
                   refuse.session.value(), static_cast<uint64_t>(refuse.refusal.code));
  if (at == model_.asks.end()) {
    expect(model_.session(refuse.session) == nullptr, "a request has one answer",
           refuse.request_id);
    return;
  }
  const Ask& ask = at->second;
  const PoolModel& pool = model_.pools[ask.pool];
  switch (refuse.refusal.code) {
    case Code::kTimedOut:
      expect(!ask.patient || model_.now >= ask.until, "nobody is refused before his time",
             ask.key.request);
      break;
    case Code::kNotPermitted: expect(!ask.permitted, "who may is not turned away", ask.pool); break;
    case Code::kShuttingDown: expect(model_.stopping, "only a depot that stops says so"); break;
    case Code::kDisabled:
      expect(pool.intake == pool::Intake::disabled || decided < pool.intake_event,
             "only a disabled pool says so", ask.pool);
      break;
    case Code::kCancelled: expect(ask.cancelled, "only who withdraws is cancelled"); break;
    case Code::kUpstreamDown:
      expect(pool.policy.fail_fast && pool.failing(), "fail_fast alone refuses at once", ask.pool);
      expect(pool.intake == pool::Intake::open || decided < pool.intake_event,
             "who waits for the end of a pause is not refused", ask.pool);
      expect(decided != model_.event ||
                 depot_.pool(pool.id).total() == depot_.pool(pool.id).count(pool::State::closing),
             "nobody is refused while the pool has a connection", ask.pool);
      break;
    case Code::kNoSuchKey: expect(pool.removed, "only a pool that has left says so"); break;
    case Code::kRevoked: expect(pool.gone, "only what has lost its pool is revoked"); break;
    case Code::kInvalid:
      expect(ask.count > depot_.budget().limit() || model_.cannot_detach(ask) ||
                 ask.count > static_cast<uint32_t>(pool.policy.max_connections),
             "only what can never be had is invalid", ask.count);
      break;
    case Code::kQueueFull:
      expect(ask.too_much || ask.queue_before >= static_cast<size_t>(pool.policy.max_waiters),
             "the queue is full", ask.pool);
      break;
    default: expect(false, "this refusal has a reason", static_cast<uint64_t>(refuse.refusal.code));
  }
  ++model_.refusals;
  --model_.pools[ask.pool].waiting;
  model_.asks.erase(at);
}

void Driver::on(uint64_t decided, const Close& close) {
  ConnectionModel& c = connection(close.connection);
  model_.trace.add(model_.now, "  -> close %llu, reason %llu", c.id.value(),
                   static_cast<uint64_t>(close.reason));
  judge_close(decided, c, close);
  PoolModel& pool = model_.pools[c.pool];
  const bool gave_up = c.stage == Stage::dialing && close.reason == CloseReason::dead;
  if (gave_up && decided > pool.endpoints[c.endpoint].succeeded_event) {
    note_failure(pool, c);
    pool.endpoints[c.endpoint].failed_event = decided;
  }
  const bool lost = c.stage != Stage::dialing && close.reason != CloseReason::renewed;
  c.stage = Stage::closing;
  c.since = model_.now;
  if (lost) lift_backoffs(decided, c);
  answer_in(100ms, 60, Kind::closed, c.id);
}

void Driver::on(uint64_t, const Revoke& revoke) {
  model_.trace.add(model_.now, "  -> revoke %llu, cause %llu", revoke.lease.value(),
                   static_cast<uint64_t>(revoke.cause));
  const auto& connections = model_.connections;
  const auto at = std::find_if(connections.begin(), connections.end(),
                               [&](const auto& each) { return each.second.lease == revoke.lease; });
  expect(at != connections.end(), "a lease is revoked once", revoke.lease.value());
  ConnectionModel& c = connection(at->first);
  judge_revoke(revoke, c);
  c.stage = Stage::returned;
  c.lease = {};
  const bool held =
      std::erase_if(model_.leases, [&](const LeaseModel& l) { return l.id == revoke.lease; }) > 0;
  if (!held) --model_.leases_in_hand;
  note_over({revoke.lease, revoke.session, c.id});
}

void Driver::note_over(const LeaseModel& lease) {
  if (model_.over.size() == kOverKept) model_.over.erase(model_.over.begin());
  model_.over.push_back(lease);
}

// --- the journal ---

void Driver::count(const pool::Action& action) {
  const auto pool_of = [&](PoolId id) -> PoolModel& { return model_.pools[model_.pool_index(id)]; };
  if (const auto* dial = std::get_if<Dial>(&action)) {
    ++pool_of(dial->pool).counted_of(EventKind::dial);
  } else if (const auto* grant = std::get_if<Grant>(&action)) {
    pool_of(grant->pool).counted_of(EventKind::grant) += grant->leases.size();
  } else if (const auto* close = std::get_if<Close>(&action)) {
    PoolModel& pool = pool_of(depot_.connection(close->connection)->pool);
    ++pool.counted_of(EventKind::close);
    ++pool.counted.closes[static_cast<size_t>(close->reason)];
    const auto at = model_.connections.find(close->connection);
    const bool dialing = at == model_.connections.end() || at->second.stage == Stage::dialing;
    const bool gave_up = dialing && close->reason == CloseReason::dead;  // dial_timeout
    pool.counted_of(EventKind::dial_failed) += gave_up;
  } else if (const auto* refuse = std::get_if<Refuse>(&action)) {
    const auto ask = model_.asks.find({refuse->session, refuse->request_id});
    expect(ask != model_.asks.end(), "a request has one answer", refuse->request_id);
    PoolModel& pool = model_.pools[ask->second.pool];
    ++pool.counted_of(EventKind::refuse);
    ++pool.counted.refusals[static_cast<size_t>(refuse->refusal.code)];
  } else if (const auto* revoke = std::get_if<Revoke>(&action)) {
    // The connection's Close follows, so it is still there.
    for (const auto& [id, c] : model_.connections) {
      if (c.lease == revoke->lease) ++model_.pools[c.pool].counted_of(EventKind::revoke);
    }
  }
}

void Driver::read_journal() {
  depot_.journal().take(told_);
  for (const pool::Event& event : told_) {
    ++model_.pools[model_.pool_index(event.pool)].told[static_cast<size_t>(event.kind)];
    if (event.kind == EventKind::lease_warning) judge_warning(event);
  }
}

}  // namespace berth::sim
