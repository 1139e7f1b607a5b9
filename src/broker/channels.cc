#include "broker/channels.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/close_reason.h"
#include "base/log.h"
#include "base/status_text.h"
#include "broker/channel_peers.h"
#include "channel/policy_of.h"
#include "wire/http2_arena.h"

namespace berth::broker {

using wire::Http2Connection;

Channels::Channels(loop::Loop& loop, Resolver& resolver, ChannelDials::Slots slots, Gone gone,
                   uint64_t seed, bool pin)
    : loop_(loop),
      gone_(std::move(gone)),
      hub_(seed),
      dials_(
          loop, resolver, std::move(slots),
          [this](ConnectionId id, absl::StatusOr<ChannelDials::Opened> result) {
            opened(id, std::move(result));
          },
          pin),
      long_messages_(loop),
      watch_(loop, [this](uint64_t number, uint32_t events) { ready(number, events); }),
      timer_(loop, [this] {
        hub_.advance(loop_.now(), actions_);
        pump();
      }) {}

Channels::~Channels() {
  pumping_ = true;  // nothing is carried out any more
  for (const auto& [id, client] : clients_) client->http2().end(wire::kHttp2Cancel);
  clients_.clear();
  upstreams_.clear();
}

// ---- pools ----

void Channels::compile(PoolId id, const pool::PoolPolicy& policy) {
  auto program = std::make_shared<Program>();
  program->pool = id;
  program->scheme = policy.uses_tls() ? "https" : "http";
  program->watches_health = policy.channels.health;
  for (const Endpoint& endpoint : policy.endpoints) {
    program->authorities.push_back(endpoint.is_service() ? endpoint.certificate_name()
                                                         : endpoint.address());
  }
  program->retry_buffer = policy.channels.retry.buffer;
  program->compression = policy.channels.compression;
  some_compress_ = some_compress_ || program->compression != Compression::none;
  program->logs_calls = policy.channels.access_log;
  Http2Connection::Settings settings;
  settings.stream_window = static_cast<uint32_t>(policy.channels.stream_buffer);
  settings.max_header_bytes = policy.channels.max_header_bytes;
  program->local = settings;
  program->upstream = settings;
  program->upstream.max_concurrent_streams = UINT32_MAX;  // the policy counts them
  programs_[id] = std::move(program);
  dials_.set_pool(id, policy);
}

void Channels::add_pool(PoolId id, const pool::PoolPolicy& policy) {
  if (!policy.carries_channels()) return;
  compile(id, policy);
  hub_.add_pool(loop_.now(), id, channel::policy_of(policy), actions_);
  pump();
}

void Channels::reconfigure_pool(PoolId id, const pool::PoolPolicy& policy) {
  if (hub_.pool(id) == nullptr) return;
  compile(id, policy);
  hub_.reconfigure_pool(loop_.now(), id, channel::policy_of(policy), actions_);
  pump();
}

void Channels::remove_pool(PoolId id) {
  if (hub_.pool(id) == nullptr) return;
  hub_.remove_pool(loop_.now(), id, actions_);
  removed_.push_back(id);
  pump();
}

std::optional<size_t> Channels::evict(PoolId id, size_t most) {
  if (hub_.pool(id) == nullptr) return std::nullopt;
  const size_t closed = hub_.evict(loop_.now(), id, most, actions_);
  pump();
  return closed;
}

std::optional<size_t> Channels::renew(PoolId id) {
  if (hub_.pool(id) == nullptr) return std::nullopt;
  const size_t going = hub_.renew(loop_.now(), id, actions_);
  pump();
  return going;
}

void Channels::set_intake(PoolId id, pool::Intake intake) {
  if (hub_.pool(id) == nullptr) return;
  hub_.set_intake(loop_.now(), id, intake, actions_);
  pump();
}

std::vector<channel::Hub::Expired> Channels::expire() {
  std::vector<channel::Hub::Expired> expired = hub_.expire(loop_.now(), actions_);
  pump();
  return expired;
}

// ---- local clients ----

void Channels::begin(ConnectionId id, PoolId pool, AccessRecord::Client program, UniqueFd end) {
  auto client =
      std::make_unique<Client>(*this, id, pool, program, std::move(end), program_of(pool).local);
  Client& added = *client;
  const bool fresh = clients_.emplace(id, std::move(client)).second;
  BERTH_CHECK(fresh, "a lease has one local client");
  hub_.join(loop_.now(), pool, actions_);
  if (!added.watch()) {
    log().error("a client cannot be carried: the kernel watches no more descriptors");
    added.give_up();
  }
  pump();
}

void Channels::end(ConnectionId id) {
  const auto at = clients_.find(id);
  if (at == clients_.end()) return;
  const std::unique_ptr<Client> client = std::move(at->second);
  clients_.erase(at);
  client->http2().end(wire::kHttp2Cancel);
  hub_.leave(loop_.now(), client->pool(), actions_);
  pump();
}

// ---- the end ----

void Channels::shut_down() {
  for (const auto& [id, client] : clients_) {
    client->http2().close_gracefully();
    client->touch();
  }
  hub_.shut_down(loop_.now(), actions_);
  pump();
}

// What one of these brings about, such as credit for the other side, is done in the same turn.
void Channels::end_turn() {
  drop_who_holds_most();
  do {
    close_some();
    for (const uint64_t number : std::exchange(to_flush_, {})) {
      if (const auto at = peers_.find(number); at != peers_.end()) at->second->flush();
    }
    end_those_over();
  } while (!to_flush_.empty() || !closing_.empty() || !over_.empty());
  forget_removed();
  dials_.end_turn();
  timer_.arm(hub_.next_deadline());
}

// Windows bound each stream and the number of streams each client: together they may be more than a
// machine has.
void Channels::drop_who_holds_most() {
  if (wire::Http2Arena::of_thread().bytes() + recoding_bytes_ <= most_held_) return;
  absl::flat_hash_map<const Client*, size_t> kept;  // for another attempt, or until there is one
  for (const Call* call : calls_) {
    if (call != nullptr) kept[&call->client] += call->held();
  }
  Client* worst = nullptr;
  size_t most = 0;
  for (const auto& [id, client] : clients_) {
    const size_t held = client->held() + kept[client.get()];
    if (held <= most) continue;
    most = held;
    worst = client.get();
  }
  if (worst == nullptr) return;
  log().warn(
      "process {} is dropped from a channel pool: {} bytes of its calls wait, more than of any "
      "other, and all calls together have reached total_stream_buffer",
      worst->program().pid, most);
  worst->http2().close(wire::kHttp2EnhanceYourCalm, "total_stream_buffer");
  worst->flush();
  worst->give_up();
}

// A removed pool goes when its last channel, stream and client have gone.
void Channels::forget_removed() {
  std::erase_if(removed_, [this](PoolId id) {
    const bool used = hub_.pool(id) != nullptr ||
                      std::any_of(clients_.begin(), clients_.end(),
                                  [id](const auto& each) { return each.second->pool() == id; });
    if (used) return false;
    programs_.erase(id);
    dials_.remove_pool(id);
    return true;
  });
}

// What closes them may have them end calls, which opens others, on others.
void Channels::close_some() {
  for (const ConnectionId id : std::exchange(closing_, {})) {
    const auto at = upstreams_.find(id);
    if (at != upstreams_.end() && !at->second->is_lost()) at->second->close();
  }
}

void Channels::end_those_over() {
  for (const uint64_t number : std::exchange(over_, {})) {
    const auto at = peers_.find(number);
    if (at != peers_.end()) at->second->depart();
  }
}

void Channels::ready(uint64_t number, uint32_t events) {
  const auto at = peers_.find(number);
  if (at != peers_.end()) at->second->ready(events);
}

// ---- actions ----

void Channels::pump() {
  if (std::exchange(pumping_, true)) return;
  while (!actions_.empty()) {
    std::visit([this](const auto& each) { carry_out(each); }, actions_.take());
  }
  pumping_ = false;
}

void Channels::carry_out(const channel::Assign& action) {
  Call* call = find_call(action.stream);
  BERTH_CHECK(call != nullptr, "a stream that is assigned has a call");
  send_request(*call, *upstreams_.at(action.channel));
}

void Channels::carry_out(const channel::End& action) {
  Call* call = find_call(action.stream);
  BERTH_CHECK(call != nullptr, "a stream that is ended has a call");
  calls_[call->id.index()] = nullptr;
  call->id = {};
  answer(*call, action.code, action.text);
}

void Channels::carry_out(const channel::Resolve& action) {
  dials_.resolve(action.pool, action.endpoint,
                 [this, action](absl::StatusOr<std::vector<channel::Place>> found) {
                   const TimePoint now = loop_.now();
                   if (found.ok()) {
                     hub_.resolved(now, action.pool, action.endpoint, *found, actions_);
                   } else {
                     hub_.resolve_failed(now, action.pool, action.endpoint, text_of(found.status()),
                                         actions_);
                   }
                   pump();
                 });
}

void Channels::carry_out(const channel::Dial& action) {
  dials_.dial(action.channel, action.pool, action.endpoint, action.address);
}

void Channels::opened(ConnectionId id, absl::StatusOr<ChannelDials::Opened> result) {
  const channel::Channel* channel = hub_.channel(id);
  BERTH_CHECK(channel != nullptr, "a channel that is closed is not dialled any more");
  if (!result.ok()) {
    const std::string error = text_of(result.status());
    log().warn("pool {}: {}", channel->pool->policy().key, error);
    hub_.dial_failed(loop_.now(), id, error, actions_);
    return pump();
  }
  const PoolId pool = channel->pool->id();
  const Program& program = program_of(pool);
  const uint32_t endpoint = channel->subchannel->endpoint;
  const std::string authority = endpoint < program.authorities.size()
                                    ? program.authorities[endpoint]
                                    : channel->subchannel->address;
  auto upstream =
      std::make_unique<Upstream>(*this, id, pool, authority, *std::move(result), program);
  Upstream& added = *upstream;
  upstreams_.emplace(id, std::move(upstream));
  if (!added.watch()) added.give_up();
}

void Channels::carry_out(const channel::Ping& action) {
  Upstream& upstream = *upstreams_.at(action.channel);
  upstream.http2().ping(action.channel.value());
  upstream.touch();
}

// A peer may be in the middle of an event: it is closed once that is over.
void Channels::carry_out(const channel::Close& action) {
  dials_.abandon(action.channel);
  const auto at = upstreams_.find(action.channel);
  if (at == upstreams_.end()) return hub_.closed(loop_.now(), action.channel, actions_);
  const std::string& address = at->second->authority();
  at->second->expect_close(action.reason == CloseReason::dead
                               ? hub_.channel(action.channel)->subchannel->last_error
                               : fmt::format("{}: berthd has closed the connection: {}", address,
                                             close_reason_name(action.reason)));
  closing_.push_back(action.channel);
}

}  // namespace berth::broker
