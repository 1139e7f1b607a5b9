// What happens, and what would happen.
#include <pwd.h>

#include <charconv>
#include <cstdio>
#include <ctime>

#include "base/limits.h"
#include "ctl/commands.h"
#include "ctl/print.h"

namespace berth::ctl {
namespace {

std::string local_time(int64_t unix_ms) {
  const std::time_t seconds = unix_ms / 1000;
  std::tm parts{};
  localtime_r(&seconds, &parts);
  char text[32];
  const size_t size = std::strftime(text, sizeof text, "%F %T", &parts);
  char ms[8];
  std::snprintf(ms, sizeof ms, ".%03d", static_cast<int>(unix_ms % 1000));
  return std::string(text, size) + ms;
}

// " name=value", with quotes where there are spaces; nothing where there is no value.
std::string field(const char* name, const std::string& value) {
  if (value.empty()) return "";
  std::string text = std::string(" ") + name + "=";
  const bool quoted = value.find_first_of(" \"=") != value.npos;
  if (quoted) text += '"';
  for (const char c : value) {
    if (c == '"') text += '\\';
    text += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '?' : c;
  }
  return quoted ? text + '"' : text;
}

std::string field(const char* name, uint64_t value) {
  return value != 0 ? field(name, number(value)) : "";
}

void print(const v1::Event& event) {
  constexpr size_t kKindPrefix = 6;    // EVENT_
  constexpr size_t kReasonPrefix = 6;  // CLOSE_
  if (event.missed() > 0) std::printf("(%s missed)\n", count_of(event.missed(), "event").c_str());
  std::string line = field("connection", event.connection_id()) +
                     field("channel", event.channel_id()) + field("lease", event.lease_id()) +
                     field("session", event.session_id()) + field("pid", event.pid());
  if (event.has_uid()) line += field("user", user(event.uid()));
  if (event.kind() == v1::EVENT_CLOSE) {
    line += field("reason", word(v1::CloseReason_Name(event.close_reason()), kReasonPrefix));
  }
  if (event.kind() == v1::EVENT_REFUSE) line += field("code", word(v1::Code_Name(event.code())));
  const bool counts_ms = event.kind() == v1::EVENT_BACKOFF || event.kind() == v1::EVENT_LEARN;
  const bool is_count = event.kind() == v1::EVENT_COUNT;
  line += is_count ? field("count", number(event.count()))
                   : field(counts_ms ? "ms" : "count", event.count());
  line += field("text", event.text());
  std::printf("%s  %-13s %s%s\n", local_time(event.time_unix_ms()).c_str(),
              word(v1::EventKind_Name(event.kind()), kKindPrefix).c_str(), event.key().c_str(),
              line.c_str());
}

absl::StatusOr<uint32_t> find_user(const std::string& name) {
  if (const passwd* entry = getpwnam(name.c_str())) return entry->pw_uid;
  uint32_t uid = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), uid);
  if (error == std::errc() && end == name.data() + name.size()) return uid;
  return absl::NotFoundError("there is no user " + name);
}

}  // namespace

absl::Status run_events(Link& link, const Options& options) {
  v1::WatchRequest request;
  request.set_key(options.key);
  request.set_stop(!options.follow);
  request.set_recent(options.recent.value_or(options.follow ? 0 : uint32_t{kMaxRecentEvents}));
  return link.watch(request, [&](const v1::Event& event) {
    if (options.json) {
      if (!print_json(event, Json::line).ok()) return false;
    } else {
      print(event);
    }
    return std::fflush(stdout) == 0;
  });
}

absl::Status run_explain(Link& link, const Options& options) {
  v1::ExplainRequest request;
  request.set_key(options.key);
  if (!options.user.empty()) {
    const absl::StatusOr<uint32_t> uid = find_user(options.user);
    if (!uid.ok()) return uid.status();
    request.set_uid(*uid);
  }
  const auto reply = link.call(&Stub::Explain, request);
  if (!reply.ok()) return reply.status();
  if (options.json) return print_json(*reply);
  std::printf("%s for %s: %s\n", reply->key().c_str(), user(reply->uid()).c_str(),
              reply->message().c_str());
  return absl::OkStatus();
}

}  // namespace berth::ctl
