// Channel pools: their channels, clients and streams, as messages.
#include <fmt/format.h>

#include "control/measures.h"
#include "control/view.h"

namespace berth::control {
namespace {

// Of a pool or of an address.
template <class Counted>
void add_channels(v1::ChannelCounts& counts, Counted&& count) {
  using channel::State;
  counts.set_connecting(counts.connecting() + u32(count(State::connecting)));
  counts.set_checking(counts.checking() + u32(count(State::checking)));
  counts.set_ready(counts.ready() + u32(count(State::ready)));
  counts.set_draining(counts.draining() + u32(count(State::draining)));
  counts.set_closing(counts.closing() + u32(count(State::closing)));
}

void add_channels(const channel::Pool& pool, v1::ChannelCounts& counts) {
  add_channels(counts, [&](channel::State state) { return pool.count(state); });
}

// Empty: it has left the configuration.
std::string endpoint_of(const channel::Pool& pool, const channel::Subchannel& subchannel) {
  const auto& endpoints = pool.policy().endpoints;
  const bool known = subchannel.endpoint < endpoints.size();
  return known ? endpoints[subchannel.endpoint].url() : "";
}

void fill(const channel::Pool& pool, const channel::Subchannel& subchannel, TimePoint now,
          v1::AddressInfo& row) {
  row.set_address(subchannel.address);
  row.set_endpoint(endpoint_of(pool, subchannel));
  add_channels(*row.mutable_channels(),
               [&](channel::State state) { return subchannel.list(state).size(); });
  row.set_streams(u32(subchannel.streams));
  const channel::SubchannelCounters& counters = subchannel.counters;
  row.set_begun(counters.begun);
  row.set_ended(counters.begun - counters.failed - subchannel.streams);
  row.set_failed(counters.failed);
  row.set_retried(counters.retried);
  row.set_dials(counters.dials);
  row.set_failed_dials(counters.dial_failures);
  row.set_last_error(shown(subchannel.last_error));
  if (subchannel.waits(now)) row.set_backoff_ms(ms_of(subchannel.ready_at() - now));
}

bool has_room(const channel::Pool& pool) {
  for (const auto& each : pool.subchannels()) {
    if (!each->with_room.empty()) return true;
  }
  return false;
}

std::string counted(size_t count, const char* thing) {
  return fmt::format("{} {}{}", count, thing, count == 1 ? "" : "s");
}

}  // namespace

v1::ConnectionInfo::State state_of(channel::State state) {
  switch (state) {
    case channel::State::connecting: return v1::ConnectionInfo::CONNECTING;
    case channel::State::checking: return v1::ConnectionInfo::CHECKING;
    case channel::State::ready: return v1::ConnectionInfo::READY;
    case channel::State::draining: return v1::ConnectionInfo::DRAINING;
    case channel::State::closing: return v1::ConnectionInfo::CLOSING;
  }
  return v1::ConnectionInfo::STATE_UNSPECIFIED;
}

void View::add_channel_pools(v1::StatusReply& reply) const {
  v1::ChannelCounts& channels = *reply.mutable_channels();
  size_t clients = 0, streams = 0, waiting = 0;
  hub().for_each_pool([&](const channel::Pool& pool) {
    add_channels(pool, channels);
    clients += pool.clients();
    streams += pool.streams();
    waiting += pool.waiting();
  });
  reply.set_clients(u32(clients));
  reply.set_streams(u32(streams));
  reply.set_waiting_streams(u32(waiting));
}

void View::fill(const channel::Pool& pool, v1::PoolInfo& row) const {
  const pool::Counters& counters = pool.counters();
  row.set_dials(counters.of(pool::EventKind::dial));
  row.set_failed_dials(counters.of(pool::EventKind::dial_failed));
  if (!pool.last_error().empty()) {
    row.set_dial_failures(pool.failures());
    row.set_last_dial_error(shown(pool.last_error()));
  }
  v1::ChannelPoolInfo& info = *row.mutable_channel_pool();
  add_channels(pool, *info.mutable_channels());
  info.set_max_channels(pool.policy().max_channels);
  info.set_clients(u32(pool.clients()));
  info.set_streams(u32(pool.streams()));
  info.set_waiting_streams(u32(pool.waiting()));
  const channel::StreamCounters& streams = pool.stream_counters();
  info.set_begun(streams.begun);
  info.set_ended(streams.ended);
  info.set_refused(streams.refused);
  info.set_failed(streams.failed);
  info.set_retried(streams.retried);
  info.set_unseen(streams.unseen);
  for (const auto& each : pool.subchannels()) {
    control::fill(pool, *each, loop_.now(), *info.add_addresses());
  }
}

void View::fill(const channel::Channel& channel, v1::ConnectionInfo& row) const {
  using channel::State;
  const TimePoint now = loop_.now();
  row.set_kind(v1::ConnectionInfo::CHANNEL);
  row.set_channel_id(channel.id.value());
  row.set_key(channel.pool->policy().key);
  row.set_state(state_of(channel.state));
  row.set_in_state_ms(ms_of(now - channel.since));
  row.set_endpoint(endpoint_of(*channel.pool, *channel.subchannel));
  if (channel.expires_at != kNever) row.set_expires_in_ms(ms_of(channel.expires_at - now));
  if (channel.state == State::draining || channel.state == State::closing) {
    row.set_close_reason(reason_of(channel.close_reason));
  }
  v1::ChannelInfo& info = *row.mutable_channel();
  info.set_address(channel.subchannel->address);
  info.set_streams(u32(channel.streams.size()));
  info.set_served(channel.served);
  if (channel.state != State::connecting && channel.limit != UINT32_MAX) {
    info.set_max_streams(channel.limit);
  }
  if (channel.ready_at != kNever) info.set_age_ms(ms_of(now - channel.ready_at));
  info.set_last_error(shown(channel.subchannel->last_error));
}

// What would become of the calls of a client that has its connection to berthd.
std::string View::words(const channel::Pool& pool) const {
  const std::string error = pool.last_error().empty() ? "" : ": " + pool.last_error();
  if (pool.hopeless(loop_.now())) {
    if (pool.policy().fail_fast) return "calls would fail at once, for want of an upstream" + error;
    return fmt::format("calls would wait up to {} (acquire_timeout) for an upstream{}",
                       format_duration(pool.policy().acquire_timeout), error);
  }
  const size_t ready = pool.count(channel::State::ready);
  const std::string carried = fmt::format("{} with {}", counted(ready, "ready channel"),
                                          counted(pool.streams() - pool.waiting(), "stream"));
  if (has_room(pool)) return "calls would be carried at once, on one of " + carried;
  const std::string waiting = fmt::format("{} before them", counted(pool.waiting(), "call"));
  if (ready > 0) return fmt::format("calls would wait: {} have no room, {}", carried, waiting);
  return pool.channels() > 0
             ? fmt::format("calls would wait for a channel to be ready, {}{}", waiting, error)
             : "a channel would be dialled for them";
}

}  // namespace berth::control
