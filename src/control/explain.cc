// What a lease of a key would come to, in words and numbers.
#include <fmt/format.h>

#include <string>
#include <variant>

#include "broker/words.h"
#include "control/measures.h"
#include "control/view.h"

namespace berth::control {
namespace {

v1::ExplainReply::Step step_of(pool::Step step) {
  switch (step) {
    case pool::Step::refuse: return v1::ExplainReply::REFUSE;
    case pool::Step::grant: return v1::ExplainReply::GRANT;
    case pool::Step::check: return v1::ExplainReply::CHECK;
    case pool::Step::join: return v1::ExplainReply::JOIN;
    case pool::Step::dial: return v1::ExplainReply::DIAL;
    case pool::Step::replace: return v1::ExplainReply::REPLACE;
    case pool::Step::evict: return v1::ExplainReply::EVICT;
    case pool::Step::wait: return v1::ExplainReply::WAIT;
  }
  return v1::ExplainReply::STEP_UNSPECIFIED;
}

void write(const wire::Why& why, v1::Why& out) {
  std::string bytes;
  wire::encode(wire::Refusal{0, Code::kOk, "", why}, bytes);
  v1::ServerFrame frame;
  if (frame.ParseFromString(bytes)) out.Swap(frame.mutable_refusal()->mutable_why());
}

std::string limit_text(int limit) {
  return limit == pool::kUnlimited ? "unlimited" : std::to_string(limit);
}

}  // namespace

absl::Status View::show(const v1::ExplainRequest& request, const pool::SessionInfo& who,
                        v1::ExplainReply& reply) const {
  const broker::Keys::Found found = broker_.keys().look_up(request.key());
  if (std::holds_alternative<std::monostate>(found)) return unknown_key(request.key());
  if (const auto* wrong = std::get_if<pool::Refusal>(&found)) {
    return absl::InvalidArgumentError(wrong->text);
  }
  reply.set_uid(who.uid);
  if (const auto* policy = std::get_if<pool::PoolPolicy>(&found)) {
    reply.set_key(policy->key);
    if (const auto refusal = pool::Depot::refusal_of_access(who, *policy)) {
      show(*refusal, who.uid, reply);
    } else {
      const bool slots = policy->lends_slots();
      reply.set_step(slots ? v1::ExplainReply::GRANT : v1::ExplainReply::DIAL);
      reply.set_message(fmt::format("a pool would be made for this key, and a {}",
                                    slots ? "slot granted" : "connection dialled"));
    }
    return absl::OkStatus();
  }
  const pool::Pool& pool = depot().pool(std::get<PoolId>(found));
  reply.set_key(pool.policy().key);
  show(depot().forecast(loop_.now(), who, pool.id()), pool, reply);
  return absl::OkStatus();
}

void View::show(const pool::Refusal& refusal, uint32_t uid, v1::ExplainReply& reply) const {
  const wire::Refusal told = broker::explain(0, refusal, uid);
  reply.set_step(v1::ExplainReply::REFUSE);
  reply.set_code(static_cast<v1::Code>(told.code));
  reply.set_message("would be refused: " + told.message);
  if (told.why) write(*told.why, *reply.mutable_why());
}

void View::show(const pool::Forecast& forecast, const pool::Pool& pool,
                v1::ExplainReply& reply) const {
  if (forecast.refusal) return show(*forecast.refusal, reply.uid(), reply);
  reply.set_step(step_of(forecast.step));
  reply.set_connection_id(forecast.connection.value());
  if (forecast.step == pool::Step::wait) {
    pool::Why why = pool.why(loop_.now());
    why.cause = forecast.cause;
    write(broker::frame_of(why), *reply.mutable_why());
  }
  reply.set_message(shown(words(forecast, pool)));
}

// "connection 17 of "redis" (tcp://127.0.0.1:6379), idle for 3 s"
std::string View::describe(ConnectionId id) const {
  const pool::Connection* connection = depot().connection(id);
  const pool::Pool& pool = depot().pool(connection->pool);
  return fmt::format("connection {} of \"{}\" ({}), idle for {},", id.value(), pool.policy().key,
                     pool.endpoints()[connection->endpoint].name,
                     format_duration(loop_.now() - connection->idle_since));
}

std::string View::words(const pool::Forecast& forecast, const pool::Pool& pool) const {
  switch (forecast.step) {
    case pool::Step::grant:
      if (const channel::Pool* channels = hub().pool(pool.id())) {
        return "a connection to berthd would be granted, and " + words(*channels);
      }
      if (pool.policy().lends_slots()) return "a slot is free, and would be granted";
      return describe(forecast.connection) + " would be granted, if the server has not closed it";
    case pool::Step::check:
      return describe(forecast.connection) + " would be checked, and granted if it passes";
    case pool::Step::join:
      return "would have a connection that is being dialled, checked or reset already";
    case pool::Step::dial:
      return fmt::format(
          "a connection would be dialled: none is idle that this user may have, and "
          "the pool has {} of {}",
          pool.total(), limit_text(pool.policy().max_connections));
    case pool::Step::replace:
      return describe(forecast.connection) +
             " would be closed, because this user may not have it and max_connections allows no "
             "other, and one dialled in its place";
    case pool::Step::evict:
      return describe(forecast.connection) +
             " would be closed, because berthd has no file descriptor left, and " +
             (pool.policy().has_connections() ? "one dialled" : "its slot granted");
    case pool::Step::wait: {
      pool::Why why = pool.why(loop_.now());
      why.cause = forecast.cause;
      return "would wait: " + broker::explain(why);
    }
    case pool::Step::refuse: break;
  }
  return "";
}

}  // namespace berth::control
