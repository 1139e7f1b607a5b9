// The validated configuration of berthd. Plain values: whoever holds them may use them as they are.
//
// A default here is the default of the setting; berthd.toml(5) documents each under the name it
// has here, and config/catalogue.cc says how each is written and within which bounds.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "base/endpoint_pattern.h"
#include "base/file_owner.h"
#include "base/time.h"
#include "pool/policy.h"

namespace berth::config {

using namespace std::chrono_literals;

struct DaemonSettings {
  std::string lease_socket = "/run/berth/lease.sock";  // with --user: in the runtime directory
  mode_t lease_socket_mode = 0666;                     // allow_users decides; with --user: 0600

  std::string control_socket = "/run/berth/control.sock";  // likewise
  mode_t control_socket_mode = 0660;                       // with --user: 0600
  std::vector<uint32_t> admins;                            // besides root and the daemon's own user

  int fd_reserve = 64;      // descriptors that are never given to connections or sessions
  int total_max_idle = 0;   // idle connections of all pools; 0 unlimited, -1 none
  int max_sessions = 4096;  // at least 1, like the next one
  int max_sessions_per_user = 1024;
  int max_leases_per_user = 0;   // of one user in all sessions; 0 unlimited
  int max_waiters_per_user = 0;  // requests that wait; likewise

  size_t total_stream_buffer = size_t{1} << 30;  // bytes of all calls of channel pools that wait

  Duration drain_timeout = 30s;  // 0: running leases are not waited for
  std::string log_level = "info";

  friend bool operator==(const DaemonSettings&, const DaemonSettings&) = default;
};

// A lease socket of a tenant. Which socket a program can reach is an identity: who reaches this one
// may lease its keys, whatever his uid is.
struct SocketSettings {
  std::string name;  // of the tenant
  std::string path;
  mode_t mode = 0600;
  FileOwner owner;                // what is not set is the daemon's
  std::vector<std::string> keys;  // of pools, which list the tenant in turn

  friend bool operator==(const SocketSettings&, const SocketSettings&) = default;
};

// Keys that are no pool's name: an endpoint that is allowed, as a URL, makes a pool of its own.
struct DynamicSettings {
  std::vector<EndpointPattern> allow;  // with --user: every one
  pool::PoolPolicy policy;             // of such a pool, but for its key and endpoints

  friend bool operator==(const DynamicSettings&, const DynamicSettings&) = default;
};

struct Settings {
  DaemonSettings daemon;
  std::vector<pool::PoolPolicy> pools;  // in the order of the files; each key once
  std::vector<SocketSettings> sockets;  // likewise; each name once

  DynamicSettings dynamic;

  friend bool operator==(const Settings&, const Settings&) = default;
};

}  // namespace berth::config
