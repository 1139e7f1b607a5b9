// The subcommands of berthctl. Each prints to standard output; failures are thrown (Failure).
#pragma once

#include <string>

#include "ctl/link.h"

namespace berth::ctl {

struct Options {
  std::string socket;  // --socket; "": where berthd's usually is
  std::string key;     // of listings; "": all
  bool json = false;
};

struct Command {
  const char* name;
  const char* summary;
  bool takes_key;
  void (*run)(Link& link, const Options& options);
};

void run_status(Link& link, const Options& options);
void run_pools(Link& link, const Options& options);
void run_connections(Link& link, const Options& options);
void run_leases(Link& link, const Options& options);
void run_sessions(Link& link, const Options& options);
void run_waiters(Link& link, const Options& options);

inline constexpr Command kCommands[] = {
    {"status", "the daemon as a whole", false, run_status},
    {"pools", "pools, what they hold and what they have done", true, run_pools},
    {"connections", "connections and their states", true, run_connections},
    {"leases", "who holds a connection, and for how long", true, run_leases},
    {"sessions", "programs that are connected to berthd", true, run_sessions},
    {"waiters", "requests that wait for a connection", true, run_waiters},
};

}  // namespace berth::ctl
