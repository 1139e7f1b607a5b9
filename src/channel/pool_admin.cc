// Local clients, the administrator, reload, and the journal.
#include <algorithm>
#include <utility>

#include "base/check.h"
#include "channel/pool.h"

namespace berth::channel {

// --- local clients ---

void Pool::join(TimePoint now, Actions& actions) {
  ++clients_;
  note(now, pool::EventKind::connect);
  if (clients_ == 1) watch_all(now);
  note_use(now);
  settle(now, actions);
}

void Pool::leave(TimePoint now, Actions& actions) {
  BERTH_CHECK(clients_ > 0, "who leaves has joined");
  if (--clients_ == 0 && streams_ == 0) unused_since_ = now;
  settle(now, actions);
}

bool Pool::has_open() const {
  return std::any_of(subchannels_.begin(), subchannels_.end(),
                     [](const auto& each) { return each->lasting() > 0; });
}

void Pool::close_idle(TimePoint now, Actions& actions) {
  for (const auto& each : subchannels_) drain_all(now, *each, CloseReason::idle, actions);
}

// --- the administrator ---

size_t Pool::renew(TimePoint now, Actions& actions) {
  size_t renewed = 0;
  for (const auto& each : subchannels_) {
    each->for_each_open([&](Channel& channel) {
      ++renewed;
      channel.close_reason = CloseReason::renewed;
      channel.expires_at = now;
      if (!wanted()) drain(now, channel, CloseReason::renewed, actions);
    });
  }
  note(now, pool::EventKind::renew, renewed);
  settle(now, actions);
  return renewed;
}

size_t Pool::evict(TimePoint now, size_t most, Actions& actions) {
  std::vector<Channel*> unused;
  for (const auto& each : subchannels_) {
    each->for_each_open([&](Channel& channel) {
      const bool connected = channel.state != State::connecting;
      if (connected && channel.streams.empty()) unused.push_back(&channel);
    });
  }
  std::stable_sort(unused.begin(), unused.end(),
                   [](const Channel* a, const Channel* b) { return a->ready_at < b->ready_at; });
  if (unused.size() > most) unused.resize(most);
  note(now, pool::EventKind::evict, unused.size());
  for (Channel* channel : unused) close(now, *channel, CloseReason::evicted, actions);
  settle(now, actions);
  return unused.size();
}

size_t Pool::expire(TimePoint now, Actions& actions) {
  size_t closed = 0;
  for (const auto& each : subchannels_) {
    each->for_each_open([&](Channel& channel) {
      const bool unused = clients_ == 0 && channel.streams.empty() && waiting() == 0;
      if (unused && channel.marked) {
        ++closed;
        drain(now, channel, CloseReason::expired, actions);
      } else {
        channel.marked = unused;
      }
    });
  }
  if (closed > 0) note(now, pool::EventKind::expire, closed);
  settle(now, actions);
  return closed;
}

void Pool::set_intake(TimePoint now, pool::Intake intake, Actions& actions) {
  if (intake_ == intake || ending_) return;
  intake_ = intake;
  switch (intake) {
    case pool::Intake::open: note(now, pool::EventKind::open); break;
    case pool::Intake::paused: note(now, pool::EventKind::pause); break;
    case pool::Intake::disabled:
      note(now, pool::EventKind::disable);
      end_all(now, {StreamState::again, StreamState::waiting, StreamState::resting},
              policy_.key + " is disabled", actions);
      break;
  }
  settle(now, actions);
}

// --- reload ---

void Pool::reconfigure(TimePoint now, ChannelPolicy policy, Actions& actions) {
  const std::vector<Endpoint> before = std::exchange(policy_, std::move(policy)).endpoints;
  rename_endpoints(now, before);
  drop_gone(now, actions);
  for (const auto& each : subchannels_) {
    each->for_each_open([&](Channel& channel) { apply_limits(now, channel); });
    auto& checking = each->list(State::checking);
    while (!policy_.health && !checking.empty()) make_ready(now, *checking.front(), actions);
    while (each->lasting() > policy_.max_channels) drain_one(now, *each, actions);
  }
  for (const StreamState state : {StreamState::waiting, StreamState::again}) {
    for (Stream& stream : list(state)) await_channel(stream);
  }
  watch_all(now);
  note(now, pool::EventKind::reload);
  settle(now, actions);
}

void Pool::apply_limits(TimePoint now, Channel& channel) {
  if (channel.state == State::connecting) return watch(now, channel);
  channel.limit = limit_of(channel.server_limit);
  note_room(channel);
}

// The one with the fewest streams, of what lasts.
void Pool::drain_one(TimePoint now, Subchannel& subchannel, Actions& actions) {
  Channel* fewest = nullptr;
  subchannel.for_each_open([&](Channel& channel) {
    if (channel.successor.valid()) return;
    if (fewest == nullptr || channel.streams.size() < fewest->streams.size()) fewest = &channel;
  });
  BERTH_CHECK(fewest != nullptr, "one of too many is drained");
  drain(now, *fewest, CloseReason::overflow, actions);
}

void Pool::stop(TimePoint now, CloseReason reason, Actions& actions) {
  if (ending_) return;
  ending_ = reason;
  if (reason == CloseReason::removed) note(now, pool::EventKind::remove);
  end_all(now, {StreamState::again, StreamState::waiting, StreamState::resting}, ending_text(),
          actions);
  for (const auto& each : subchannels_) drain_all(now, *each, reason, actions);
  plan(now);
}

// --- the journal ---

void Pool::note(TimePoint now, pool::EventKind kind, uint64_t detail, std::string_view text,
                ConnectionId channel) {
  ++counters_.events[static_cast<size_t>(kind)];
  if (kind == pool::EventKind::close) ++counters_.closes[detail];
  if (!shared_.journal.keeps(kind)) return;
  shared_.journal.add(
      {kind, now, id_, {}, {}, {}, detail, std::string(text), policy_.key, channel});
}

}  // namespace berth::channel
