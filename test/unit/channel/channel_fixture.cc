#include "unit/channel/channel_fixture.h"

namespace berth::channel {

ChannelPolicy ChannelTest::policy() {
  ChannelPolicy policy;
  policy.key = "greeter";
  policy.endpoints = {{Endpoint::Kind::tcp, "a", 1, ""}};
  return policy;
}

PoolId ChannelTest::add(ChannelPolicy policy, size_t count) {
  addresses.clear();
  for (size_t i = 0; i < count; ++i) {
    addresses.push_back(std::string(1, static_cast<char>('a' + i)) + ":1");
  }
  const PoolId id(++last_pool_, 1);
  hub.add_pool(now, id, std::move(policy), actions);
  carry_out();
  return id;
}

// --- what programs do ---

StreamId ChannelTest::open(PoolId pool, TimePoint until) {
  const StreamId id = hub.open_stream(now, pool, until, actions);
  carry_out();
  return id;
}

std::vector<StreamId> ChannelTest::open(PoolId pool, size_t count) {
  std::vector<StreamId> streams;
  for (size_t i = 0; i < count; ++i) streams.push_back(open(pool));
  return streams;
}

void ChannelTest::end(StreamId stream) {
  hub.end_stream(now, stream, actions);
  carry_out();
}

bool ChannelTest::fail(StreamId stream, GrpcCode code, bool may_retry) {
  const bool retried = hub.stream_failed(now, stream, {false, code}, may_retry, actions);
  carry_out();
  return retried;
}

bool ChannelTest::refuse(StreamId stream, bool may_retry) {
  const bool retried = hub.stream_failed(now, stream, {.unseen = true}, may_retry, actions);
  carry_out();
  return retried;
}

void ChannelTest::join(PoolId pool) {
  hub.join(now, pool, actions);
  carry_out();
}

void ChannelTest::leave(PoolId pool) {
  hub.leave(now, pool, actions);
  carry_out();
}

// --- what came of it ---

ConnectionId ChannelTest::channel_of(StreamId id) const {
  const Stream* const stream = hub.stream(id);
  return stream != nullptr && stream->channel != nullptr ? stream->channel->id : ConnectionId();
}

std::string ChannelTest::address_of(StreamId id) const {
  const Channel* const channel = hub.channel(channel_of(id));
  return channel != nullptr ? channel->subchannel->address : "";
}

bool ChannelTest::waits(StreamId id) const {
  const Stream* const stream = hub.stream(id);
  return stream != nullptr && stream->state != StreamState::assigned &&
         stream->state != StreamState::failed;
}

bool ChannelTest::closed(ConnectionId id, CloseReason reason) const {
  return std::count(closes.begin(), closes.end(), std::pair(id, reason)) == 1;
}

// --- what the world does ---

void ChannelTest::connect(ConnectionId id) {
  std::erase(dialing, id);
  hub.connected(now, id, max_streams, actions);
  carry_out();
}

void ChannelTest::fail_dial(ConnectionId id, const char* text) {
  std::erase(dialing, id);
  hub.dial_failed(now, id, text, actions);
  carry_out();
}

void ChannelTest::cut_off_all(ConnectionId id) {
  while (const Stream* stream = hub.channel(id)->streams.front()) {
    const StreamId stream_id = stream->id;
    cut_off.push_back(stream_id);
    if (!hub.stream_failed(now, stream_id, {}, false, actions)) {
      hub.end_stream(now, stream_id, actions);
    }
  }
}

void ChannelTest::lose(ConnectionId id, const char* text) {
  hub.lost(now, id, text, actions);
  cut_off_all(id);
  hub.closed(now, id, actions);
  carry_out();
}

void ChannelTest::goaway(ConnectionId id) {
  hub.goaway(now, id, actions);
  carry_out();
}

void ChannelTest::settings(ConnectionId id, uint32_t most) {
  hub.settings(now, id, most, actions);
  carry_out();
}

void ChannelTest::serving(ConnectionId id, bool serves) {
  hub.serving(now, id, serves, actions);
  carry_out();
}

void ChannelTest::finish_closes() {
  for (const ConnectionId id : std::exchange(closing, {})) {
    hub.closed(now, id, actions);
    carry_out();
  }
}

void ChannelTest::resolve(PoolId pool, std::vector<std::string> names, uint32_t endpoint) {
  hub.resolved(now, pool, endpoint, places(names), actions);
  carry_out();
}

std::vector<Place> ChannelTest::places(const std::vector<std::string>& names) const {
  std::vector<Place> places;
  for (const std::string& name : names) {
    const auto at = priorities.find(name);
    places.push_back({name, at == priorities.end() ? uint16_t{0} : at->second});
  }
  return places;
}

void ChannelTest::fail_resolve(PoolId pool, const char* text, uint32_t endpoint) {
  hub.resolve_failed(now, pool, endpoint, text, actions);
  carry_out();
}

void ChannelTest::pass(Duration duration) {
  const TimePoint until = now + duration;
  while (hub.next_deadline() <= until) {
    now = std::max(now, hub.next_deadline());
    hub.advance(now, actions);
    carry_out();
  }
  now = until;
}

// --- actions ---

void ChannelTest::carry_out() {
  while (!actions.empty()) {
    const Action action = actions.take();
    std::visit([this](const auto& each) { on(each); }, action);
  }
}

void ChannelTest::on(const Resolve& resolve) {
  looked_up.push_back(resolve.endpoint);
  if (resolves == Answer::yes) {
    hub.resolved(now, resolve.pool, resolve.endpoint, places(addresses), actions);
  }
  if (resolves == Answer::no) {
    hub.resolve_failed(now, resolve.pool, resolve.endpoint, "a: no such name", actions);
  }
}

void ChannelTest::on(const Dial& dial) {
  dialed.push_back(dial.channel);
  addresses_dialed.push_back(dial.address);
  if (dials == Answer::no || down.contains(dial.address)) {
    return hub.dial_failed(now, dial.channel, dial.address + ": refused", actions);
  }
  if (dials == Answer::yes) hub.connected(now, dial.channel, max_streams, actions);
  if (dials == Answer::never) dialing.push_back(dial.channel);
}

void ChannelTest::on(const Assign& assign) {
  assigned.push_back(assign);
}

void ChannelTest::on(const End& end) {
  EXPECT_TRUE(ends.emplace(end.stream, end).second) << "a stream ends once";
}

void ChannelTest::on(const Ping& ping) {
  pinged.push_back(ping.channel);
  if (pings == Answer::yes) hub.pong(now, ping.channel);
}

void ChannelTest::on(const Close& close) {
  closes.emplace_back(close.channel, close.reason);
  std::erase(dialing, close.channel);
  cut_off_all(close.channel);
  if (closings == Answer::yes) {
    hub.closed(now, close.channel, actions);
  } else {
    closing.push_back(close.channel);
  }
}

}  // namespace berth::channel
