// The fixed-size records of the stream pools: connections, leases, sessions, waiters.
//
// Records live in Slabs, never move, and are linked into the containers that are their state. Only
// Pool and Depot write them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/close_reason.h"
#include "base/ids.h"
#include "base/list.h"
#include "base/slab.h"
#include "base/time.h"
#include "pool/actions.h"
#include "pool/deadlines.h"

namespace berth::pool {

// connecting: dial. idle: ready. leased: a session's, or collected for a batch. parked: leased, and
// set aside by its holder. resetting: given back, not yet judged. closing: told to close.
enum class State : uint8_t { connecting, idle, leased, parked, resetting, closing };
inline constexpr size_t kStates = 6;

// How a connection came back from its holder, as release inspection found it.
enum class Condition : uint8_t {
  clean,
  unsent,  // the last bytes of its holder are still to be sent: Depot::inspected() follows
  dirty,
  discarded,  // not looked at: its holder wants it closed
};

constexpr bool may_move(State from, State to) {
  switch (from) {
    case State::connecting: return to == State::idle || to == State::closing;
    case State::idle: return to == State::leased || to == State::resetting || to == State::closing;
    case State::leased:
      return to == State::resetting || to == State::closing || to == State::parked ||
             to == State::idle;  // clean, or collected and never handed out
    case State::parked:
      return to == State::leased || to == State::resetting || to == State::closing ||
             to == State::idle;
    case State::resetting:
      return to == State::resetting || to == State::idle || to == State::closing;
    case State::closing: return false;
  }
  return false;
}

// To whom a connection may be granted again: nobody has held it yet, or a uid (share = "user") or a
// gid (share = "group") at one lease socket, everybody there (share = "socket"), or everybody
// (share = "any").
class Owner {
 public:
  constexpr Owner() = default;
  // Ids of tenants mean nothing beyond their socket: in each container there is a uid 0.
  constexpr Owner(uint32_t socket, uint32_t id) : value_(int64_t{socket} << 32 | id) {}
  constexpr bool nobody() const { return value_ < 0; }
  friend constexpr bool operator==(Owner, Owner) = default;
  template <class H>
  friend H AbslHashValue(H h, Owner owner) {
    return H::combine(std::move(h), owner.value_);
  }

 private:
  int64_t value_ = -1;
};

// No pool's: of a connection that was renewed by itself, and of one whose address is gone.
inline constexpr uint64_t kNoEpoch = UINT64_MAX;
inline constexpr uint64_t kGoneEpoch = UINT64_MAX - 1;

// Or a bare slot (rule 18): a record without a socket, leased from its birth on.
struct Connection {
  ConnectionId id;
  PoolId pool;
  State state = State::connecting;
  Task task = Task::inspect;                     // meaningful in resetting
  CloseReason close_reason = CloseReason::dead;  // meaningful in closing
  bool kept = false;      // at rest: one of the pool's min_idle, so never evicted
  bool marked = false;    // not held since the last tick of expire
  bool slot = false;      // a bare slot
  bool carried = false;   // its socket is of no use to anybody else: whoever leases it is carried
  uint32_t endpoint = 0;  // index into the pool's Endpoints
  uint64_t epoch = 0;     // the pool's when it was dialled; with another it was renewed
  uint64_t uses = 0;      // times granted
  Owner owner;
  SessionId last_session;         // the last holder
  LeaseId lease;                  // leased: whose; not valid while collected for a batch
  TimePoint since{};              // in this state
  TimePoint idle_since{};         // the last time it was handed in; a collected one keeps it
  TimePoint quiet_since{};        // the last time that it was used, or that the server answered
  TimePoint proven_until{};       // until then it is granted without a check
  TimePoint check_at = kNever;    // idle: when it is checked for nobody
  TimePoint expires_at = kNever;  // its own max_lifetime
  Deadline deadline;

  ListLink<Connection> state_link;  // the pool's list of its state
  ListLink<Connection> owner_link;  // idle: its owner's idle ones; collected: the waiter's
  ListLink<Connection> age_link;    // at rest and not kept: what may be evicted, idle longest first

  // Idle, or being checked.
  bool at_rest() const {
    return state == State::idle || (state == State::resetting && task == Task::check);
  }
};

struct Session;

struct Lease {
  LeaseId id;
  Session* session = nullptr;
  Connection* connection = nullptr;
  TimePoint granted_at{};
  bool warned = false;  // lease_warn
  Deadline deadline;    // lease_warn, lease_timeout
  ListLink<Lease> session_link;
};

struct Waiter {
  WaiterId id;
  PoolId pool;
  Session* session = nullptr;
  Ticket ticket;
  uint32_t count = 1;
  Owner owner;
  Deadline deadline;
  List<Connection, &Connection::owner_link> collected;

  ListLink<Waiter> queue_link;
  ListLink<Waiter> session_link;
  ListLink<Waiter> collector_link;  // holds collected ones from one event to the next

  uint32_t missing() const { return count - static_cast<uint32_t>(collected.size()); }
};

// What policy knows of the process behind a session.
struct SessionInfo {
  uint32_t uid = 0;
  int32_t pid = 0;             // 0: in another pid namespace
  uint32_t socket = 0;         // which lease socket it came by; 0: the one for all
  bool foreign_netns = false;  // its network namespace is not the daemon's
  uint32_t gid = 0;
  std::vector<uint32_t> groups = {};  // supplementary ones, sorted
  std::string tenant = {};            // whose lease socket it is; "": everybody's
  bool unmodified = false;  // a program at a listen socket: it holds no descriptor of a server's
  bool anonymous = false;   // it came over TCP: who reaches that socket may lease
};

// All sessions of one uid. It goes with the last of them.
struct User {
  uint32_t sessions = 0;
  uint32_t leases = 0;
  uint32_t waiters = 0;
  uint32_t wanted = 0;  // leases that the waiters ask for
};

struct Session {
  SessionId id;
  SessionInfo info;
  User* user = nullptr;
  List<Lease, &Lease::session_link> leases;
  List<Waiter, &Waiter::session_link> waiters;
};

}  // namespace berth::pool
