// Which addresses are dialled, and when.
#include <algorithm>
#include <utility>

#include "channel/pool.h"

namespace berth::channel {
namespace {

bool is_ready(const Subchannel& subchannel) {
  return !subchannel.list(State::ready).empty();
}

bool works(const Subchannel& subchannel) {
  return is_ready(subchannel) || subchannel.under_way();
}

}  // namespace

void Pool::settle(TimePoint now, Actions& actions) {
  serve(now, actions);
  seek(now, actions);
  if (policy_.fail_fast && may_dial() && hopeless(now)) {
    end_all(now, {StreamState::again, StreamState::waiting}, no_upstream(), actions);
  }
  plan(now);
}

void Pool::seek(TimePoint now, Actions& actions) {
  if (!may_dial()) return;
  look_up(now, actions);
  if (policy_.balance == Balance::failover) {
    dial_first(now, actions);
  } else {
    dial_each(now, actions);
  }
  dial_for_waiters(now, actions);
  replace_expired(now, actions);
}

// One channel to each, lest there be nothing to choose from; to spares while they are needed.
void Pool::dial_each(TimePoint now, Actions& actions) {
  for (const auto& each : subchannels_) {
    if (is_spare(*each, is_ready)) {
      drain_all(now, *each, CloseReason::renewed, actions);
    } else if (each->lasting() == 0 && each->may_dial(now) && !is_spare(*each, works)) {
      dial(now, *each, actions);
    }
  }
}

// Of a service that has a good one of a lower priority number (RFC 2782: it is to be used).
bool Pool::is_spare(const Subchannel& subchannel, bool (*good)(const Subchannel&)) const {
  if (!has_spares_) return false;
  return std::any_of(subchannels_.begin(), subchannels_.end(), [&](const auto& each) {
    return !each->gone && each->endpoint == subchannel.endpoint &&
           each->priority < subchannel.priority && good(*each);
  });
}

// The first that works; none behind one that is ready or under way.
void Pool::dial_first(TimePoint now, Actions& actions) {
  for (const auto& each : subchannels_) {
    if (each->gone) continue;
    if (!each->list(State::ready).empty()) return give_way(now, *each, actions);
    if (each->under_way()) return;
    if (each->lasting() > 0 || !each->may_dial(now)) continue;
    dial(now, *each, actions);
    return;
  }
}

void Pool::give_way(TimePoint now, const Subchannel& reached, Actions& actions) {
  for (const auto& each : subchannels_) {
    if (each->rank > reached.rank) drain_all(now, *each, CloseReason::renewed, actions);
  }
}

// One more where it is useful, until what is under way has room for all that wait.
void Pool::dial_for_waiters(TimePoint now, Actions& actions) {
  const size_t lacking = list(StreamState::again).size() + list(StreamState::waiting).size();
  if (lacking == 0) return;
  size_t coming = 0;
  for (const auto& each : subchannels_) {
    if (!each->gone) coming += each->under_way_count() * expected_room(*each);
  }
  while (coming < lacking) {
    Subchannel* const next = with_fewest(now);
    if (next == nullptr) return;
    dial(now, *next, actions);
    coming += expected_room(*next);
  }
}

// Of the addresses that work and may have one more channel.
Subchannel* Pool::with_fewest(TimePoint now) const {
  Subchannel* fewest = nullptr;
  for (const auto& each : subchannels_) {
    if (!works(*each) || each->gone || is_spare(*each, works)) continue;
    const bool may = each->may_dial(now) && each->lasting() < policy_.max_channels;
    if (may && (fewest == nullptr || each->lasting() < fewest->lasting())) fewest = each.get();
    if (policy_.balance == Balance::failover) break;
  }
  return fewest;
}

uint32_t Pool::expected_room(const Subchannel& subchannel) const {
  return std::max(1u, limit_of(subchannel.known_limit));
}

// Fresh ones first; what is old drains once they are ready. failover: nothing new behind an address
// that works or is under way, to which what is there would give way.
void Pool::replace_expired(TimePoint now, Actions& actions) {
  for (const auto& each : subchannels_) {
    if (is_spare(*each, works)) continue;
    const bool last = policy_.balance == Balance::failover && !each->gone && works(*each);
    for (Channel& channel : each->list(State::ready)) {
      if (now < channel.expires_at || channel.successor.valid() || !each->may_dial(now)) continue;
      Channel& successor = dial(now, *each, actions);
      successor.replaces = channel.id;
      channel.successor = successor.id;
      ask_soon(now, each->endpoint);
    }
    if (last) return;
  }
}

Channel& Pool::dial(TimePoint now, Subchannel& subchannel, Actions& actions) {
  const ConnectionId id = shared_.channels.allocate();
  Channel& channel = shared_.channels[id];
  channel.id = id;
  channel.pool = this;
  channel.subchannel = &subchannel;
  channel.since = now;
  channel.deadline.kind = pool::Deadline::Kind::connection;
  channel.deadline.subject = id.value();
  subchannel.list(State::connecting).push_back(channel);
  ++channels_;
  ++subchannel.counters.dials;
  missed_ = false;
  watch(now, channel);
  note(now, pool::EventKind::dial, 0, {}, id);
  actions.add(Dial{id, id_, subchannel.endpoint, subchannel.address});
  return channel;
}

// A use that finds no channel, nor one that is on its way, makes one be dialled.
void Pool::note_use(TimePoint now) {
  if (missed_ || !may_dial()) return;
  const auto has_open = [](const auto& each) { return !each->gone && each->lasting() > 0; };
  if (std::any_of(subchannels_.begin(), subchannels_.end(), has_open)) return;
  missed_ = true;
  note(now, pool::EventKind::cache_miss);
}

bool Pool::hopeless(TimePoint now) const {
  for (const auto& each : subchannels_) {
    if (!each->list(State::ready).empty() || each->under_way()) return false;
    if (each->list(State::checking).empty() && each->may_dial(now)) return false;
  }
  for (uint32_t i = 0; i < policy_.endpoints.size(); ++i) {
    if (!sources_[i].failed && !knows_address_of(i)) return false;
  }
  return true;
}

// --- time ---

void Pool::plan(TimePoint now) {
  TimePoint due = may_dial() ? next_dial_at(now) : kNever;
  const bool idles = !used() && channels_ > 0 && policy_.idle_timeout != Duration::zero();
  if (idles && has_open()) due = std::min(due, after(unused_since_, policy_.idle_timeout));
  shared_.deadlines.set(deadline_, due);
}

TimePoint Pool::next_dial_at(TimePoint now) const {
  TimePoint next = kNever;
  for (size_t i = 0; i < policy_.endpoints.size(); ++i) {
    if (!sources_[i].asked) next = std::min(next, sources_[i].ask_at);
  }
  for (const auto& each : subchannels_) {
    if (!each->gone && each->waits(now)) next = std::min(next, each->ready_at());
  }
  return next;
}

void Pool::due(TimePoint now, Actions& actions) {
  const bool idles = !used() && policy_.idle_timeout != Duration::zero();
  if (idles && now >= after(unused_since_, policy_.idle_timeout)) close_idle(now, actions);
  settle(now, actions);
}

}  // namespace berth::channel
