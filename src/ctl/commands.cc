#include "ctl/commands.h"

namespace berth::ctl {
namespace {

// CLI11 takes -1 for a large number.
std::string not_whole(const std::string& text) {
  const bool whole = !text.empty() && text.find_first_not_of("0123456789") == text.npos;
  return whole ? "" : "a whole number is needed, not " + text;
}

void nothing(CLI::App&, Options&) {}

void maybe_key(CLI::App& app, Options& options) {
  app.add_option("key", options.key, "Of this key only")->type_name("KEY");
}

void key(CLI::App& app, Options& options) {
  app.add_option("key", options.key, "The key of the pool")->type_name("KEY")->required();
}

void key_and_count(CLI::App& app, Options& options) {
  key(app, options);
  app.add_option("count", options.count, "At most so many; else all")
      ->type_name("N")
      ->check(not_whole);
}

void key_and_user(CLI::App& app, Options& options) {
  key(app, options);
  app.add_option("--user", options.user, "Whose lease, by name or number; else yours")
      ->type_name("USER");
}

void lease(CLI::App& app, Options& options) {
  app.add_option("lease", options.id, "Its number, as berthctl leases tells it")
      ->type_name("LEASE")
      ->check(not_whole)
      ->required();
}

void session(CLI::App& app, Options& options) {
  app.add_option("session", options.id, "Its number, as berthctl sessions tells it")
      ->type_name("SESSION")
      ->check(not_whole)
      ->required();
}

void level(CLI::App& app, Options& options) {
  app.add_option("level", options.level, "trace, debug, info, warn, error or off")
      ->type_name("LEVEL")
      ->required();
}

void now(CLI::App& app, Options& options) {
  app.add_flag("--now", options.now, "Revoke what is leased instead of waiting for it");
}

void which_events(CLI::App& app, Options& options) {
  maybe_key(app, options);
  app.add_flag("--follow", options.follow, "Go on with what happens from now on");
  app.add_option("--recent", options.recent,
                 "How many past ones to begin with, at most 1000;\nelse all, or none with --follow")
      ->type_name("N")
      ->check(not_whole);
}

constexpr Command kCommands[] = {
    {"status", "the daemon as a whole", nothing, run_status},
    {"pools", "pools, what they hold and what they have done", maybe_key, run_pools},
    {"connections", "connections, channels and their states", maybe_key, run_connections},
    {"leases", "who holds a connection, and for how long", maybe_key, run_leases},
    {"sessions", "programs that are connected to berthd", maybe_key, run_sessions},
    {"waiters", "requests that wait for a connection", maybe_key, run_waiters},
    {"events", "what has happened, or happens", which_events, run_events},
    {"explain", "what a lease would come to now, and why", key_and_user, run_explain},
    {"renew", "have new leases of a key dial afresh", key, run_renew},
    {"evict", "close idle connections of a key now", key_and_count, run_evict},
    {"expire", "close what has been idle since the last tick", nothing, run_expire},
    {"pause", "let requests of a key wait", key, run_pause},
    {"resume", "undo pause", key, run_open},
    {"disable", "refuse requests of a key", key, run_disable},
    {"enable", "undo disable", key, run_open},
    {"drain", "disable a key and wait until its leases are back", key, run_drain},
    {"undrain", "undo drain", key, run_open},
    {"close-on-release", "have a lease's connection closed when it comes back", lease,
     run_close_on_release},
    {"revoke", "take a lease away", lease, run_revoke},
    {"kill", "end a session and all that it holds", session, run_kill},
    {"reload", "read the configuration again", nothing, run_reload},
    {"log-level", "change how much is logged", level, run_log_level},
    {"shutdown", "end the daemon, once its leases are back", now, run_shutdown},
};

}  // namespace

std::span<const Command> commands() {
  return kCommands;
}

}  // namespace berth::ctl
