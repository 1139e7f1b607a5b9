#include "channel/pool.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace berth::channel {

Pool::Pool(PoolId id, ChannelPolicy policy, Shared& shared)
    : id_(id), policy_(std::move(policy)), shared_(shared), sources_(policy_.endpoints.size()) {
  deadline_.kind = pool::Deadline::Kind::pool;
  deadline_.subject = id_.value();
}

// What is left when the process ends has nobody to tell.
Pool::~Pool() = default;

size_t Pool::count(State state) const {
  size_t count = 0;
  for (const auto& each : subchannels_) count += each->list(state).size();
  return count;
}

uint64_t Pool::failures() const {
  uint64_t failures = 0;
  for (const Source& each : sources_) failures += each.backoff.failures();
  for (const auto& each : subchannels_) failures += each->failures();
  return failures;
}

// --- states ---

void Pool::move_to(TimePoint now, Channel& channel, State state) {
  BERTH_CHECK(may_move(channel.state, state), "a channel moves between states as it may");
  const bool was_open = channel.open();
  const bool was_connected = channel.state != State::connecting;
  channel.subchannel->list(channel.state).remove(channel);
  channel.state = state;
  channel.since = now;
  channel.subchannel->list(state).push_back(channel);
  if (was_open && !channel.open()) leave_open(channel);
  note_room(channel);
  watch(now, channel);
  const bool connected = state != State::closing;
  if (connected == was_connected) return;
  connected_ += connected ? 1u : 0u;
  connected_ -= was_connected ? 1u : 0u;
  note(now, pool::EventKind::count, connected_);
}

// The ties to the channel that is to take its place, or whose place it was to take.
void Pool::leave_open(Channel& channel) {
  if (Channel* successor = shared_.channels.find(channel.successor)) successor->replaces = {};
  if (Channel* replaced = shared_.channels.find(channel.replaces)) replaced->successor = {};
  channel.successor = {};
  channel.replaces = {};
}

void Pool::note_room(Channel& channel) {
  channel.subchannel->note_room(channel);
  balancer_.note_room(*channel.subchannel);
}

// --- the beginning ---

void Pool::connected(TimePoint now, Channel& channel, uint32_t max_streams, Actions& actions) {
  if (channel.state != State::connecting) return;
  note(now, pool::EventKind::dialed, 0, {}, channel.id);
  channel.heard_at = now;
  channel.server_limit = max_streams;
  channel.limit = limit_of(max_streams);
  Subchannel& subchannel = *channel.subchannel;
  subchannel.known_limit = max_streams;
  subchannel.reached();
  if (policy_.health) {
    move_to(now, channel, State::checking);
  } else {
    make_ready(now, channel, actions);
  }
  settle(now, actions);
}

void Pool::make_ready(TimePoint now, Channel& channel, Actions& actions) {
  if (channel.ready_at == kNever) {
    channel.ready_at = now;
    if (policy_.max_lifetime != Duration::zero()) {
      // Each its own, up to a quarter shorter, so that channels dialled together do not end
      // together.
      const double part = 1 - 0.25 * shared_.random.unit();
      const auto lifetime = std::chrono::duration_cast<Duration>(policy_.max_lifetime * part);
      channel.expires_at = std::min(channel.expires_at, after(now, lifetime));
    }
  }
  last_error_.clear();
  move_to(now, channel, State::ready);
  take_over(now, channel, actions);
}

void Pool::take_over(TimePoint now, Channel& channel, Actions& actions) {
  if (Channel* replaced = shared_.channels.find(channel.replaces)) {
    drain(now, *replaced, replaced->close_reason, actions);
  }
}

uint32_t Pool::limit_of(uint32_t max_streams) const {
  const uint32_t ours = policy_.max_streams_per_channel;
  return ours == 0 ? max_streams : std::min(ours, max_streams);
}

void Pool::settings(TimePoint now, Channel& channel, uint32_t max_streams, Actions& actions) {
  if (channel.state == State::connecting || channel.state == State::closing) return;
  channel.server_limit = max_streams;
  channel.limit = limit_of(max_streams);
  channel.subchannel->known_limit = max_streams;
  note_room(channel);
  settle(now, actions);
}

void Pool::dial_failed(TimePoint now, Channel& channel, std::string_view text, Actions& actions) {
  if (channel.state != State::connecting) return;
  fail_dial(now, channel, text);
  move_to(now, channel, State::closing);
  forget(channel);
  settle(now, actions);
}

void Pool::fail_dial(TimePoint now, Channel& channel, std::string_view text) {
  note(now, pool::EventKind::dial_failed, 0, text, channel.id);
  Subchannel& subchannel = *channel.subchannel;
  ++subchannel.counters.dial_failures;
  subchannel.dial_failed(now, channel.since, shared_.random);
  blame(subchannel, text);
  ask_soon(now, subchannel.endpoint);
}

void Pool::blame(Subchannel& subchannel, std::string_view text) {
  subchannel.last_error = text;
  last_error_ = text;
}

// --- the end ---

void Pool::drain(TimePoint now, Channel& channel, CloseReason reason, Actions& actions) {
  if (!channel.open()) return;
  if (channel.state == State::connecting || channel.streams.empty()) {
    close(now, channel, reason, actions);
    return;
  }
  channel.close_reason = reason;
  move_to(now, channel, State::draining);
}

void Pool::drain_all(TimePoint now, Subchannel& subchannel, CloseReason reason, Actions& actions) {
  subchannel.for_each_open([&](Channel& channel) { drain(now, channel, reason, actions); });
}

void Pool::goaway(TimePoint now, Channel& channel, Actions& actions) {
  if (channel.state == State::connecting || !channel.open()) return;
  Subchannel& subchannel = *channel.subchannel;
  subchannel.ended(now, channel, shared_.random);
  blame(subchannel, subchannel.address + ": the server has said GOAWAY");
  ask_soon(now, subchannel.endpoint);
  drain(now, channel, CloseReason::goaway, actions);
  settle(now, actions);
}

void Pool::lost(TimePoint now, Channel& channel, std::string_view text, Actions& actions) {
  if (channel.state == State::closing) return;
  Subchannel& subchannel = *channel.subchannel;
  if (channel.state == State::connecting) {
    fail_dial(now, channel, text);
  } else if (channel.open()) {
    subchannel.ended(now, channel, shared_.random);
    blame(subchannel, text);
    ask_soon(now, subchannel.endpoint);
  }
  note(now, pool::EventKind::close, static_cast<uint64_t>(CloseReason::dead), text, channel.id);
  channel.close_reason = CloseReason::dead;
  move_to(now, channel, State::closing);
  settle(now, actions);
}

void Pool::close(TimePoint now, Channel& channel, CloseReason reason, Actions& actions,
                 std::string_view text) {
  note(now, pool::EventKind::close, static_cast<uint64_t>(reason), text, channel.id);
  channel.close_reason = reason;
  move_to(now, channel, State::closing);
  actions.add(Close{channel.id, reason});
}

void Pool::closed(TimePoint now, Channel& channel, Actions& actions) {
  BERTH_CHECK(channel.state == State::closing, "the driver closes what it was told to close");
  BERTH_CHECK(channel.streams.empty(), "the streams of a channel are reported before its end");
  forget(channel);
  settle(now, actions);
}

void Pool::forget(Channel& channel) {
  Subchannel& subchannel = *channel.subchannel;
  subchannel.list(channel.state).remove(channel);
  shared_.channels.free(channel.id);
  --channels_;
  erase_if_gone(subchannel);
}

}  // namespace berth::channel
