// Why a connection was closed: one closed list for logs, metrics and events (DESIGN section 1).
#pragma once

#include <cstddef>
#include <cstdint>

namespace berth {

enum class CloseReason : uint8_t {
  evicted,      // its slot, or its place under max_connections, was wanted elsewhere
  overflow,     // max_idle or total_max_idle
  idle,         // idle_timeout
  age,          // max_lifetime
  uses,         // max_uses
  expired,      // two ticks of expire
  renewed,      // renew
  dirty,        // unread data, unsent data, or a state that cannot be trusted
  dead,         // the server has gone, or the dial came to nothing
  discarded,    // the client gave it back broken
  session_end,  // the session that held it ended
  revoked,      // the daemon took it away
  check_failed,
  reset_failed,
  login_failed,
  address_gone,  // its address is no longer one of the endpoint's
  removed,       // its pool was removed
  goaway,
  detached,  // handed over for good
  shutdown,  // the daemon stops
};
inline constexpr size_t kCloseReasons = static_cast<size_t>(CloseReason::shutdown) + 1;

constexpr const char* close_reason_name(CloseReason reason) {
  switch (reason) {
    case CloseReason::evicted: return "evicted";
    case CloseReason::overflow: return "overflow";
    case CloseReason::idle: return "idle";
    case CloseReason::age: return "age";
    case CloseReason::uses: return "uses";
    case CloseReason::expired: return "expired";
    case CloseReason::renewed: return "renewed";
    case CloseReason::dirty: return "dirty";
    case CloseReason::dead: return "dead";
    case CloseReason::discarded: return "discarded";
    case CloseReason::session_end: return "session_end";
    case CloseReason::revoked: return "revoked";
    case CloseReason::check_failed: return "check_failed";
    case CloseReason::reset_failed: return "reset_failed";
    case CloseReason::login_failed: return "login_failed";
    case CloseReason::address_gone: return "address_gone";
    case CloseReason::removed: return "removed";
    case CloseReason::goaway: return "goaway";
    case CloseReason::detached: return "detached";
    case CloseReason::shutdown: return "shutdown";
  }
  return "unknown";
}

}  // namespace berth
