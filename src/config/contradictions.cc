#include "config/contradictions.h"

#include <algorithm>
#include <initializer_list>

#include "config/catalogue.h"
#include "config/text.h"

namespace berth::config {
namespace {

bool all_valid(const Said& said, std::initializer_list<std::string_view> names) {
  return std::all_of(names.begin(), names.end(),
                     [&](std::string_view name) { return said.valid(name); });
}

// "max_connections = 20 (default)" or "max_connections = 4 (line 7)".
std::string cite(const Said& said, const char* name, int number) {
  const int line = said.place(name).line;
  const std::string value = number == pool::kNone ? "\"none\"" : std::to_string(number);
  const std::string where = line > 0 ? "line " + std::to_string(line) : "default";
  return std::string(name) + " = " + value + " (" + where + ")";
}

// The place of the setting that was written last.
Place last_place(const Said& said, const char* first, const char* second) {
  const Place a = said.place(first);
  const Place b = said.place(second);
  return a.line > b.line ? a : b;
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

// "relogin = true (line 7)"; requires that it was written.
std::string cite(const Said& said, const std::string& name, const std::string& value) {
  return name + " = " + value + " (line " + std::to_string(said.place(name).line) + ")";
}

// What runs login again after reset needs both.
void check_relogin(const pool::PoolPolicy& pool, const Said& said, Report& report) {
  if (!pool.relogin || !said.valid("relogin")) return;
  const auto need = [&](const char* name, const Steps& steps) {
    if (!steps.empty() || !said.valid(name)) return;
    report.problem(said.place("relogin"), cite(said, "relogin", "true") +
                                              " is without effect: [pool." + pool.key +
                                              "] has no " + name);
  };
  need("login", pool.login);
  need("reset", pool.reset);
}

// A time of checks that was changed where nothing is checked.
void check_times(const pool::PoolPolicy& pool, const Said& said, Report& report) {
  if (!pool.check.empty() || !said.valid("check")) return;
  const pool::PoolPolicy unchanged;
  const auto refuse = [&](const char* name, Duration pool::PoolPolicy::*time) {
    if (!said.has(name) || !said.valid(name) || pool.*time == unchanged.*time) return;
    report.problem(said.place(name), cite(said, name, toml_string(duration_text(pool.*time))) +
                                         " is without effect: [pool." + pool.key +
                                         "] has no check");
  };
  refuse("check_after", &pool::PoolPolicy::check_after);
  refuse("check_interval", &pool::PoolPolicy::check_interval);
  refuse("check_timeout", &pool::PoolPolicy::check_timeout);
}

void check_share(const pool::PoolPolicy& pool, const Said& said, Report& report) {
  const bool wide = pool.share == pool::Share::group || pool.share == pool::Share::any;
  if (!wide || pool.trust_holders || !all_valid(said, {"share", "trust_holders"})) return;
  const std::string share = pool.share == pool::Share::any ? "\"any\"" : "\"group\"";
  report.problem(said.place("share"),
                 cite(said, "share", share) +
                     " lets users have what others may have kept a duplicate of; if none of them "
                     "does, say trust_holders = true");
}

// The system's resolver knows no services.
void check_services(const pool::PoolPolicy& pool, const Said& said, Report& report) {
  if (pool.resolver == pool::ResolveBy::dns || !all_valid(said, {"resolver", "endpoints"})) return;
  const auto service = std::find_if(pool.endpoints.begin(), pool.endpoints.end(),
                                    [](const Endpoint& endpoint) { return endpoint.is_service(); });
  if (service == pool.endpoints.end()) return;
  report.problem(last_place(said, "endpoints", "resolver"),
                 service->url() +
                     " is a service (it has no port), which is found with resolver = "
                     "\"dns\" only");
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
    refuse("max_warm_age", "[pool." + pool.key + "] is not warm = \"single-use\"");
  }
}

// Where nothing is dialled and nothing is kept, few settings mean anything.
void check_slots(const pool::PoolPolicy& pool, const Said& said, Report& report) {
  for (const Setting<pool::PoolPolicy>& setting : pool_settings()) {
    if (setting.scope == Scope::slots_too || !said.has(setting.name)) continue;
    const Place place = said.place(setting.name);
    report.problem(place, std::string(setting.name) + " (line " + std::to_string(place.line) +
                              ") is without effect: [pool." + pool.key +
                              "] lends slots, which carry no connection");
  }
}

void check_connections(const pool::PoolPolicy& pool, const Said& said, Report& report) {
  check_room(pool, "max_connections", pool.max_connections, said, report);
  check_room(pool, "max_idle", pool.max_idle, said, report);
  check_relogin(pool, said, report);
  check_share(pool, said, report);
  check_warm(pool, said, report);
  check_times(pool, said, report);
  check_services(pool, said, report);
}

}  // namespace

void check_pool(const pool::PoolPolicy& pool, const Said& said, Report& report) {
  const std::string title = "[pool." + pool.key + "]";
  if (!said.has("endpoints")) {
    report.problem(said.header(), title +
                                      " has no endpoints; give it one, such as endpoints = "
                                      "[\"tcp://127.0.0.1:6379\"]");
  }
  if (pool.lends_slots()) {
    check_slots(pool, said, report);
  } else {
    check_connections(pool, said, report);
  }
  if (pool.allow_uids.empty() && said.valid("allow_users")) {
    report.warning(said.header(), "nobody may lease from " + title + ": it allows no users");
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
