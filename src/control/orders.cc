#include "control/orders.h"

#include <fmt/format.h>

#include <utility>

#include "base/log.h"
#include "base/status_text.h"

namespace berth::control {
namespace {

using namespace std::chrono_literals;

// How soon a drain is known to have ended, or its caller to have gone: only people and scripts
// wait.
constexpr Duration kLookInterval = 20ms;

absl::StatusOr<pool::Intake> intake_from(v1::PoolInfo::Intake intake) {
  switch (intake) {
    case v1::PoolInfo::OPEN: return pool::Intake::open;
    case v1::PoolInfo::PAUSED: return pool::Intake::paused;
    case v1::PoolInfo::DISABLED: return pool::Intake::disabled;
    default: return absl::InvalidArgumentError("intake must be OPEN, PAUSED or DISABLED");
  }
}

void add_all(const std::vector<std::string>& from,
             google::protobuf::RepeatedPtrField<std::string>& to) {
  to.Assign(from.begin(), from.end());
}

absl::Status no_such_lease(uint64_t id) {
  return absl::NotFoundError(fmt::format("there is no lease {}", id));
}

}  // namespace

Orders::Orders(loop::Loop& loop, broker::Broker& broker, const View& view, DaemonOrders daemon)
    : loop_(loop),
      broker_(broker),
      view_(view),
      daemon_(std::move(daemon)),
      look_timer_(loop, [this] { look_at_those_who_wait(); }) {}

const channel::Pool* Orders::channels(PoolId pool) const {
  return broker_.driver().channels().pool(pool);
}

void Orders::carry_out(const v1::KeyRequest& request, v1::RenewReply& reply, const Done& done) {
  const absl::StatusOr<PoolId> pool = view_.find_pool(request.key());
  if (!pool.ok()) return done(pool.status());
  const pool::Depot::Renewed renewed = broker_.driver().renew(*pool);
  reply.set_closed(renewed.closed);
  reply.set_marked(renewed.marked);
  reply.set_channels(channels(*pool) != nullptr);
  done(absl::OkStatus());
}

void Orders::carry_out(const v1::EvictRequest& request, v1::EvictReply& reply, const Done& done) {
  const absl::StatusOr<PoolId> pool = view_.find_pool(request.key());
  if (!pool.ok()) return done(pool.status());
  reply.set_closed(broker_.driver().evict(*pool, request.has_count() ? request.count() : SIZE_MAX));
  reply.set_channels(channels(*pool) != nullptr);
  done(absl::OkStatus());
}

void Orders::carry_out(const v1::ExpireRequest&, v1::ExpireReply& reply, const Done& done) {
  for (const pool::Depot::Expired& expired : broker_.driver().expire()) {
    v1::ExpireReply::Expired& row = *reply.add_pools();
    row.set_key(broker_.driver().depot().pool(expired.pool).policy().key);
    row.set_closed(expired.closed);
    row.set_channels(channels(expired.pool) != nullptr);
  }
  done(absl::OkStatus());
}

void Orders::carry_out(const v1::CloseOnReleaseRequest& request, v1::CloseOnReleaseReply& reply,
                       const Done& done) {
  const auto marked = broker_.driver().close_on_release(LeaseId::from_value(request.lease_id()));
  if (!marked) return done(no_such_lease(request.lease_id()));
  reply.set_marked(*marked);
  done(absl::OkStatus());
}

void Orders::carry_out(const v1::RevokeRequest& request, v1::RevokeReply&, const Done& done) {
  const bool known = broker_.driver().revoke(LeaseId::from_value(request.lease_id()));
  done(known ? absl::OkStatus() : no_such_lease(request.lease_id()));
}

void Orders::carry_out(const v1::KillRequest& request, v1::KillReply& reply, const Done& done) {
  const SessionId id = SessionId::from_value(request.session_id());
  if (const pool::Session* session = broker_.driver().depot().session(id)) {
    reply.set_leases(session->leases.size());
    reply.set_waiters(session->waiters.size());
  }
  if (broker_.kill(id, "an administrator has ended the session")) {
    return done(absl::OkStatus());
  }
  done(absl::NotFoundError(fmt::format("there is no session {}", request.session_id())));
}

void Orders::carry_out(const v1::SetIntakeRequest& request, v1::SetIntakeReply& reply,
                       const Done& done) {
  const absl::StatusOr<pool::Intake> intake = intake_from(request.intake());
  if (!intake.ok()) return done(intake.status());
  const absl::StatusOr<PoolId> id = view_.find_pool(request.key());
  if (!id.ok()) return done(id.status());
  const pool::Pool& pool = broker_.driver().depot().pool(*id);
  reply.set_before(intake_of(pool.intake()));
  broker_.driver().set_intake(*id, *intake);
  reply.set_leases(pool.count(pool::State::leased));
  reply.set_waiters(pool.waiting());
  if (const channel::Pool* of_channels = channels(*id)) reply.set_streams(of_channels->streams());
  done(absl::OkStatus());
}

void Orders::carry_out(const v1::SetLogLevelRequest& request, v1::SetLogLevelReply&,
                       const Done& done) {
  if (!is_log_level(request.level())) {
    return done(absl::InvalidArgumentError(fmt::format(
        "\"{}\" is no log level; trace, debug, info, warn, error and off are", request.level())));
  }
  set_log_level(request.level());
  done(absl::OkStatus());
}

void Orders::carry_out(const v1::KeyRequest& request, v1::DrainReply& reply, Orderer by) {
  const absl::StatusOr<PoolId> pool = view_.find_pool(request.key());
  if (!pool.ok()) return by.done(pool.status());
  broker_.driver().set_intake(*pool, pool::Intake::disabled);
  reply.set_channels(channels(*pool) != nullptr);
  drains_.push_back({*pool, request.key(), reply.channels(), std::move(by)});
  look_at_those_who_wait();
}

void Orders::look_at_those_who_wait() {
  std::erase_if(drains_, [this](const Drain& drain) { return answered(drain); });
  std::erase_if(shutdowns_, [](const Shutdown& shutdown) { return answered(shutdown); });
  const bool all_answered = drains_.empty() && shutdowns_.empty();
  look_timer_.arm(all_answered ? kNever : loop_.now() + kLookInterval);
}

bool Orders::answered(const Drain& drain) const {
  const pool::Depot& depot = broker_.driver().depot();
  // A pool that has left the configuration meanwhile goes with its last lease.
  const pool::Pool* pool = depot.try_pool(drain.pool);
  if (pool != nullptr && pool->intake() != pool::Intake::disabled && !pool->removed()) {
    drain.by.done(
        absl::AbortedError(fmt::format("\"{}\" was opened or paused before all its {}", drain.key,
                                       drain.channels ? "streams had ended" : "leases came back")));
    return true;
  }
  const channel::Pool* of_channels = channels(drain.pool);
  const bool waits = drain.channels ? of_channels != nullptr && of_channels->streams() > 0
                                    : pool != nullptr && pool->count(pool::State::leased) > 0;
  if (waits && !drain.by.gone()) return false;
  drain.by.done(waits ? absl::CancelledError() : absl::OkStatus());
  return true;
}

bool Orders::answered(const Shutdown& shutdown) {
  if (!shutdown.by.gone()) return false;
  shutdown.by.done(absl::CancelledError());
  return true;
}

void Orders::carry_out(const v1::ReloadRequest&, v1::ReloadReply& reply, const Orderer& by) {
  daemon_.reload([&reply, done = by.done](const ReloadOutcome& outcome) {
    add_all(outcome.warnings, *reply.mutable_warnings());
    const absl::Status& status = outcome.result.status();
    if (absl::IsUnavailable(status)) return done(status);
    if (!status.ok()) return done(absl::FailedPreconditionError(text_of(status)));
    add_all(outcome.result->added, *reply.mutable_added());
    add_all(outcome.result->changed, *reply.mutable_changed());
    add_all(outcome.result->renewed, *reply.mutable_renewed());
    add_all(outcome.result->removed, *reply.mutable_removed());
    add_all(outcome.result->at_restart, *reply.mutable_at_restart());
    done(absl::OkStatus());
  });
}

void Orders::carry_out(const v1::ShutdownRequest& request, v1::ShutdownReply& reply, Orderer by) {
  shutdowns_.push_back({&reply, std::move(by)});
  look_at_those_who_wait();
  daemon_.shut_down(request.now());
}

void Orders::finish() {
  look_at_those_who_wait();
  for (const Drain& drain : std::exchange(drains_, {})) {
    drain.by.done(absl::UnavailableError("berthd is stopping"));
  }
  look_timer_.arm(kNever);
  for (const Shutdown& shutdown : std::exchange(shutdowns_, {})) {
    shutdown.reply->set_failed_closes(broker_.driver().failed_closes());
    shutdown.by.done(absl::OkStatus());
  }
}

}  // namespace berth::control
