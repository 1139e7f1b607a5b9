// What the world outside the depot knows: servers, sockets, programs and what they asked for. It is
// kept from the events and actions alone, so that the depot can be judged by it.
#pragma once

#include <absl/container/flat_hash_set.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <vector>

#include "base/ids.h"
#include "base/random.h"
#include "base/time.h"
#include "pool/actions.h"
#include "pool/depot.h"
#include "sim/game.h"
#include "sim/trace.h"

namespace berth::sim {

using namespace std::chrono_literals;

enum class Upstream { healthy, refuses, hangs };

struct EndpointModel {
  Upstream upstream = Upstream::healthy;
  pool::IdleAge idle_age;  // what server_idle teaches
  uint64_t failures = 0;   // of dials, since one succeeded
  int failed_rounds = 0;   // those side by side count once
  TimePoint failed_at{};   // the last failure that counts
  uint64_t failed_event = 0;
  bool lifted = false;  // since: the last connection that worked is gone, and it was to another
  uint64_t succeeded_event = 0;

  // When the longest backoff after these failures is over: 100 ms × 1.6 each, ± 20 %, 10 s at most.
  TimePoint surely_ready_at() const {
    Duration wait = 100ms;
    for (int i = 1; i < failed_rounds && wait < 8s; ++i) wait = wait * 16 / 10;
    return failed_at + std::min<Duration>(10s, wait * 12 / 10);
  }
};

struct PoolModel {
  PoolId id;
  pool::PoolPolicy policy;
  int most_kept = 0;  // min_idle never becomes more
  bool dynamic = false;
  bool removed = false;  // it has left the configuration; its last leases are still out
  bool gone = false;
  Duration server_idle = 0s;  // the server closes what is quiet for so long; 0 never
  uint64_t epoch = 0;
  std::map<uint32_t, EndpointModel> endpoints;  // by the depot's index
  size_t connections = 0;                       // sockets: a dial has one too
  size_t waiting = 0;                           // asks that wait
  pool::Intake intake = pool::Intake::open;
  uint64_t intake_event = 0;  // when it became so
  uint64_t evict_event = 0;   // the administrator's last eviction
  uint64_t reload_event = 0;  // its settings changed
  pool::Counters counted;     // what the depot has done, recounted from calls and actions
  std::array<uint64_t, pool::kEventKinds> told{};  // events in the journal

  uint64_t& counted_of(pool::EventKind kind) { return counted.events[static_cast<size_t>(kind)]; }

  // Each endpoint of its configuration has failed last.
  bool failing() const {
    size_t failing = 0;
    for (const auto& [index, endpoint] : endpoints) failing += endpoint.failures > 0;
    return failing >= policy.endpoints.size();
  }
  // While they all fail: no dial before, and one at the latest then.
  TimePoint hardly_ready_at() const {
    TimePoint ready = kNever;
    for (const auto& [index, e] : endpoints) {
      if (e.failures > 0) ready = std::min(ready, e.lifted ? TimePoint() : e.failed_at + 80ms);
    }
    return ready;
  }
  TimePoint surely_ready_at() const {
    TimePoint ready = kNever;
    for (const auto& [index, e] : endpoints) {
      if (e.failures > 0) ready = std::min(ready, e.surely_ready_at());
    }
    return ready;
  }
};

struct SessionModel {
  SessionId id;
  pool::SessionInfo info;
};

// open: ready, or collected for a batch. returned: to be closed in the same event. unsent: given
// back with bytes to send. resetting, checking: goes through these steps.
enum class Stage { dialing, open, leased, returned, unsent, resetting, checking, closing };

struct ConnectionModel {
  ConnectionId id;
  size_t pool = 0;
  uint32_t endpoint = 0;
  Stage stage = Stage::dialing;
  bool slot = false;        // a bare slot
  bool dead = false;        // its server has gone; nobody has noticed
  bool doomed = false;      // discarded, or its session has ended
  bool taken_back = false;  // a grant of it came to nothing: its options may be anybody's
  bool detached = false;    // its program has it for good
  bool carried = false;     // its records are berthd's
  pool::Owner owner;
  SessionId last_holder;
  LeaseId lease;
  TimePoint leased_at{};
  bool warned = false;  // lease_warn, of this lease
  uint64_t uses = 0;
  uint64_t returned_event = 0;  // when it was given back last
  uint64_t epoch = 0;
  TimePoint dialed_at{};
  TimePoint up_at{};
  Duration lifetime{};  // max_lifetime when it was dialled
  Duration warm_age{};  // and max_warm_age, of a single-use pool; 0 none
  TimePoint since{};    // in this stage
  TimePoint idle_since{};
  TimePoint quiet_since{};  // the last time it was used, or that its server answered
  Duration check_after{};   // the policy's then
  bool answered = false;    // at quiet_since its server answered
  // As the depot had it after the last event.
  bool was_idle = false;
  bool was_kept = false;
  uint64_t seen = 0;
};

struct AskKey {
  SessionId session;
  uint64_t request = 0;
  friend auto operator<=>(const AskKey&, const AskKey&) = default;
  template <class H>
  friend H AbslHashValue(H h, const AskKey& key) {
    return H::combine(std::move(h), key.session, key.request);
  }
};

// A request that has no answer yet.
struct Ask {
  AskKey key;
  size_t pool = 0;
  uint32_t count = 1;
  pool::Owner owner;
  TimePoint asked_at{};
  TimePoint until{};
  bool patient = true;
  bool detach = false;
  bool foreign_netns = false;
  bool cancelled = false;
  bool permitted = true;
  bool too_much = false;    // for its user
  size_t queue_before = 0;  // who waited in the pool when it was asked
  bool in_hand = false;     // granted; the program cannot take it yet
  uint64_t order = 0;       // of arrival
  uint64_t entered = 0;     // the event that put it into the queue, the last time
};

// Held by its program.
struct LeaseModel {
  LeaseId id;
  SessionId session;
  ConnectionId connection;
};

struct Model {
  explicit Model(uint64_t seed, bool aloud) : random(seed), trace(aloud) {}

  Random random;
  Trace trace;
  TimePoint now{};
  uint64_t event = 0;  // calls of the depot so far
  bool stopping = false;
  TimePoint drained_by{};  // a shutdown revokes no sooner
  bool calm = false;       // the world does what it should
  int total_max_idle = pool::kUnlimited;
  pool::UserLimits user_limits;
  uint32_t others_fds = 0;       // reserved beside the pools
  uint64_t make_room_event = 0;  // idle connections go for others' descriptors
  std::vector<PoolModel> pools;
  std::vector<SessionModel> sessions;
  std::vector<LeaseModel> leases;
  std::vector<LeaseModel> over;                         // the last few revoked or detached ones
  bool listening = false;                               // to all events of the journal
  std::map<ConnectionId, ConnectionModel> connections;  // ordered, so that a seed replays
  std::map<AskKey, Ask> asks;
  absl::flat_hash_set<uint64_t> leases_ever;
  size_t leases_in_hand = 0;    // granted; their programs cannot take them yet
  uint64_t first_for_slot = 0;  // after the last event: the first arrival that lacks a slot; 0 none
  TimePoint tick{};             // the last of expire, and
  TimePoint tick_before{};      // the one before
  LeaseId revoking;             // asked for in this event
  uint64_t grants = 0;
  uint64_t refusals = 0;

  bool chance(unsigned percent) { return random.below(100) < percent; }
  Duration up_to(Duration most) {
    return Duration(static_cast<int64_t>(random.below(static_cast<uint64_t>(most.count()) + 1)));
  }

  const SessionModel* session(SessionId id) const {
    for (const SessionModel& s : sessions) {
      if (s.id == id) return &s;
    }
    return nullptr;
  }
  bool usable(size_t pool) const { return !pools[pool].gone && !pools[pool].removed; }
  size_t pool_index(PoolId id) const {
    for (size_t i = 0; i < pools.size(); ++i) {
      if (pools[i].id == id && !pools[i].gone) return i;
    }
    throw Broken{"an action names a pool that exists", id.value()};
  }
  pool::Owner owner_for(size_t pool, const pool::SessionInfo& info) const {
    switch (pools[pool].policy.share) {
      case pool::Share::user: return pool::Owner(info.socket, info.uid);
      case pool::Share::socket: return pool::Owner(info.socket, 0);
      case pool::Share::group: return pool::Owner(info.socket, info.gid);
      case pool::Share::any: break;
    }
    return pool::Owner(0, 0);
  }
  static uint64_t most_uses(const pool::PoolPolicy& policy) {
    return policy.warm == pool::Warm::single_use ? 1 : policy.max_uses;
  }
  bool may_ask(size_t pool, const pool::SessionInfo& info) const {
    const pool::PoolPolicy& policy = pools[pool].policy;
    const auto has = [](const std::vector<uint32_t>& ids, uint32_t id) {
      return std::find(ids.begin(), ids.end(), id) != ids.end();
    };
    if (!info.tenant.empty() && policy.tenants.empty()) return false;
    bool allowed = !info.tenant.empty() || has(policy.allow_uids, info.uid);
    for (const uint32_t gid : policy.allow_gids) {
      allowed = allowed || gid == info.gid || has(info.groups, gid);
    }
    if (!allowed) return false;
    return !info.foreign_netns || policy.sandbox == pool::Sandbox::pinned || policy.lends_slots() ||
           (policy.handoff != pool::Handoff::direct && policy.handoff != pool::Handoff::ktls);
  }
  // Its bytes are carried, in the daemon's stead by nobody here.
  bool carried(const Ask& ask) const {
    const pool::PoolPolicy& policy = pools[ask.pool].policy;
    const bool sandboxed = ask.foreign_netns && policy.sandbox == pool::Sandbox::relay;
    return !policy.lends_slots() && (policy.handoff == pool::Handoff::relay || sandboxed);
  }
  bool cannot_detach(const Ask& ask) const {
    const pool::PoolPolicy& policy = pools[ask.pool].policy;
    const bool may_be_carried = policy.uses_tls() && policy.handoff != pool::Handoff::ktls;
    return ask.detach && (policy.lends_slots() || may_be_carried || carried(ask));
  }
  // How long its server lets it be idle; 0: not known.
  Duration learnt(const ConnectionModel& c) const {
    const auto& endpoints = pools[c.pool].endpoints;
    const auto at = endpoints.find(c.endpoint);
    return at != endpoints.end() ? at->second.idle_age.limit() : 0s;
  }
  // Its server has answered, or its holder has given it back.
  void used(ConnectionModel& c, bool answered) const {
    c.quiet_since = now;
    c.check_after = pools[c.pool].policy.check_after;
    c.answered = answered;
  }
  bool needs_check(const ConnectionModel& c) const {
    if (pools[c.pool].policy.check.empty()) return false;
    return now >= c.quiet_since + c.check_after && !(c.answered && now == c.quiet_since);
  }
  static bool may_have(pool::Owner who, const ConnectionModel& connection) {
    return connection.owner.nobody() || connection.owner == who;
  }
};

}  // namespace berth::sim
