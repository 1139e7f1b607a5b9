#include "broker/words.h"

#include <fmt/format.h>

#include <chrono>
#include <string>

#include "base/limits.h"
#include "base/time.h"
#include "base/utf8.h"
#include "net/process.h"

namespace berth::broker {
namespace {

// "20/20 leased; oldest pid 4121 php-fpm (www-data) 31 s; 0 dial failures"
std::string state_of(const wire::Why& why) {
  std::string text =
      fmt::format("{}/{} leased", why.leased,
                  why.max_connections == 0 ? "unlimited" : std::to_string(why.max_connections));
  if (!why.holders.empty()) {
    const wire::Holder& oldest = why.holders.front();
    text += fmt::format("; oldest pid {} {} ({}) {}", oldest.pid, oldest.command,
                        net::user_name(oldest.uid),
                        format_duration(std::chrono::milliseconds(oldest.held_ms)));
  }
  text += fmt::format("; {} dial failure{}", why.dial_failures, why.dial_failures == 1 ? "" : "s");
  if (!why.last_dial_error.empty()) text += "; last: " + why.last_dial_error;
  return text;
}

std::string waited_text(Duration waited) {
  return waited == Duration::zero() ? "nothing can be had at once"
                                    : "timed out after " + format_duration(waited);
}

const char* cause_text(Cause cause) {
  switch (cause) {
    case Cause::kExhausted: return "every connection is leased: ";
    case Cause::kUpstreamDown: return "the server does not answer: ";
    case Cause::kPaused: return "the pool is paused: ";
    case Cause::kNoSlots: return "berthd has no file descriptor left: ";
    case Cause::kQueueFull:
    case Cause::kUnspecified: return "";
  }
  return "";
}

std::string words(const pool::Refusal& refusal, const wire::Why& why, uint32_t uid) {
  switch (refusal.code) {
    case Code::kNotPermitted:
      return fmt::format("uid {} ({}) may not: {}", uid, net::user_name(uid), refusal.text);
    case Code::kTimedOut:
      return fmt::format("{}: {}{}", waited_text(refusal.waited), cause_text(why.cause),
                         state_of(why));
    case Code::kUpstreamDown: return fmt::format("the server cannot be reached: {}", state_of(why));
    case Code::kQueueFull:
      return refusal.why
                 ? fmt::format("{} already (max_waiters): {}",
                               why.waiting == 1 ? "1 request waits"
                                                : fmt::format("{} requests wait", why.waiting),
                               state_of(why))
                 : refusal.text;
    case Code::kShuttingDown: return "berthd is stopping";
    case Code::kCancelled: return "withdrawn by the client";
    case Code::kDisabled: return fmt::format("an administrator has disabled \"{}\"", refusal.text);
    default: return refusal.text;
  }
}

}  // namespace

wire::Why frame_of(const pool::Why& why) {
  wire::Why frame{why.cause,   why.leased,        why.max_connections,
                  why.waiting, why.dial_failures, why.last_dial_error,
                  {}};
  for (const pool::Holder& holder : why.holders) {
    const auto held = std::chrono::duration_cast<std::chrono::milliseconds>(holder.held).count();
    frame.holders.push_back({static_cast<uint32_t>(holder.pid), holder.uid,
                             net::command_of(holder.pid), static_cast<uint64_t>(held)});
  }
  return frame;
}

std::string explain(const pool::Why& why) {
  return cause_text(why.cause) + state_of(frame_of(why));
}

std::string no_such_lease_text(uint64_t lease_id) {
  return fmt::format("this session holds no lease {}", lease_id);
}

const char* explain(pool::Revoke::Cause cause) {
  switch (cause) {
    case pool::Revoke::Cause::shutdown: return "berthd is stopping, and drain_timeout has passed";
    case pool::Revoke::Cause::administrator: return "an administrator has revoked it";
    case pool::Revoke::Cause::lease_timeout: return "it was held longer than lease_timeout allows";
    case pool::Revoke::Cause::cancelled: return "the call that asked for it was cancelled";
  }
  return "";
}

wire::Refusal explain(uint64_t request_id, const pool::Refusal& refusal, uint32_t uid) {
  wire::Refusal frame{request_id, refusal.code, {}, {}};
  if (refusal.why) frame.why = frame_of(*refusal.why);
  frame.message = words(refusal, frame.why.value_or(wire::Why{}), uid);
  frame.message.resize(utf8_prefix(frame.message, kMaxMessageBytes));
  return frame;
}

}  // namespace berth::broker
