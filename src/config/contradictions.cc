#include "config/contradictions.h"

#include <algorithm>
#include <initializer_list>

#include "base/limits.h"
#include "config/catalogue.h"
#include "config/channel_contradictions.h"
#include "config/cite.h"
#include "config/presets.h"
#include "config/text.h"
#include "config/tls_contradictions.h"

namespace berth::config {
namespace {

bool brings(const pool::PoolPolicy& pool, std::string_view name) {
  const auto& values = preset_of(pool).values;
  return std::any_of(values.begin(), values.end(), [&](const PresetValue& value) {
    return value.setting == name && (pool.starttls || (value.when & kStartsTls) == 0);
  });
}

// Keeping min_idle connections ready needs room for them under `limit`.
void check_room(const pool::PoolPolicy& pool, const char* name, int limit, const Said& said,
                Report& report) {
  if (limit == pool::kUnlimited || !all_valid(said, {"min_idle", name})) return;
  if (pool.min_idle <= std::max(limit, 0)) return;
  report.problem(last_place(said, "min_idle", name),
                 cite(said, "min_idle", pool.min_idle) +
                     (limit == pool::kNone ? " contradicts " : " is more than ") +
                     cite(said, name, limit));
}

// What logs in, steps or a program, is one of them.
void check_login(const pool::PoolPolicy& pool, const Said& said, Report& report) {
  if (pool.login.empty() || pool.login_command.empty()) return;
  report.problem(
      last_place(said, "login", "login_command"),
      "login (line " + std::to_string(said.place("login").line) + ") and login_command (line " +
          std::to_string(said.place("login_command").line) + ") both log in; keep one of them");
}

// What runs login again after reset needs both.
void check_relogin(const pool::PoolPolicy& pool, const Said& said, Report& report) {
  if (!pool.relogin || !said.valid("relogin")) return;
  const auto need = [&](const char* name, bool there) {
    if (there || !said.valid(name)) return;
    report.problem(said.place("relogin"), cite(said, "relogin", "true") + " is without effect: " +
                                              title_of(pool) + " has no " + name);
  };
  if (said.valid("login_command")) need("login", pool.logs_in());
  need("reset", !pool.reset.empty());
}

// A time of checks that was changed where nothing is checked.
void check_times(const pool::PoolPolicy& pool, const Said& said, Report& report) {
  if (!pool.check.empty() || !said.valid("check")) return;
  const pool::PoolPolicy unchanged;
  const auto refuse = [&](const char* name, Duration pool::PoolPolicy::*time) {
    if (!said.has(name) || !said.valid(name) || pool.*time == unchanged.*time) return;
    report.problem(said.place(name), cite(said, name, toml_string(duration_text(pool.*time))) +
                                         " is without effect: " + title_of(pool) + " has no check");
  };
  refuse("check_after", &pool::PoolPolicy::check_after);
  refuse("check_interval", &pool::PoolPolicy::check_interval);
  refuse("check_timeout", &pool::PoolPolicy::check_timeout);
}

void check_share(const pool::PoolPolicy& pool, const Said& said, Report& report) {
  const bool wide = pool.share == pool::Share::group || pool.share == pool::Share::any;
  const bool held = pool.handoff != pool::Handoff::relay && !pool.trust_holders;
  if (!wide || !held || !all_valid(said, {"share", "trust_holders", "handoff"})) return;
  const std::string share = pool.share == pool::Share::any ? "\"any\"" : "\"group\"";
  report.problem(said.place("share"),
                 cite(said, "share", share) +
                     " lets users have what others may have kept a duplicate of; say handoff = "
                     "\"relay\", or, if none of them does, trust_holders = true");
}

// Of who has no listen.
void check_without_listen(const pool::PoolPolicy& pool, const Said& said, Report& report) {
  const auto refuse = [&](const char* name) {
    if (!said.has(name) || has_default(pool, name) || !pool.listen.empty()) return;
    report.problem(said.place(name),
                   std::string(name) + " (line " + std::to_string(said.place(name).line) +
                       ") is without effect: " + title_of(pool) + " has no listen");
  };
  if (!said.valid("listen")) return;
  refuse("listen_mode");
  if (!pool.carries_channels()) refuse("lazy");
}

// Programs at a listen socket hold no descriptor of a server's.
void check_listen(const pool::PoolPolicy& pool, const Said& said, Report& report) {
  if (!all_valid(said, {"listen", "handoff"})) return;
  const bool direct = pool.handoff == pool::Handoff::direct;
  if (!pool.listen.empty() && (direct || pool.handoff == pool::Handoff::ktls)) {
    report.problem(last_place(said, "listen", "handoff"),
                   cite(said, "handoff", direct ? "\"direct\"" : "\"ktls\"") +
                       " contradicts listen (line " + std::to_string(said.place("listen").line) +
                       "), whose programs do not get the server's socket");
  }
  const bool hears_first = !pool.greeting.empty() && expects(pool.greeting.front().kind);
  if (!pool.listen.empty() && hears_first && all_valid(said, {"greeting", "login"})) {
    report.problem(said.place("listen"),
                   "listen (line " + std::to_string(said.place("listen").line) +
                       "): programs wait there for what the server says first, which greeting has "
                       "read by then; say greeting = \"leave\" and warm = \"single-use\"");
  }
  check_without_listen(pool, said, report);
}

// Neither the system's resolver knows services, nor does a proxy or a program.
void check_services(const pool::PoolPolicy& pool, const Said& said, Report& report) {
  if (pool.finds_services()) return;
  if (!all_valid(said, {"resolver", "endpoints", "via", "dial_command"})) return;
  const auto service = std::find_if(pool.endpoints.begin(), pool.endpoints.end(),
                                    [](const Endpoint& endpoint) { return endpoint.is_service(); });
  if (service == pool.endpoints.end()) return;
  report.problem(last_place(said, "endpoints", "resolver"),
                 service->url() +
                     " is a service (it has no port), which is found with resolver = "
                     "\"dns\" only, without via and dial_command");
}

// What is never given back is never reset, and never used twice.
void check_warm(const pool::PoolPolicy& pool, const Said& said, Report& report) {
  if (!said.valid("warm")) return;
  const auto refuse = [&](const char* name, const std::string& why) {
    if (!said.has(name) || !said.valid(name)) return;
    report.problem(said.place(name), std::string(name) + " (line " +
                                         std::to_string(said.place(name).line) +
                                         ") is without effect: " + why);
  };
  if (pool.warm == pool::Warm::single_use) {
    const std::string why = "what is " + cite(said, "warm", "\"single-use\"") + " does not return";
    if (!pool.reset.empty()) refuse("reset", why);
    if (pool.max_uses != 0) refuse("max_uses", why);
  } else if (pool.max_warm_age != pool::PoolPolicy().max_warm_age) {
    refuse("max_warm_age", title_of(pool) + " is not warm = \"single-use\"");
  }
}

// Connections on which each client logs in for itself are of no use to the next, unless the pool
// does it and makes them as new.
void check_reuse(const pool::PoolPolicy& pool, const Said& said, Report& report) {
  const std::string reuse = cite(said, "warm", "\"reuse\"");
  const std::string protocol = cite(said, "protocol", toml_string(pool.protocol));
  if (!pool.logs_in()) {
    report.problem(said.place("warm"), reuse + " contradicts " + protocol +
                                           ", whose clients log in themselves, each on a "
                                           "connection of its own; leave it out, or give " +
                                           title_of(pool) + " a login and a reset");
  } else if (pool.reset.empty()) {
    report.problem(last_place(said, "warm", "reset"),
                   reuse + " needs a reset with " + protocol +
                       ", or what one holder leaves there is the next one's");
  }
}

// What connections of the pool's protocol must have to be used more than once.
void check_protocol(const pool::PoolPolicy& pool, const Said& said, Report& report) {
  if (pool.warm != pool::Warm::reuse || !said.valid("warm")) return;
  const Preset& preset = preset_of(pool);
  const std::string protocol = cite(said, "protocol", toml_string(pool.protocol));
  const bool knows_login = all_valid(said, {"login", "login_command"});
  if (preset.clients_log_in && knows_login && said.valid("reset")) check_reuse(pool, said, report);
  if (brings(pool, "greeting") && said.has("greeting") && said.valid("greeting") && knows_login &&
      pool.leaves_greeting()) {
    report.problem(said.place("greeting"),
                   cite(said, "greeting", "\"leave\"") + " contradicts " + protocol +
                       ", whose servers greet once: the next holder would wait for it; leave it "
                       "out, or say warm = \"single-use\"");
  }
  if (preset.login_stays && pool.share == pool::Share::socket && !pool.trust_holders &&
      all_valid(said, {"share", "trust_holders"})) {
    report.problem(said.place("share"),
                   cite(said, "share", "\"socket\"") +
                       " lets users have connections on which others may have logged in, which " +
                       protocol + " cannot undo; if none of them does, say trust_holders = true");
  }
}

bool dials_tcp(const pool::PoolPolicy& pool) {
  return std::any_of(pool.endpoints.begin(), pool.endpoints.end(),
                     [](const Endpoint& e) { return e.kind == Endpoint::Kind::tcp; });
}

// What only TCP has, and what only who dials can do.
void check_tcp(const pool::PoolPolicy& pool, const Said& said, Report& report) {
  if (!all_valid(said, {"endpoints", "dial_command"})) return;
  const auto refuse = [&](std::initializer_list<const char*> names, const std::string& why) {
    for (const char* name : names) {
      const Place place = said.place(name);
      if (!said.has(name) || has_default(pool, name)) continue;
      report.problem(place, std::string(name) + " (line " + std::to_string(place.line) +
                                ") is without effect: " + why);
    }
  };
  if (pool.endpoints.empty()) return;
  if (!pool.dial_command.empty()) {
    refuse({"interface", "source_address", "via"},
           "what dials is dial_command (line " + std::to_string(said.place("dial_command").line) +
               ")");
  } else if (!dials_tcp(pool)) {
    refuse({"interface", "keepalive", "source_address", "tcp_user_timeout"},
           "no endpoint of " + title_of(pool) + " is tcp://");
  }
}

// What a proxy's user and his password are for, and what a proxy can be told.
void check_via(const pool::PoolPolicy& pool, const Said& said, Report& report) {
  if (!all_valid(said, {"endpoints", "via", "via_password_file"})) return;
  const auto refuse = [&](const char* name, const std::string& why) {
    const Place place = said.place(name);
    const std::string where = place.line > 0 ? " (line " + std::to_string(place.line) + ")" : "";
    report.problem(place, name + where + why);
  };
  if (pool.via && said.has("endpoints") && !dials_tcp(pool)) {
    refuse("via", " is without effect: no endpoint of " + title_of(pool) +
                      " is tcp://, and to others no proxy leads");
  }
  const size_t password = pool.via_password.secret.bytes().size();
  const bool has_user = pool.via && !pool.via->user.empty();
  if (password > 0 && !has_user) {
    return refuse("via_password_file", " is without effect: no user stands in via");
  }
  if (!has_user) return;
  const bool http = pool.via->kind == Proxy::Kind::http;
  const size_t most = http ? kMaxHttpPasswordBytes : kMaxSocksPasswordBytes;
  if (password > most) {
    refuse("via_password_file", " holds a password of more than " + std::to_string(most) +
                                    " bytes, too long for " + (http ? "HTTP" : "SOCKS5"));
  } else if (password == 0 && !http) {
    refuse("via", " has a user, but no via_password_file; SOCKS5 knows no user without password");
  }
}

// Where nothing is dialled and nothing is kept, few settings mean anything.
void check_slots(const pool::PoolPolicy& pool, const Said& said, Report& report) {
  if (!preset_of(pool).values.empty()) {
    report.problem(said.place("protocol"), cite(said, "protocol", toml_string(pool.protocol)) +
                                               " is without effect: " + title_of(pool) +
                                               " lends slots, which carry no connection");
  }
  for (const Setting<pool::PoolPolicy>& setting : pool_settings()) {
    if ((setting.scope & kSlotPools) != 0 || !said.has(setting.name)) continue;
    const Place place = said.place(setting.name);
    report.problem(place, std::string(setting.name) + " (line " + std::to_string(place.line) +
                              ") is without effect: " + title_of(pool) +
                              " lends slots, which carry no connection");
  }
}

void check_stream_pool(const pool::PoolPolicy& pool, const Said& said, Report& report) {
  refuse_channel_settings(pool, said, report);
  if (!said.valid("protocol")) return;  // the rest depends on what it would bring
  check_protocol(pool, said, report);
  check_room(pool, "max_connections", pool.max_connections, said, report);
  check_room(pool, "max_idle", pool.max_idle, said, report);
  check_login(pool, said, report);
  check_relogin(pool, said, report);
  check_share(pool, said, report);
  check_warm(pool, said, report);
  check_times(pool, said, report);
  check_tcp(pool, said, report);
  check_via(pool, said, report);
  check_services(pool, said, report);
  check_listen(pool, said, report);
  check_tls(pool, said, report);
}

void check_channel_pool(const pool::PoolPolicy& pool, const Said& said, Report& report) {
  check_channels(pool, said, report);
  check_tcp(pool, said, report);
  check_via(pool, said, report);
  check_services(pool, said, report);
  check_without_listen(pool, said, report);
  check_channel_tls(pool, said, report);
}

}  // namespace

void check_pool(const pool::PoolPolicy& pool, const Said& said, Report& report) {
  const std::string title = title_of(pool);
  if (!said.has("endpoints")) {
    report.problem(said.header(), title +
                                      " has no endpoints; give it one, such as endpoints = "
                                      "[\"tcp://127.0.0.1:6379\"]");
  }
  if (pool.lends_slots()) {
    check_slots(pool, said, report);
  } else if (mixes_channels(pool, said, report)) {
    return;  // what it is, the rest depends on
  } else if (pool.carries_channels()) {
    check_channel_pool(pool, said, report);
  } else {
    check_stream_pool(pool, said, report);
  }
}

void check_dynamic(const DynamicSettings& dynamic, const Said& said, Report& report) {
  const auto refuse = [&](const char* name, const char* why) {
    if (said.has(name)) report.problem(said.place(name), std::string(name) + why);
  };
  refuse("endpoints", " does not belong in [dynamic]: the URL itself says where to dial");
  refuse("min_idle",
         " does not belong in [dynamic]: a pool that a URL makes goes once it is empty");
  if (!dynamic.policy.listen.empty()) {
    refuse("listen", " does not belong in [dynamic]: URL keys have no sockets of their own");
  }
  check_stream_pool(dynamic.policy, said, report);
  const bool nobody = dynamic.policy.allow_uids.empty() && dynamic.policy.allow_gids.empty();
  if (dynamic.allow.empty()) {
    report.warning(said.header(), "no URL is a key: [dynamic] allows none");
  } else if (nobody && all_valid(said, {"allow_users", "allow_groups"})) {
    report.warning(said.header(),
                   "nobody may lease by URL: [dynamic] allows no users and no groups");
  }
}

void check_socket(const SocketSettings& socket, const Said& said, Report& report) {
  const std::string title = "[socket." + socket.name + "]";
  if (!said.has("path")) {
    report.problem(said.header(), title +
                                      " has no path; give it one, such as path = \"/run/berth/" +
                                      socket.name + ".sock\"");
  }
  if (socket.keys.empty() && said.valid("keys")) {
    report.warning(said.header(), "nothing can be leased at " + title + ": it has no keys");
  }
}

void check_totals(const Settings& settings, const Said& said, Report& report) {
  const int limit = settings.daemon.total_max_idle;
  if (limit == pool::kUnlimited || !said.valid("total_max_idle")) return;
  int64_t wanted = 0;
  for (const pool::PoolPolicy& pool : settings.pools) wanted += pool.min_idle;
  if (wanted <= std::max(limit, 0)) return;
  report.problem(said.place("total_max_idle"), cite(said, "total_max_idle", limit) +
                                                   " contradicts min_idle of the pools, which "
                                                   "ask for " +
                                                   std::to_string(wanted) +
                                                   " connections together");
}

}  // namespace berth::config
