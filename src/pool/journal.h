// Journal: what happens in the pools, told once: every grant, release, close, dial… becomes a count
// of its pool and an event of the depot. Listings, metrics, traces, the log and those who follow
// events all read from here.
//
// Loop thread. The driver takes the events after each call of the depot, and once a turn those of
// the channel pools. Nothing is kept of what is as frequent as leases unless somebody listens.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/close_reason.h"
#include "base/code.h"
#include "base/ids.h"
#include "base/time.h"

namespace berth::pool {

enum class EventKind : uint8_t {
  dial,           // a dial has begun
  dialed,         // it has brought a connection
  dial_failed,    // `text` is the error
  grant,          // a lease was granted
  take_back,      // its hand-over failed: it never was
  release,        // a lease was given back
  close,          // `detail` is the CloseReason
  refuse,         // `detail` is the Code
  lease_warning,  // a lease is held longer than lease_warn
  revoke,         // `detail` is the Revoked::Cause
  pause,          // rule 17
  disable,
  open,
  renew,       // `detail` idle connections were closed
  evict,       // likewise
  expire,      // likewise
  learn,       // how many milliseconds the server's connections may be idle from now on
  reload,      // its settings have changed
  remove,      // it has left the configuration
  backoff,     // `detail` is for how many ms its endpoint is not dialled, after failures
  connect,     // of a channel pool: a local client has come
  cache_miss,  // likewise: it was used and had no channel, so one is dialled
  count,       // likewise: `detail` channels are connected from now on
};
inline constexpr size_t kEventKinds = static_cast<size_t>(EventKind::count) + 1;

constexpr const char* event_name(EventKind kind) {
  switch (kind) {
    case EventKind::dial: return "dial";
    case EventKind::dialed: return "dialed";
    case EventKind::dial_failed: return "dial_failed";
    case EventKind::grant: return "grant";
    case EventKind::take_back: return "take_back";
    case EventKind::release: return "release";
    case EventKind::close: return "close";
    case EventKind::refuse: return "refuse";
    case EventKind::lease_warning: return "lease_warning";
    case EventKind::revoke: return "revoke";
    case EventKind::pause: return "pause";
    case EventKind::disable: return "disable";
    case EventKind::open: return "open";
    case EventKind::renew: return "renew";
    case EventKind::evict: return "evict";
    case EventKind::expire: return "expire";
    case EventKind::learn: return "learn";
    case EventKind::reload: return "reload";
    case EventKind::remove: return "remove";
    case EventKind::backoff: return "backoff";
    case EventKind::connect: return "connect";
    case EventKind::cache_miss: return "cache_miss";
    case EventKind::count: return "count";
  }
  return "unknown";
}

struct Event {
  EventKind kind;
  TimePoint at;
  PoolId pool;
  ConnectionId connection;  // not valid where the event concerns none; so with the next two
  LeaseId lease;
  SessionId session;
  uint64_t detail = 0;
  std::string text;
  std::string key;            // the pool's, which may be gone when this is told
  ConnectionId channel = {};  // of a channel pool, whose channels have ids of their own
};

// Since the pool was made.
struct Counters {
  std::array<uint64_t, kEventKinds> events{};
  std::array<uint64_t, kCloseReasons> closes{};  // of EventKind::close, by reason
  std::array<uint64_t, kCodes> refusals{};       // of EventKind::refuse, by code

  uint64_t of(EventKind kind) const { return events[static_cast<size_t>(kind)]; }
  uint64_t of(CloseReason reason) const { return closes[static_cast<size_t>(reason)]; }
  uint64_t of(Code code) const { return refusals[static_cast<size_t>(code)]; }
};

class Journal {
 public:
  // While on, grants, releases, take-backs, refusals and connects are kept too.
  void listen(bool on) { listening_ = on; }

  // Whether an event of this kind is kept; else it is only counted.
  bool keeps(EventKind kind) const { return listening_ || !frequent(kind); }

  void add(Event event) {
    if (events_.size() < kMostEvents) {
      events_.push_back(std::move(event));
    } else {
      ++dropped_;
    }
  }

  bool empty() const { return events_.empty(); }

  // Swaps the events since the last call into `out`, whose memory is used again.
  void take(std::vector<Event>& out) {
    out.clear();
    out.swap(events_);
  }

  // Events that did not fit because nobody took them.
  uint64_t dropped() const { return dropped_; }

 private:
  // One call of the depot may close a pool of this size.
  static constexpr size_t kMostEvents = 100'000;

  static constexpr bool frequent(EventKind kind) {
    return kind == EventKind::grant || kind == EventKind::take_back || kind == EventKind::release ||
           kind == EventKind::refuse || kind == EventKind::connect;
  }

  std::vector<Event> events_;
  uint64_t dropped_ = 0;
  bool listening_ = false;
};

}  // namespace berth::pool
