#include "channel/policy_of.h"

namespace berth::channel {
namespace {

Balance balance_of(pool::Balance balance) {
  switch (balance) {
    case pool::Balance::failover: return Balance::failover;
    case pool::Balance::least_streams:
    case pool::Balance::least_leased: return Balance::least_streams;
    case pool::Balance::round_robin: break;
  }
  return Balance::round_robin;
}

}  // namespace

ChannelPolicy policy_of(const pool::PoolPolicy& settings) {
  const pool::ChannelSettings& channels = settings.channels;
  return {
      .key = settings.key,
      .endpoints = settings.endpoints,
      .balance = balance_of(settings.balance),
      .max_channels = static_cast<uint32_t>(channels.max_channels),
      .max_streams_per_channel = static_cast<uint32_t>(channels.max_streams_per_channel),
      .max_waiters = static_cast<uint32_t>(channels.max_waiting_streams),
      .acquire_timeout = settings.acquire_timeout,
      .dial_timeout = settings.dial_timeout,
      .fail_fast = settings.fail_fast,
      .max_lifetime = settings.max_lifetime,
      .drain_timeout = channels.drain_timeout,
      .keepalive_time = channels.keepalive_time,
      .keepalive_timeout = channels.keepalive_timeout,
      .idle_timeout = settings.idle_timeout,
      .dns_refresh = settings.dns_refresh,
      .retry = {channels.retry.attempts, channels.retry.codes, channels.retry.backoff},
      .health = channels.health,
  };
}

}  // namespace berth::channel
