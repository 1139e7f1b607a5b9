// Subchannel: one address of a pool: its channels, by state, and what is known of it.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

#include "base/limits.h"
#include "base/list.h"
#include "base/random.h"
#include "base/time.h"
#include "channel/records.h"
#include "pool/backoff.h"

namespace berth::channel {

// The endpoint of an address whose endpoint has left the configuration.
inline constexpr uint32_t kNoEndpoint = UINT32_MAX;

struct SubchannelCounters {
  uint64_t dials = 0;
  uint64_t dial_failures = 0;
  uint64_t begun = 0;    // assignments: a stream that is retried counts again
  uint64_t failed = 0;   // by the server
  uint64_t retried = 0;  // of those
};

struct Subchannel {
  using StateList = List<Channel, &Channel::state_link>;
  using RoomList = List<Channel, &Channel::room_link>;

  // A channel that was ready for less than this, and carried nothing to its end, counts as a
  // failure: a server that accepts and hangs up is not dialled as fast as it does so. One that ends
  // each connection after so many requests is.
  static constexpr Duration kShortLife = std::chrono::seconds(1);

  uint32_t endpoint = 0;  // index into ChannelPolicy::endpoints
  uint64_t rank = 0;      // by endpoint, then as the look-up had it
  std::string address;
  uint16_t priority = 0;  // Place::priority
  bool gone = false;      // the endpoint has it no more
  std::string last_error;
  uint32_t known_limit = kAssumedStreams;  // what its server allowed last
  size_t streams = 0;                      // on all of its channels
  SubchannelCounters counters;
  RoomList with_room;
  ListLink<Subchannel> offer_link;  // the balancer's

  const StateList& list(State state) const { return by_state_[static_cast<size_t>(state)]; }
  StateList& list(State state) { return by_state_[static_cast<size_t>(state)]; }
  // Not closed yet.
  size_t channels() const;
  // Open ones, less those that have a successor.
  size_t lasting() const;
  // `act` may close the channel.
  template <class Act>
  void for_each_open(Act&& act) {
    for (const State state : {State::connecting, State::checking, State::ready}) {
      for (Channel* channel = list(state).front(); channel != nullptr;) {
        Channel* const next = StateList::next(*channel);
        act(*channel);
        channel = next;
      }
    }
  }
  // Connecting, or nothing was heard of its health yet.
  bool under_way() const;
  size_t under_way_count() const;

  // Puts the channel in or takes it out of `with_room`.
  void note_room(Channel& channel);

  // --- when it may be dialled ---
  void dial_failed(TimePoint now, TimePoint started, Random& random) {
    dials_.fail(now, started, random);
  }
  void reached();
  // A channel that had become ready ended by its server's doing.
  void ended(TimePoint now, const Channel& channel, Random& random);
  // In backoff.
  bool waits(TimePoint now) const { return dials_.waits(now) || ends_.waits(now); }
  // Requires: it waits.
  TimePoint ready_at() const { return std::max(dials_.ready_at(), ends_.ready_at()); }
  uint64_t failures() const { return dials_.failures() + ends_.failures(); }
  // After a failure one dial at a time probes it.
  bool may_dial(TimePoint now) const;

 private:
  std::array<StateList, kStates> by_state_;
  pool::Backoff dials_;  // that failed, one after another
  pool::Backoff ends_;   // of channels that had a short life, one after another
};

}  // namespace berth::channel
