// The subcommands of berthctl: what they take and what they do. Each prints to standard output.
#pragma once

#include <absl/status/status.h>

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "ctl/link.h"

namespace berth::ctl {

struct Options {
  std::string socket;  // --socket; "": where berthd's usually is
  bool json = false;
  // What the subcommand takes of these; "" and nothing: not given.
  std::string key;
  std::optional<uint64_t> count;
  uint64_t id = 0;  // of a lease or session
  std::string user;
  std::string level;
  bool now = false;
  bool follow = false;
  std::optional<uint32_t> recent;
};

struct Command {
  const char* name;
  const char* summary;
  // Adds its own options and arguments.
  void (*declare)(CLI::App& app, Options& options);
  absl::Status (*run)(Link& link, const Options& options);
};

std::span<const Command> commands();

// listings.cc
absl::Status run_status(Link& link, const Options& options);
absl::Status run_pools(Link& link, const Options& options);
absl::Status run_connections(Link& link, const Options& options);
absl::Status run_leases(Link& link, const Options& options);
absl::Status run_sessions(Link& link, const Options& options);
absl::Status run_waiters(Link& link, const Options& options);

// orders.cc
absl::Status run_renew(Link& link, const Options& options);
absl::Status run_evict(Link& link, const Options& options);
absl::Status run_expire(Link& link, const Options& options);
absl::Status run_close_on_release(Link& link, const Options& options);
absl::Status run_revoke(Link& link, const Options& options);
absl::Status run_kill(Link& link, const Options& options);
absl::Status run_pause(Link& link, const Options& options);
absl::Status run_disable(Link& link, const Options& options);
absl::Status run_open(Link& link, const Options& options);
absl::Status run_drain(Link& link, const Options& options);
absl::Status run_reload(Link& link, const Options& options);
absl::Status run_log_level(Link& link, const Options& options);
absl::Status run_shutdown(Link& link, const Options& options);

// events.cc
absl::Status run_explain(Link& link, const Options& options);
absl::Status run_events(Link& link, const Options& options);

}  // namespace berth::ctl
