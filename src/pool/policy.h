// The settings of one pool, validated. Policy reads them; it never parses them.
// berthd.toml(5) documents each under the name it has here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/command.h"
#include "base/compression.h"
#include "base/endpoint.h"
#include "base/keepalive.h"
#include "base/proxy.h"
#include "base/secret.h"
#include "base/steps.h"
#include "base/time.h"
#include "base/tls.h"

namespace berth::pool {

using namespace std::chrono_literals;

enum class IdleOrder { lifo, fifo };

// Where the next connection is dialled (rule 20), or the next stream is carried (DESIGN section 8,
// point 2).
enum class Balance {
  round_robin,    // to the endpoint that has the fewest, in turn among equals; streams in turn
  least_leased,   // to the endpoint of which the fewest are leased
  failover,       // to the first that answers
  least_streams,  // of a channel pool, in place of least_leased
};

// Who turns the names of endpoints into addresses.
enum class ResolveBy {
  system,  // getaddrinfo(3), so that nsswitch.conf counts
  dns,     // berthd itself asks the name servers: TTL and services (SRV) count
};

// To whom a connection may be granted again (DESIGN section 4, point 8). A former holder may have
// kept a duplicate, so group and any need trust_holders.
enum class Share { user, socket, group, any };

// What happens to a connection that comes back (rule 7).
enum class Warm {
  reuse,
  single_use,  // it is closed: a protocol whose clients log in themselves
};

// What a session from another network namespace gets (DESIGN section 4, point 5).
enum class Sandbox {
  relay,   // a carried lease
  pinned,  // the bare socket, held to its peer by a locked filter
};

// How bytes travel between a lessee and the server.
enum class Handoff {
  automatic,  // direct, but where something else demands that they are carried
  direct,     // the lessee holds the server's socket
  ktls,       // it does, and the kernel encrypts
  relay,      // berthd carries them
};

constexpr const char* name_of(Handoff handoff) {
  switch (handoff) {
    case Handoff::automatic: return "auto";
    case Handoff::direct: return "direct";
    case Handoff::ktls: return "ktls";
    case Handoff::relay: return "relay";
  }
  return "";
}

// -1 in the setting is "none", 0 is "unlimited".
inline constexpr int kUnlimited = 0;
inline constexpr int kNone = -1;

// Which calls are repeated though the server may have seen them (DESIGN section 8, point 5).
struct RetrySettings {
  uint32_t attempts = 1;             // the first call counts; at least 1
  uint32_t codes = 0;                // worth another attempt: one bit each, 1 << the code's number
  Duration backoff = 100ms;          // before the second attempt; doubles, with jitter
  size_t buffer = size_t{64} << 10;  // bytes of a request that are kept for it

  friend bool operator==(const RetrySettings&, const RetrySettings&) = default;
};

// What channel pools have beside what they share with stream pools (DESIGN section 8).
struct ChannelSettings {
  int max_channels = 4;                      // to one address; at least 1
  int max_streams_per_channel = kUnlimited;  // 0: what the server allows
  int max_waiting_streams = 10'000;          // at least 1
  Duration drain_timeout = 30s;              // for the streams of a channel that is to close
  Duration keepalive_time = 5min;            // without traffic, then a PING; 0 never, else >= 10 s
  Duration keepalive_timeout = 20s;          // for the answer to that
  RetrySettings retry = {};
  bool health = false;  // channels are used while grpc.health.v1 says that they serve
  size_t max_header_bytes = size_t{64} << 10;   // of a header block as RFC 9113, 6.5.2 counts it
  size_t stream_buffer = size_t{256} << 10;     // of a stream's data, each way
  Compression compression = Compression::none;  // of messages towards the server
  bool access_log = false;                      // a line for each call

  friend bool operator==(const ChannelSettings&, const ChannelSettings&) = default;
};

struct PoolPolicy {
  std::string key;
  std::string protocol = "raw";  // a label; what it brought is in the other members

  // Where to dial; or slot: alone, for leases that carry no connection.
  std::vector<Endpoint> endpoints;
  Command dial_command = {};  // a program that does it; empty: the daemon dials

  // Through which tcp endpoints are dialled, and its user's password.
  std::optional<Proxy> via = {};
  FiledSecret via_password = {};

  TlsSettings tls = {};   // of who uses_tls()
  bool insecure = false;  // tls.verify may be none
  bool starttls = false;  // the preset's greeting turns to TLS

  Balance balance = Balance::round_robin;

  ResolveBy resolver = ResolveBy::system;
  Duration dns_refresh = 30s;  // addresses are looked up again after it; 0 never

  IdleOrder idle_order = IdleOrder::lifo;
  int max_connections = 20;   // 0 unlimited; counts each whose socket is not yet shut down
  int max_idle = kUnlimited;  // 0 unlimited, -1 none
  int min_idle = 0;           // connections without an owner that are kept ready
  int max_waiters = 1000;
  int dial_concurrency = 4;  // dials at a time for min_idle
  uint64_t max_uses = 0;     // grants per connection; 0 unlimited
  Warm warm = Warm::reuse;
  Duration max_warm_age = 45s;  // of single_use: never granted for so long, it is dialled anew

  Duration idle_timeout = 10min;  // 0 never
  Duration max_lifetime = 30min;  // 0 never; each connection's own is up to 25 % shorter
  Duration acquire_timeout = 5s;
  Duration dial_timeout = 5s;
  Duration reset_timeout = 1s;

  Keepalive keepalive = {};
  Duration tcp_user_timeout = 0s;   // 0: the kernel's own
  std::string source_address = {};  // a literal; "": what the route says
  std::string interface = {};       // likewise

  Duration lease_warn = 0s;     // 0 off; a lease held longer is told of
  Duration lease_timeout = 0s;  // 0 off; a lease held longer is revoked

  // Dialogues with the server (wire/step_run.h).
  Steps greeting = {};   // on a new connection, before login; empty: what the server says is left
  Steps login = {};      // on a new connection
  Steps check = {};      // on an idle one: is it still good?
  Steps reset = {};      // on one that was given back for reuse
  bool relogin = false;  // reset undoes login, which then runs again
  Duration check_after = 30s;      // unused for so long, it is checked before a grant; 0 always
  Duration check_interval = 2min;  // and in the background; 0 never
  Duration check_timeout = 1s;
  Command login_command = {};  // a program that does what login would

  bool fail_fast = true;
  Share share = Share::user;
  bool trust_holders = false;  // no former holder keeps a duplicate
  Sandbox sandbox = Sandbox::relay;
  Handoff handoff = Handoff::automatic;

  // Where any program may connect, as to the server itself: Unix sockets, or TCP of the loopback.
  std::vector<Endpoint> listen = {};
  uint32_t listen_mode = 0666;  // of the Unix sockets; allow_users decides
  bool lazy = false;            // such a program has a connection from its first byte on

  ChannelSettings channels = {};  // of who carries_channels()

  // Rule 18: what is leased are bare slots.
  bool lends_slots() const {
    return !endpoints.empty() && endpoints.front().kind == Endpoint::Kind::slot;
  }

  // A channel pool: programs share its HTTP/2 connections, and lease none.
  bool carries_channels() const { return !endpoints.empty() && endpoints.front().grpc; }

  // A stream pool: a lease has a connection of the pool's own.
  bool has_connections() const { return !lends_slots() && !carries_channels(); }

  // The proxy on the way to an endpoint; nullptr: none.
  const Proxy* proxy_to(const Endpoint& endpoint) const {
    return via && endpoint.kind == Endpoint::Kind::tcp ? &*via : nullptr;
  }

  // Whether an endpoint may be a service, which has no port until name servers have been asked.
  bool finds_services() const { return resolver == ResolveBy::dns && !via && dial_command.empty(); }

  // Whether the first holder reads what the server says first.
  bool leaves_greeting() const { return greeting.empty() && !logs_in(); }

  // Its endpoints are tls:// or grpcs://, all of them, or its first steps turn to TLS.
  bool uses_tls() const {
    const bool secure = !endpoints.empty() && endpoints.front().secure;
    return secure || tls_step(greeting) < greeting.size() || tls_step(login) < login.size();
  }

  // Whom the certificate of who listens there must name.
  std::string certificate_name(const Endpoint& endpoint) const {
    return tls.server_name.empty() ? endpoint.certificate_name() : tls.server_name;
  }

  bool logs_in() const { return !login.empty() || !login_command.empty(); }

  // Who may lease at the socket for all; resolved when the configuration was read. Nobody else may.
  std::vector<uint32_t> allow_uids;
  std::vector<uint32_t> allow_gids;
  // The tenants whose sockets name this key: whoever reaches such a socket may lease.
  std::vector<std::string> tenants;

  friend bool operator==(const PoolPolicy&, const PoolPolicy&) = default;
};

}  // namespace berth::pool
