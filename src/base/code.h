// The one error enum of berth (berth.v1.Code in proto/berth/v1/session.proto), with its mapping to
// errno and to exit codes. Free of dependencies: libberth uses it too.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>

namespace berth {

enum class Code : uint32_t {
  kOk = 0,
  kInvalid = 1,           // the request itself is wrong; repeating it is useless
  kVersion = 2,           // the two sides speak no common version
  kNoSuchKey = 3,         // no pool serves this key
  kNotPermitted = 4,      // this session may not have it
  kTimedOut = 5,          // acquire_timeout passed; the message tells why
  kQueueFull = 6,         // max_waiters, or a limit of the session
  kUpstreamDown = 7,      // the server cannot be reached
  kShuttingDown = 8,      // the daemon grants no more
  kCancelled = 9,         // withdrawn by the client
  kNoSuchLease = 10,      // unknown, already released, or another session's
  kRevoked = 11,          // the daemon took the lease away
  kTooManySessions = 12,  // the daemon holds no further sessions
  kInternal = 13,         // a fault of the daemon; its log has more
  kDisabled = 14,         // an administrator has disabled the pool
};
inline constexpr size_t kCodes = static_cast<size_t>(Code::kDisabled) + 1;

// What a request waited for (berth.v1.Why.Cause).
enum class Cause : uint32_t {
  kUnspecified = 0,
  kExhausted = 1,     // every connection that max_connections allows is leased
  kUpstreamDown = 2,  // dials fail or do not finish
  kPaused = 3,
  kNoSlots = 4,    // the fd budget is used up
  kQueueFull = 5,  // max_waiters requests wait already
};

// What a client says of a connection that it gives back (berth.v1.Outcome).
enum class Outcome : uint32_t { kDiscard = 0, kReuse = 1 };

// As in SCREAMING_CASE in the proto.
constexpr const char* code_name(Code code) {
  switch (code) {
    case Code::kOk: return "OK";
    case Code::kInvalid: return "INVALID";
    case Code::kVersion: return "VERSION";
    case Code::kNoSuchKey: return "NO_SUCH_KEY";
    case Code::kNotPermitted: return "NOT_PERMITTED";
    case Code::kTimedOut: return "TIMED_OUT";
    case Code::kQueueFull: return "QUEUE_FULL";
    case Code::kUpstreamDown: return "UPSTREAM_DOWN";
    case Code::kShuttingDown: return "SHUTTING_DOWN";
    case Code::kCancelled: return "CANCELLED";
    case Code::kNoSuchLease: return "NO_SUCH_LEASE";
    case Code::kRevoked: return "REVOKED";
    case Code::kTooManySessions: return "TOO_MANY_SESSIONS";
    case Code::kInternal: return "INTERNAL";
    case Code::kDisabled: return "DISABLED";
  }
  return "UNKNOWN";
}

constexpr int code_errno(Code code) {
  switch (code) {
    case Code::kOk: return 0;
    case Code::kInvalid: return EINVAL;
    case Code::kVersion: return EPROTONOSUPPORT;
    case Code::kNoSuchKey: return ENOENT;
    case Code::kNotPermitted: return EACCES;
    case Code::kTimedOut: return ETIMEDOUT;
    case Code::kQueueFull: return EAGAIN;
    case Code::kUpstreamDown: return EHOSTDOWN;
    case Code::kShuttingDown: return ESHUTDOWN;
    case Code::kCancelled: return ECANCELED;
    case Code::kNoSuchLease: return ESTALE;
    case Code::kRevoked: return EOWNERDEAD;
    case Code::kTooManySessions: return EUSERS;
    case Code::kInternal: return EIO;
    case Code::kDisabled: return ENXIO;
  }
  return EIO;
}

// sysexits(3): 64 usage, 69 unavailable, 75 try again later, 77 not permitted.
constexpr int code_exit(Code code) {
  switch (code) {
    case Code::kOk: return 0;
    case Code::kInvalid:
    case Code::kNoSuchKey: return 64;
    case Code::kNotPermitted: return 77;
    case Code::kTimedOut:
    case Code::kQueueFull:
    case Code::kCancelled:
    case Code::kTooManySessions: return 75;
    case Code::kVersion:
    case Code::kUpstreamDown:
    case Code::kShuttingDown:
    case Code::kNoSuchLease:
    case Code::kRevoked:
    case Code::kInternal:
    case Code::kDisabled: return 69;
  }
  return 69;
}

}  // namespace berth
