// What the policy of the stream pools tells its driver to do. The driver carries actions out in
// order and reports what came of them as events of Depot.
#pragma once

#include <absl/container/inlined_vector.h>

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/action_queue.h"
#include "base/close_reason.h"
#include "base/code.h"
#include "base/ids.h"
#include "base/time.h"

namespace berth::pool {

// Open this connection. Answer: Depot::dialed or Depot::dial_failed, unless Close comes first.
struct Dial {
  ConnectionId connection;
  PoolId pool;
  uint32_t endpoint;
};

// A request's place among those that wait.
struct Ticket {
  SessionId session;
  uint64_t request_id = 0;
  uint64_t arrival = 0;  // order over all pools
  TimePoint since{};
  TimePoint until = kNever;
  bool patient = true;  // false: takes what is there, or is refused in the same event
  bool detach = false;  // what it gets leaves the pool
};

struct Granted {
  LeaseId lease;
  ConnectionId connection;
  bool fresh;        // never granted before: it may hold a greeting
  bool new_session;  // its last holder was another session: restore the socket's options
  bool slot;         // a bare slot: there is no socket
};

// Check each connection for life, then hand all of them over in one message. If one fails, hand
// over none and answer with Depot::take_back; else nothing is to be answered, but Depot::detached
// if the ticket says so.
struct Grant {
  Ticket ticket;
  PoolId pool;
  absl::InlinedVector<Granted, 1> leases;
  bool carried = false;  // the holder does not get the server's socket: bytes are carried
};

struct Holder {
  SessionId session;
  uint32_t uid;
  int32_t pid;
  Duration held;
};

// Why a request waited in vain (rule 11).
struct Why {
  Cause cause = Cause::kUnspecified;
  uint32_t leased = 0;
  uint32_t max_connections = 0;
  uint32_t waiting = 0;
  uint64_t dial_failures = 0;
  std::string last_dial_error;
  std::vector<Holder> holders;  // longest first, at most kMaxHoldersShown
};

struct Refusal {
  Code code = Code::kInternal;
  std::string text;  // what the code alone does not say; may be empty
  Duration waited{};
  std::optional<Why> why;
};

// Tell the session that its request is not granted.
struct Refuse {
  SessionId session;
  uint64_t request_id;
  Refusal refusal;
};

// What is done with a connection in State::resetting.
enum class Task : uint8_t {
  inspect,  // the last bytes of its holder are still to be sent
  reset,    // the policy's reset steps, and login again if they undo it
  check,    // the policy's check steps
};

// Go through the task's steps with the server. Answer: Depot::performed, unless Close comes first.
struct Perform {
  ConnectionId connection;
  PoolId pool;
  Task task;
};

// Shut the socket down and close it; abandon the dial or the inspection. One that is `detached`
// lives on with its new owner: only let go of it. Answer: Depot::closed.
struct Close {
  ConnectionId connection;
  CloseReason reason;
};

// Tell the session that this lease is over; its connection's Close follows.
struct Revoke {
  enum class Cause : uint8_t { shutdown, administrator, lease_timeout, cancelled };
  SessionId session;
  LeaseId lease;
  Cause cause;
};

using Action = std::variant<Dial, Perform, Grant, Refuse, Close, Revoke>;

using Actions = ActionQueue<Action>;

}  // namespace berth::pool
