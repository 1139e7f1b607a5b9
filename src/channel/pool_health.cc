// Whether a channel still works, and how long it may: what is due of it, and when.
#include <algorithm>

#include "channel/pool.h"

namespace berth::channel {

void Pool::serving(TimePoint now, Channel& channel, bool serves, Actions& actions) {
  if (!policy_.health || channel.state == State::connecting) return;
  channel.health = serves ? Channel::Health::serving : Channel::Health::not_serving;
  if (serves && channel.state == State::checking) make_ready(now, channel, actions);
  if (!serves && channel.open()) {
    blame(*channel.subchannel, channel.subchannel->address + ": the server does not serve");
    if (channel.state == State::ready) move_to(now, channel, State::checking);
    watch(now, channel);
  }
  settle(now, actions);
}

void Pool::pong(TimePoint now, Channel& channel) {
  channel.heard_at = now;
  channel.pinged_at = kNever;
  watch(now, channel);
}

// --- deadlines ---

void Pool::watch(TimePoint now, Channel& channel) {
  shared_.deadlines.set(channel.deadline, due_at(now, channel));
}

void Pool::watch_all(TimePoint now) {
  for (const auto& each : subchannels_) {
    for (const State state : {State::checking, State::ready, State::draining}) {
      for (Channel& channel : each->list(state)) watch(now, channel);
    }
  }
}

TimePoint Pool::due_at(TimePoint now, const Channel& channel) const {
  TimePoint due = kNever;
  switch (channel.state) {
    case State::connecting: return after(channel.since, policy_.dial_timeout);
    case State::closing: return kNever;
    case State::draining: due = after(channel.since, policy_.drain_timeout); break;
    case State::checking:
      if (channel.health == Channel::Health::unknown) {
        due = after(channel.since, policy_.dial_timeout);
      }
      break;
    case State::ready:
      // What is overdue waits for its successor.
      if (channel.expires_at > now) due = channel.expires_at;
      break;
  }
  return std::min(due, keepalive_at(channel));
}

bool Pool::keeps_alive(const Channel& channel) const {
  const bool on = policy_.keepalive_time != Duration::zero();
  return on && (clients_ > 0 || !channel.streams.empty());
}

TimePoint Pool::keepalive_at(const Channel& channel) const {
  if (channel.pinged_at != kNever) return after(channel.pinged_at, policy_.keepalive_timeout);
  return keeps_alive(channel) ? after(channel.heard_at, policy_.keepalive_time) : kNever;
}

// Nothing was heard since the PING.
bool Pool::is_dead(TimePoint now, const Channel& channel) const {
  return channel.pinged_at != kNever && channel.heard_at < channel.pinged_at &&
         now >= after(channel.pinged_at, policy_.keepalive_timeout);
}

void Pool::channel_due(TimePoint now, Channel& channel, Actions& actions) {
  const Subchannel& subchannel = *channel.subchannel;
  if (channel.state == State::connecting) {
    const std::string text = subchannel.address + ": no connection within " +
                             format_duration(policy_.dial_timeout) + " (dial_timeout)";
    fail_dial(now, channel, text);
    close(now, channel, CloseReason::dead, actions, text);
  } else if (is_dead(now, channel)) {
    no_answer(now, channel);
    close(now, channel, CloseReason::dead, actions, channel.subchannel->last_error);
  } else if (channel.state == State::draining &&
             now >= after(channel.since, policy_.drain_timeout)) {
    close(now, channel, channel.close_reason, actions);
  } else if (channel.state == State::ready && now >= channel.expires_at && !wanted()) {
    drain(now, channel, channel.close_reason, actions);
  } else {
    look_after(now, channel, actions);
  }
  settle(now, actions);
}

void Pool::look_after(TimePoint now, Channel& channel, Actions& actions) {
  if (channel.heard_at >= channel.pinged_at) channel.pinged_at = kNever;
  if (channel.state == State::checking && channel.health == Channel::Health::unknown &&
      now >= after(channel.since, policy_.dial_timeout)) {
    channel.health = Channel::Health::not_serving;
    blame(*channel.subchannel, channel.subchannel->address + ": no word of its health within " +
                                   format_duration(policy_.dial_timeout) + " (dial_timeout)");
  }
  if (channel.pinged_at == kNever && now >= keepalive_at(channel)) {
    channel.pinged_at = now;
    actions.add(Ping{channel.id});
  }
  watch(now, channel);
}

void Pool::no_answer(TimePoint now, Channel& channel) {
  Subchannel& subchannel = *channel.subchannel;
  if (channel.open()) subchannel.ended(now, channel, shared_.random);
  blame(subchannel, subchannel.address + ": no answer to a PING within " +
                        format_duration(policy_.keepalive_timeout) + " (keepalive_timeout)");
  ask_soon(now, subchannel.endpoint);
}

}  // namespace berth::channel
