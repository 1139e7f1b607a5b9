// The fixed-size records of the channel pools: channels and streams.
//
// Records live in Slabs, never move, and stand in the one container that is their state. Only Pool
// and Hub write them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/close_reason.h"
#include "base/ids.h"
#include "base/list.h"
#include "base/time.h"
#include "channel/grpc_code.h"
#include "pool/deadlines.h"

namespace berth::channel {

class Pool;
struct Subchannel;

// connecting: dial. checking: connected, but its server has not said that it serves, or says that
// it does not. ready: takes streams. draining: finishes those it has. closing: told to close, or
// lost.
enum class State : uint8_t { connecting, checking, ready, draining, closing };
inline constexpr size_t kStates = 5;

constexpr bool may_move(State from, State to) {
  switch (from) {
    case State::connecting: return to != State::connecting && to != State::draining;
    case State::checking: return to != State::connecting && to != State::checking;
    case State::ready: return to != State::connecting && to != State::ready;
    case State::draining: return to == State::closing;
    case State::closing: return false;
  }
  return false;
}

// waiting: for its first channel. again: for another one, before those. resting: until it may be
// tried once more. assigned: on a channel. failed: its failure is passed on, end_stream follows.
enum class StreamState : uint8_t { waiting, again, resting, assigned, failed };
inline constexpr size_t kStreamStates = 5;

constexpr bool may_move(StreamState from, StreamState to) {
  switch (from) {
    case StreamState::waiting:
    case StreamState::again: return to == StreamState::assigned;
    case StreamState::resting: return to == StreamState::again;
    case StreamState::assigned:
      return to == StreamState::again || to == StreamState::resting || to == StreamState::failed;
    case StreamState::failed: return false;
  }
  return false;
}

// How a stream ended that did not end well.
struct Failure {
  // The server never saw it: REFUSED_STREAM (RFC 9113, section 8.7), an id beyond GOAWAY's last one
  // (section 6.8), or the channel was lost before anything was sent. Else `code` says what came.
  bool unseen = false;
  GrpcCode code = GrpcCode::unavailable;
};

struct Channel;

struct Stream {
  StreamId id;
  Pool* pool = nullptr;
  Channel* channel = nullptr;  // assigned: which one
  StreamState state = StreamState::waiting;
  uint8_t unseen = 0;        // times that it was tried again since no server had seen it
  uint32_t attempts = 1;     // of ChannelPolicy::retry
  ConnectionId failed_on;    // the channel of the last attempt
  TimePoint until = kNever;  // its own deadline
  TimePoint waits_since{};   // not assigned: since when
  pool::Deadline deadline;   // waiting, again, resting
  ListLink<Stream> link;     // the list of its state; assigned: its channel's
};
using StreamList = List<Stream, &Stream::link>;

struct Channel {
  // What its server says of itself (ChannelPolicy::health).
  enum class Health : uint8_t { unknown, serving, not_serving };

  ConnectionId id;
  Pool* pool = nullptr;
  Subchannel* subchannel = nullptr;
  State state = State::connecting;
  CloseReason close_reason = CloseReason::age;  // what its end is, or will be, put down to
  Health health = Health::unknown;
  bool marked = false;  // without client and stream since the last tick of expire
  uint32_t limit = 0;   // of streams; ready: what server and policy allow
  uint32_t server_limit = 0;
  ConnectionId successor;         // the channel that is to take its place
  ConnectionId replaces;          // the channel whose place it takes once it is ready
  TimePoint since{};              // in this state
  TimePoint ready_at = kNever;    // when it first became ready
  TimePoint expires_at = kNever;  // when another one is to take its place
  TimePoint heard_at{};           // the last sign of life
  TimePoint pinged_at = kNever;   // kNever: no PING is without answer
  uint64_t served = 0;            // streams that were assigned to it
  uint64_t finished = 0;          // of those, that ended without having failed
  StreamList streams;
  pool::Deadline deadline;
  ListLink<Channel> state_link;  // the subchannel's list of its state
  ListLink<Channel> room_link;   // ready and not full: the subchannel's list of those

  bool has_room() const { return state == State::ready && streams.size() < limit; }
  // It is, or may become, one that takes streams.
  bool open() const {
    return state == State::connecting || state == State::checking || state == State::ready;
  }
};

}  // namespace berth::channel
