// Endpoints: where a pool dials, what is known of each place, and which is next (rules 10 and 20).
//
// An index names an endpoint as long as a connection to it is there, also once it has left the
// configuration; then it is not dialled any more.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/endpoint.h"
#include "base/random.h"
#include "base/time.h"
#include "pool/backoff.h"
#include "pool/idle_age.h"
#include "pool/policy.h"
#include "pool/records.h"

namespace berth::pool {

class Endpoints {
 public:
  struct Place {
    Endpoint endpoint;
    std::string name;
    std::optional<uint32_t> rank;  // in the configuration; nothing: it has left it
    Backoff backoff;
    std::string last_error;
    IdleAge idle_age;
    size_t connections = 0;  // all but those in State::closing
    size_t connecting = 0;
    size_t leased = 0;
  };

  // What stays keeps its index and what is known of it.
  void configure(const std::vector<Endpoint>& endpoints);
  // Nothing is known of any.
  void forget();
  void forget_idle_ages();

  const Place& operator[](uint32_t index) const { return places_[index]; }
  Place& operator[](uint32_t index) { return places_[index]; }
  const std::vector<Place>& all() const { return places_; }

  // A connection to it has entered or left the state.
  void entered(uint32_t index, State state);
  void left(uint32_t index, State state);
  // A connection to it was closed. If that was the last that works, what failed elsewhere failed
  // while it did: each other place may be tried at once, lest requests be refused for what was.
  // Returns whether that lets one be dialled.
  bool closed(uint32_t index, TimePoint now);

  // Where the next dial goes; nothing: nowhere now. After a failure one dial at a time probes a
  // place, until one succeeds.
  std::optional<uint32_t> next(TimePoint now, Balance balance) const;
  void chose(uint32_t index) { last_rank_ = *places_[index].rank; }

  // failover: one that stands before the first that has connections, and may be tried; one at a
  // time.
  std::optional<uint32_t> better(TimePoint now) const;
  // Whether a connection to `index` gives way now that one to `reached` has succeeded.
  bool gives_way(uint32_t index, uint32_t reached) const;

  // One has not failed last.
  bool any_healthy() const;
  // Every place is in backoff.
  bool all_wait(TimePoint now) const;
  // When the first of those in backoff may be tried; kNever if none is.
  TimePoint first_ready(TimePoint now) const;
  // The same of those that stand before the first that has connections.
  TimePoint better_ready(TimePoint now) const;
  // Of all, since each last succeeded.
  uint64_t failures() const;
  const std::string& last_error() const;

 private:
  bool may_dial(const Place& place, TimePoint now) const;
  bool comes_before(const Place& a, const Place& b, Balance balance) const;
  std::optional<uint32_t> best_used_rank() const;

  std::vector<Place> places_;
  uint32_t last_rank_ = UINT32_MAX;  // of the last dial
};

}  // namespace berth::pool
