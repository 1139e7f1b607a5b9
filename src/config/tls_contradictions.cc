#include "config/tls_contradictions.h"

#include <algorithm>
#include <initializer_list>
#include <string>

#include "config/cite.h"
#include "config/presets.h"
#include "config/text.h"

namespace berth::config {
namespace {

using pool::Handoff;
using pool::PoolPolicy;

bool starts_tls(const Steps& steps) {
  return tls_step(steps) < steps.size();
}

bool dials_secure(const PoolPolicy& pool) {
  return std::any_of(pool.endpoints.begin(), pool.endpoints.end(),
                     [](const Endpoint& endpoint) { return endpoint.secure; });
}

// What is tls:// is so as a whole, and what turns to TLS is TCP.
void check_endpoints(const PoolPolicy& pool, const Said& said, Report& report) {
  const auto& all = pool.endpoints;
  const bool secure = dials_secure(pool);
  const auto other = std::find_if(all.begin(), all.end(), [&](const Endpoint& endpoint) {
    return secure ? !endpoint.secure : endpoint.kind != Endpoint::Kind::tcp;
  });
  if (other == all.end()) return;
  report.problem(said.place("endpoints"),
                 secure ? "endpoints (line " + std::to_string(said.place("endpoints").line) +
                              ") has tls:// and " + other->url() +
                              ", which is without TLS; give each kind a pool of its own"
                        : other->url() + ": berth speaks TLS over TCP only, which " +
                              title_of(pool) + " turns to after its first steps");
}

std::string instead_of_starttls(const std::string& protocol) {
  if (protocol == "mysql") {
    return ", whose TLS begins within a handshake of its own that berth does not speak";
  }
  if (protocol == "raw") {
    return ", which knows no command for it; give greeting a step {tls = \"start\"}, or endpoints "
           "with tls://";
  }
  return ", whose servers know TLS from the first byte on only; give endpoints with tls://";
}

// What turns a connection to TLS is one thing.
void check_start(const PoolPolicy& pool, const Said& said, Report& report) {
  if (!all_valid(said, {"endpoints", "greeting", "login", "starttls"})) return;
  const auto contradict = [&](const char* first, const std::string& cited, const char* second,
                              const char* why) {
    report.problem(last_place(said, first, second),
                   cited + " contradicts " + cite(said, second) + why);
  };
  if (pool.starttls) {
    const std::string cited = cite(said, "starttls", "true");
    const auto& values = preset_of(pool).values;
    const bool knows = std::any_of(values.begin(), values.end(), [](const PresetValue& value) {
      return (value.when & kStartsTls) != 0;
    });
    if (!knows) {
      return report.problem(said.place("starttls"),
                            cited + " contradicts " +
                                cite(said, "protocol", toml_string(pool.protocol)) +
                                instead_of_starttls(pool.protocol));
    }
    if (dials_secure(pool)) {
      return contradict("starttls", cited, "endpoints",
                        ", which are tls:// from the first byte on");
    }
    if (!starts_tls(pool.greeting)) {
      return contradict("starttls", cited, "greeting",
                        ", which has no step {tls = \"start\"}; leave either out");
    }
  }
  for (const char* name : {"greeting", "login"}) {
    const Steps& steps = name[0] == 'g' ? pool.greeting : pool.login;
    if (!dials_secure(pool) || !starts_tls(steps)) continue;
    contradict(name, cite(said, name) + ", which starts TLS,", "endpoints",
               ", which are tls:// from the first byte on");
  }
  if (starts_tls(pool.greeting) && starts_tls(pool.login)) {
    contradict("login", cite(said, "login") + ", which starts TLS,", "greeting",
               ", which has done so");
  }
  if (pool.relogin && starts_tls(pool.login) && said.valid("relogin")) {
    contradict("relogin", cite(said, "relogin", "true"), "login",
               ", which starts TLS and cannot do it again; move that into greeting");
  }
}

void check_verification(const PoolPolicy& pool, const Said& said, Report& report) {
  if (!all_valid(said, {"verify", "insecure", "ca"})) return;
  const bool unverified = pool.tls.verify == TlsVerify::none;
  if (!unverified && pool.insecure) {
    const char* const words = pool.tls.verify == TlsVerify::full ? "\"full\"" : "\"chain-only\"";
    report.problem(said.place("insecure"), cite(said, "insecure", "true") +
                                               " is without effect: it confirms verify = "
                                               "\"none\", and this is " +
                                               cite(said, "verify", words));
  }
  if (!unverified) return;
  const std::string cited = cite(said, "verify", "\"none\"");
  if (!pool.insecure) {
    report.problem(said.place("verify"),
                   cited +
                       " lets everybody who is on the way be the server; if that is meant, "
                       "say insecure = true beside it");
    return;
  }
  if (said.has("ca") && !has_default(pool, "ca")) {
    report.problem(said.place("ca"), cite(said, "ca") + " is without effect with " + cited);
  }
  report.warning(said.place("verify"),
                 title_of(pool) + ": " + cited + ": everybody who is on the way can be the server");
}

void check_certificate(const PoolPolicy& pool, const Said& said, Report& report) {
  if (!all_valid(said, {"certificate", "private_key"})) return;
  const bool has_certificate = !pool.tls.certificate.empty();
  if (has_certificate == !pool.tls.private_key.empty()) return;
  const char* const there = has_certificate ? "certificate" : "private_key";
  const char* const missing = has_certificate ? "private_key" : "certificate";
  report.problem(said.place(there), cite(said, there) + " needs a " + missing + " beside it");
}

// How the bytes travel, and who could follow them there.
void check_handoff(const PoolPolicy& pool, const Said& said, Report& report) {
  if (!all_valid(said, {"handoff", "login_command"})) return;
  if (pool.handoff == Handoff::direct) {
    report.problem(said.place("handoff"),
                   cite(said, "handoff", "\"direct\"") + ": " + title_of(pool) +
                       " speaks TLS, which a program with the bare socket would have to speak "
                       "itself; say \"ktls\" or \"auto\"");
  }
  if (!pool.login_command.empty() && pool.handoff != Handoff::ktls) {
    report.problem(said.place("login_command"),
                   cite(said, "login_command") +
                       " gets the server's socket, on which it can log in with TLS only where the "
                       "kernel encrypts; say handoff = \"ktls\", or log in with login");
  }
}

void refuse(const PoolPolicy& pool, std::initializer_list<const char*> names,
            const std::string& why, const Said& said, Report& report) {
  for (const char* name : names) {
    if (!said.has(name) || !said.valid(name) || has_default(pool, name)) continue;
    report.problem(said.place(name), cite(said, name) + why);
  }
}

void check_without_tls(const PoolPolicy& pool, const Said& said, Report& report) {
  const std::string why =
      " is without effect: no endpoint of " + title_of(pool) + " is tls://, and no step starts TLS";
  if (pool.handoff == Handoff::ktls && said.valid("handoff")) {
    report.problem(said.place("handoff"), cite(said, "handoff", "\"ktls\"") + why);
  }
  refuse(pool, {"ca", "certificate", "private_key", "server_name", "verify", "insecure", "alpn"},
         why, said, report);
}

}  // namespace

void check_tls(const PoolPolicy& pool, const Said& said, Report& report) {
  const bool uses = pool.uses_tls() || dials_secure(pool);
  const bool may = uses || pool.starttls || pool.key.empty();  // URL keys may be tls://
  check_start(pool, said, report);
  if (uses && said.valid("endpoints")) {
    check_endpoints(pool, said, report);
    check_handoff(pool, said, report);
  }
  if (may) {
    check_verification(pool, said, report);
    check_certificate(pool, said, report);
  } else if (all_valid(said, {"endpoints", "greeting", "login", "starttls"})) {
    check_without_tls(pool, said, report);
  }
}

void check_channel_tls(const PoolPolicy& pool, const Said& said, Report& report) {
  if (pool.uses_tls()) {
    check_verification(pool, said, report);
    check_certificate(pool, said, report);
  } else {
    refuse(pool, {"ca", "certificate", "private_key", "server_name", "verify", "insecure"},
           " is without effect: no endpoint of " + title_of(pool) + " is grpcs://", said, report);
  }
}

std::string fault_of_url_pool(const PoolPolicy& pool) {
  const Endpoint& endpoint = pool.endpoints.front();
  if (endpoint.kind == Endpoint::Kind::slot) return {};
  const std::string url = "\"" + endpoint.url() + "\": ";
  if (pool.carries_channels()) {
    return url + "a channel pool has a table of its own, [pool.NAME]; no URL makes one";
  }
  if (endpoint.secure && (starts_tls(pool.greeting) || starts_tls(pool.login))) {
    return url + "[dynamic] turns connections to TLS itself; write tcp://";
  }
  if (pool.uses_tls() && endpoint.kind != Endpoint::Kind::tcp) {
    return url + "[dynamic] turns connections to TLS, which berth speaks over TCP only";
  }
  if (pool.uses_tls() && pool.handoff == Handoff::direct) {
    return url + "[dynamic] says handoff = \"direct\", which is not for TLS";
  }
  if (!pool.uses_tls() && pool.handoff == Handoff::ktls) {
    return url + "[dynamic] says handoff = \"ktls\", which is for TLS only";
  }
  if (pool.uses_tls() && pool.handoff != Handoff::ktls && !pool.login_command.empty()) {
    return url + "[dynamic] has a login_command, which takes handoff = \"ktls\" with TLS";
  }
  return {};
}

}  // namespace berth::config
