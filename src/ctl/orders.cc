// What changes something in the daemon. Each tells in a line what has come of it.
#include <cstdio>

#include "ctl/commands.h"
#include "ctl/print.h"

namespace berth::ctl {
namespace {

void say(const std::string& text) {
  std::printf("%s\n", text.c_str());
}

v1::KeyRequest of_key(const Options& options) {
  v1::KeyRequest request;
  request.set_key(options.key);
  return request;
}

// Calls, then prints the reply as JSON or as `words(reply)`.
template <class Request, class Reply, class Words>
absl::Status order(Link& link, const Options& options, Link::Method<Request, Reply> method,
                   const Request& request, Words words,
                   Link::Answer answer = Link::Answer::prompt) {
  const absl::StatusOr<Reply> reply = link.call(method, request, answer);
  if (!reply.ok()) return reply.status();
  if (options.json) return print_json(*reply);
  say(words(*reply));
  return absl::OkStatus();
}

// What an EvictReply or a row of an ExpireReply tells of.
template <class Reply>
std::string closed_of(const Reply& reply) {
  return count_of(reply.closed(), reply.channels() ? "idle channel" : "idle connection");
}

// What goes on though the pool is not open.
std::string rest_of(const v1::SetIntakeReply& reply) {
  const std::string streams =
      reply.has_streams() ? " and " + count_of(reply.streams(), "stream") + " open" : "";
  return ", with " + count_of(reply.leases(), "lease") + " out" + streams;
}

template <class Words>
absl::Status set_intake(Link& link, const Options& options, v1::PoolInfo::Intake intake,
                        Words words) {
  v1::SetIntakeRequest request;
  request.set_key(options.key);
  request.set_intake(intake);
  return order(link, options, &Stub::SetIntake, request, [&](const v1::SetIntakeReply& reply) {
    return options.key + ": " + words(reply) +
           (reply.before() == intake ? ", as it was before" : "");
  });
}

void add(std::string& text, const char* what,
         const google::protobuf::RepeatedPtrField<std::string>& names) {
  if (names.empty()) return;
  text += std::string(text.empty() ? "" : "\n") + what + ":";
  for (const std::string& name : names) text += " " + name;
}

}  // namespace

absl::Status run_renew(Link& link, const Options& options) {
  return order(link, options, &Stub::Renew, of_key(options), [&](const v1::RenewReply& reply) {
    if (reply.channels()) {
      return options.key + ": " + count_of(reply.marked(), "channel") +
             " to be replaced, each closed once its streams have ended";
    }
    return options.key + ": " + count_of(reply.closed(), "idle connection") + " closed, " +
           number(reply.marked()) + " in use to be closed when given back";
  });
}

absl::Status run_evict(Link& link, const Options& options) {
  v1::EvictRequest request;
  request.set_key(options.key);
  if (options.count) request.set_count(*options.count);
  return order(link, options, &Stub::Evict, request, [&](const v1::EvictReply& reply) {
    return options.key + ": " + closed_of(reply) + " closed";
  });
}

absl::Status run_expire(Link& link, const Options& options) {
  return order(link, options, &Stub::Expire, v1::ExpireRequest(), [](const v1::ExpireReply& reply) {
    std::string text;
    for (const auto& pool : reply.pools()) {
      text += (text.empty() ? "" : "\n") + pool.key() + ": " + closed_of(pool) + " closed";
    }
    return text.empty() ? "nothing was idle since the last tick" : text;
  });
}

absl::Status run_close_on_release(Link& link, const Options& options) {
  v1::CloseOnReleaseRequest request;
  request.set_lease_id(options.id);
  return order(
      link, options, &Stub::CloseOnRelease, request, [&](const v1::CloseOnReleaseReply& reply) {
        return "the connection of lease " + number(options.id) + " is closed when it comes back" +
               (reply.marked() ? "" : ", as was ordered before");
      });
}

absl::Status run_revoke(Link& link, const Options& options) {
  v1::RevokeRequest request;
  request.set_lease_id(options.id);
  return order(link, options, &Stub::Revoke, request, [&](const v1::RevokeReply&) {
    return "lease " + number(options.id) + " is revoked";
  });
}

absl::Status run_kill(Link& link, const Options& options) {
  v1::KillRequest request;
  request.set_session_id(options.id);
  return order(link, options, &Stub::Kill, request, [&](const v1::KillReply& reply) {
    return "session " + number(options.id) + " has ended, and with it " +
           count_of(reply.leases(), "lease") + " and " + count_of(reply.waiters(), "request") +
           " that waited";
  });
}

absl::Status run_pause(Link& link, const Options& options) {
  return set_intake(link, options, v1::PoolInfo::PAUSED,
                    [](const v1::SetIntakeReply& reply) { return "paused" + rest_of(reply); });
}

absl::Status run_disable(Link& link, const Options& options) {
  return set_intake(link, options, v1::PoolInfo::DISABLED,
                    [](const v1::SetIntakeReply& reply) { return "disabled" + rest_of(reply); });
}

absl::Status run_open(Link& link, const Options& options) {
  return set_intake(link, options, v1::PoolInfo::OPEN,
                    [](const v1::SetIntakeReply&) { return std::string("open"); });
}

absl::Status run_drain(Link& link, const Options& options) {
  return order(
      link, options, &Stub::Drain, of_key(options),
      [&](const v1::DrainReply& reply) {
        return options.key + ": disabled, and no " +
               (reply.channels() ? "stream is open" : "lease is out");
      },
      Link::Answer::late);
}

absl::Status run_reload(Link& link, const Options& options) {
  return order(
      link, options, &Stub::Reload, v1::ReloadRequest(),
      [](const v1::ReloadReply& reply) {
        std::string text;
        for (const std::string& warning : reply.warnings()) {
          std::fprintf(stderr, "berthctl: warning: %s\n", warning.c_str());
        }
        add(text, "new pools", reply.added());
        add(text, "changed pools", reply.changed());
        add(text, "renewed pools", reply.renewed());
        add(text, "removed pools", reply.removed());
        add(text, "without effect until a restart", reply.at_restart());
        return text.empty() ? "nothing has changed" : text;
      },
      Link::Answer::late);
}

absl::Status run_log_level(Link& link, const Options& options) {
  v1::SetLogLevelRequest request;
  request.set_level(options.level);
  return order(link, options, &Stub::SetLogLevel, request, [&](const v1::SetLogLevelReply&) {
    return "the log level is " + options.level + ", until the next reload";
  });
}

absl::Status run_shutdown(Link& link, const Options& options) {
  v1::ShutdownRequest request;
  request.set_now(options.now);
  return order(
      link, options, &Stub::Shutdown, request,
      [](const v1::ShutdownReply& reply) {
        return "berthd has ended; " + count_of(reply.failed_closes(), "close") + " failed";
      },
      Link::Answer::late);
}

}  // namespace berth::ctl
