// Who is carried, who waits, who is carried once more, and who is not.
#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/limits.h"
#include "channel/pool.h"

namespace berth::channel {

// --- states ---

// Requires: the new one is not assigned, or `channel` has room.
void Pool::move_to(TimePoint now, Stream& stream, StreamState state, Channel* channel) {
  BERTH_CHECK(may_move(stream.state, state), "a stream moves between states as it may");
  unlink(stream);
  stream.state = state;
  stream.channel = channel;
  (channel != nullptr ? channel->streams : list(state)).push_back(stream);
  if (state == StreamState::again || state == StreamState::resting) stream.waits_since = now;
}

void Pool::unlink(Stream& stream) {
  if (stream.state != StreamState::assigned) return list(stream.state).remove(stream);
  BERTH_CHECK(stream.channel != nullptr, "a stream that is assigned has a channel");
  Channel& channel = *stream.channel;
  channel.streams.remove(stream);
  --channel.subchannel->streams;
  if (channel.streams.size() + 1 == channel.limit) note_room(channel);
}

// --- a stream's beginning ---

StreamId Pool::open_stream(TimePoint now, TimePoint until, Actions& actions) {
  const StreamId id = shared_.streams.allocate();
  Stream& stream = shared_.streams[id];
  stream.id = id;
  stream.pool = this;
  stream.until = until;
  stream.deadline.kind = pool::Deadline::Kind::waiter;
  stream.deadline.subject = id.value();
  list(StreamState::waiting).push_back(stream);
  ++streams_;
  ++stream_counters_.begun;
  const bool first = list(StreamState::waiting).size() == 1 && list(StreamState::again).empty();
  Channel* const channel = first && intake_ == pool::Intake::open ? choose(stream) : nullptr;
  if (channel != nullptr && !ending_) {
    assign(now, stream, *channel, actions);
  } else {
    wait(now, stream, actions);
  }
  return id;
}

void Pool::wait(TimePoint now, Stream& stream, Actions& actions) {
  if (ending_) return end(now, stream, GrpcCode::unavailable, ending_text(), actions);
  if (intake_ == pool::Intake::disabled) {
    return end(now, stream, GrpcCode::unavailable, policy_.key + " is disabled", actions);
  }
  if (now >= stream.until) {
    return end(now, stream, GrpcCode::deadline_exceeded, "its deadline was over when it began",
               actions);
  }
  if (list(StreamState::waiting).size() > policy_.max_waiters) {
    return end(now, stream, GrpcCode::resource_exhausted,
               std::to_string(policy_.max_waiters) + " streams wait already (max_waiting_streams)",
               actions);
  }
  stream.waits_since = now;
  await_channel(stream);
  note_use(now);
  settle(now, actions);
}

// Files when its wait is over.
void Pool::await_channel(Stream& stream) {
  shared_.deadlines.set(stream.deadline,
                        std::min(stream.until, after(stream.waits_since, policy_.acquire_timeout)));
}

Channel* Pool::choose(const Stream& stream) {
  if (balancer_.empty()) return nullptr;
  const Channel* const failed =
      stream.failed_on.valid() ? shared_.channels.find(stream.failed_on) : nullptr;
  Subchannel* const subchannel =
      balancer_.choose(policy_.balance, failed != nullptr ? failed->subchannel : nullptr);
  return &Balancer::channel_of(*subchannel, failed);
}

void Pool::assign(TimePoint now, Stream& stream, Channel& channel, Actions& actions) {
  BERTH_CHECK(channel.has_room(), "only a ready channel with room gets a stream");
  move_to(now, stream, StreamState::assigned, &channel);
  shared_.deadlines.clear(stream.deadline);
  Subchannel& subchannel = *channel.subchannel;
  ++subchannel.streams;
  ++subchannel.counters.begun;
  ++channel.served;
  channel.marked = false;
  if (!channel.has_room()) note_room(channel);
  if (clients_ == 0 && channel.streams.size() == 1) watch(now, channel);
  actions.add(Assign{stream.id, channel.id});
}

// In the order in which they came to wait; who had a channel before goes first.
void Pool::serve(TimePoint now, Actions& actions) {
  if (intake_ != pool::Intake::open) return;
  for (const StreamState state : {StreamState::again, StreamState::waiting}) {
    while (Stream* stream = list(state).front()) {
      Channel* const channel = choose(*stream);
      if (channel == nullptr) return;
      assign(now, *stream, *channel, actions);
    }
  }
}

// --- its end ---

void Pool::end_stream(TimePoint now, Stream& stream, Actions& actions) {
  ++stream_counters_.ended;
  Channel* const channel = stream.channel;
  if (channel != nullptr) ++channel->finished;
  forget(now, stream);
  if (channel != nullptr) left(now, *channel, actions);
  if (!used()) plan(now);
}

// A place on the channel has come free.
void Pool::left(TimePoint now, Channel& channel, Actions& actions) {
  if (channel.state == State::draining && channel.streams.empty()) {
    close(now, channel, channel.close_reason, actions);
  }
  if (waiting() > 0) serve(now, actions);
}

void Pool::forget(TimePoint now, Stream& stream) {
  unlink(stream);
  shared_.deadlines.clear(stream.deadline);
  shared_.streams.free(stream.id);
  if (--streams_ == 0) unused_since_ = now;
}

void Pool::end(TimePoint now, Stream& stream, GrpcCode code, std::string text, Actions& actions) {
  ++stream_counters_.refused;
  actions.add(End{stream.id, code, std::move(text)});
  forget(now, stream);
}

void Pool::end_all(TimePoint now, std::initializer_list<StreamState> states,
                   const std::string& text, Actions& actions) {
  for (const StreamState state : states) {
    while (Stream* stream = list(state).front()) {
      end(now, *stream, GrpcCode::unavailable, text, actions);
    }
  }
}

void Pool::stream_due(TimePoint now, Stream& stream, Actions& actions) {
  if (now >= stream.until) {
    end(now, stream, GrpcCode::deadline_exceeded,
        "its deadline was over before it had a channel: " + why_it_waits(now), actions);
  } else if (stream.state == StreamState::resting) {
    move_to(now, stream, StreamState::again);
    await_channel(stream);
  } else {
    end(now, stream, GrpcCode::unavailable,
        "no channel within " + format_duration(policy_.acquire_timeout) +
            " (acquire_timeout): " + why_it_waits(now),
        actions);
  }
  settle(now, actions);
}

// --- once more ---

bool Pool::stream_failed(TimePoint now, Stream& stream, Failure failure, bool may_retry,
                         Actions& actions) {
  if (stream.state != StreamState::assigned) return false;
  Channel& channel = *stream.channel;
  ++stream_counters_.failed;
  ++channel.subchannel->counters.failed;
  stream.failed_on = channel.id;
  const bool may = may_retry && !ending_ && intake_ != pool::Intake::disabled;
  const bool retried = may && retry(now, stream, failure);
  if (retried) ++channel.subchannel->counters.retried;
  if (!retried) move_to(now, stream, StreamState::failed);
  left(now, channel, actions);
  if (retried) settle(now, actions);
  return retried;
}

bool Pool::retry(TimePoint now, Stream& stream, Failure failure) {
  if (failure.unseen && retry_unseen(now, stream)) return true;
  return retry_code(now, stream, failure.unseen ? GrpcCode::unavailable : failure.code);
}

bool Pool::retry_unseen(TimePoint now, Stream& stream) {
  if (stream.unseen == kMaxUnseenRetries || now >= stream.until) return false;
  ++stream.unseen;
  ++stream_counters_.unseen;
  move_to(now, stream, StreamState::again);
  await_channel(stream);
  return true;
}

bool Pool::retry_code(TimePoint now, Stream& stream, GrpcCode code) {
  const Retry& retry = policy_.retry;
  if (!contains(retry.codes, code) || stream.attempts >= retry.attempts) return false;
  const double jitter = 0.8 + 0.4 * shared_.random.unit();
  const double factor = static_cast<double>(uint64_t{1} << std::min(stream.attempts - 1, 30u));
  const Duration rest = std::chrono::duration_cast<Duration>(retry.backoff * factor * jitter);
  if (after(now, rest) >= stream.until) return false;
  ++stream.attempts;
  ++stream_counters_.retried;
  move_to(now, stream, StreamState::resting);
  shared_.deadlines.set(stream.deadline, after(now, rest));
  return true;
}

// --- in words ---

std::string Pool::why_it_waits(TimePoint now) const {
  if (intake_ == pool::Intake::paused) return policy_.key + " is paused";
  if (hopeless(now)) return no_upstream();
  const size_t ready = count(State::ready);
  if (ready == 0) return "no channel is ready; " + what_is_under_way(now);
  size_t streams = 0;
  for (const auto& each : subchannels_) streams += each->streams;
  return std::to_string(ready) + " channels are full with " + std::to_string(streams) +
         " streams; " + std::to_string(waiting()) + " wait";
}

std::string Pool::what_is_under_way(TimePoint now) const {
  std::string text;
  for (const auto& each : subchannels_) {
    const Channel* const oldest = each->list(State::connecting).front();
    if (oldest == nullptr) continue;
    text = each->address + " has been dialled for " + format_duration(now - oldest->since);
    break;
  }
  if (!last_error_.empty())
    text += (text.empty() ? "last error: " : "; last error: ") + last_error_;
  if (!text.empty()) return text;
  return subchannels_.empty() ? "no address is known yet"
                              : "the servers have not said that they serve";
}

std::string Pool::no_upstream() const {
  return "no upstream: " + (last_error_.empty() ? "nothing is known of it" : last_error_);
}

std::string Pool::ending_text() const {
  return ending_ == CloseReason::removed ? policy_.key + " has left the configuration"
                                         : "berthd is shutting down";
}

}  // namespace berth::channel
