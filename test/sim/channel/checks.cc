// The world's part that checks what must hold between events.
#include <algorithm>

#include "sim/channel/world.h"

namespace berth::sim::channels {

using Stage = StreamModel::Stage;
using channel::State;
using channel::StreamState;

void World::check() {
  read_journal();
  check_channels();
  check_streams();
  for (size_t i = 0; i < pools.size(); ++i) {
    if (!pools[i].gone) check_pool(i);
  }
}

// --- channels ---

void World::check_channels() {
  expect(hub.shared().channels.size() == channels.size(), "the hub has the channels that exist");
  for (auto& [id, model] : channels) {
    const channel::Channel* const channel = hub.channel(id);
    expect(channel != nullptr, "a channel is known until it is closed", id.value());
    check_channel(model, *channel);
  }
}

void World::check_channel(ChannelModel& model, const channel::Channel& channel) {
  const uint64_t id = model.id.value();
  if (awaits_health(model) && channel.health != channel::Channel::Health::unknown) {
    expect(now >= model.up_at + pools[model.pool].policy.dial_timeout, "health may take a while",
           id);
    model.silent_health = false;
  }
  const bool leaves = channel.state == State::draining;
  if (leaves && !model.leaving) {
    expect(has_cause(model, channel.close_reason), "a channel drains for a cause", id);
    model.leaving = true;
    model.why_leaving = channel.close_reason;
    model.leaving_since = now;
  }
  const bool serves = model.serves || !model.checked;
  const State expected = model.closing   ? State::closing
                         : !model.up     ? State::connecting
                         : model.leaving ? State::draining
                         : serves        ? State::ready
                                         : State::checking;
  expect(channel.state == expected, "the state is what the world knows", id);
  expect(channel.streams.size() == model.streams.size(), "its streams are those assigned to it",
         id);
  expect(!leaves || !model.streams.empty(), "what drains has streams", id);
  expect(channel.subchannel->address == model.address, "it stands with its address", id);
}

// --- streams ---

void World::check_streams() {
  expect(hub.shared().streams.size() == streams.size(), "the hub has the streams that are open");
  for (auto& [id, model] : streams) {
    const channel::Stream* const stream = hub.stream(id);
    expect(stream != nullptr, "no stream is lost", id.value());
    if (model.stage == Stage::resting && stream->state == StreamState::again) {
      expect(now >= model.not_before, "a retry rests as long as it should", id.value());
      model.stage = Stage::waiting;
      model.waits_since = now;
    }
    const bool waits = stream->state == StreamState::waiting || stream->state == StreamState::again;
    const Stage stage = waits                                    ? Stage::waiting
                        : stream->state == StreamState::resting  ? Stage::resting
                        : stream->state == StreamState::assigned ? Stage::assigned
                                                                 : Stage::failed;
    expect(stage == model.stage, "a stream is where it was put", id.value());
    const ConnectionId on = stream->channel != nullptr ? stream->channel->id : ConnectionId();
    expect(on == model.channel, "a stream is on its channel", id.value());
  }
}

// --- pools ---

void World::check_pool(size_t index) {
  PoolModel& model = pools[index];
  const channel::Pool* const pool = hub.pool(model.id);
  if (pool == nullptr) {
    expect(model.removed && model.streams == 0, "only a removed pool goes, with its last stream");
    model.gone = true;
    return;
  }
  const channel::StreamCounters& counters = pool->stream_counters();
  expect(pool->streams() == model.streams, "streams are counted", index);
  expect(counters.begun == counters.ended + counters.refused + model.streams,
         "what has begun is open, ended or refused", index);
  expect(pool->waiting() == waiting_at_all(index), "who waits is visible", index);
  expect(model.told_connected == model.connected, "the journal tells how many are connected",
         index);
  if (!may_dial(index)) {
    const bool ending = stopping || model.removed || model.intake == pool::Intake::disabled;
    expect(!ending || waiting_at_all(index) == 0, "nobody waits for what will not come", index);
    return;
  }
  const size_t waits = waiting(index);
  expect(waits == 0 || with_room(index).empty(), "nobody waits while a channel has room", index);
  expect(waits == 0 || !model.policy.fail_fast || !no_upstream(index, true),
         "with fail_fast nobody waits without an upstream", index);
  check_addresses(index);
}

// Each address has its channel, or has failed; for failover one of them.
void World::check_addresses(size_t index) {
  PoolModel& model = pools[index];
  std::set<std::string> in_use;
  for (const auto& [id, channel] : channels) {
    if (channel.pool == index) in_use.insert(channel.address);
  }
  for (auto& [name, address] : model.addresses) {
    if (in_use.contains(name) || is_known(model, name)) continue;
    address.dial_failed_at.reset();
    address.ended_at.reset();
    address.told_limit = kAssumedStreams;
  }
  if (!wanted(index)) return;
  size_t open = 0;
  size_t failing = 0;
  size_t known = 0;
  for (const auto& [host, addresses] : model.known) {
    for (const std::string& name : addresses) {
      const bool used = std::any_of(channels.begin(), channels.end(), [&](const auto& each) {
        return each.second.pool == index && each.second.address == name && is_open(each.second);
      });
      const bool fails = model.addresses[name].failing();
      ++known;
      open += used;
      failing += fails;
      if (model.policy.balance == channel::Balance::failover) continue;
      expect(used || fails || is_spare(index, name), "each address of a pool in use has a channel",
             index);
    }
  }
  expect(open > 0 || failing == known, "a pool in use dials", index);
}

}  // namespace berth::sim::channels
