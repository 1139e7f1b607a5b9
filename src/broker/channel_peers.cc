#include "broker/channel_peers.h"

#include <sys/epoll.h>

#include <utility>

#include "base/log.h"
#include "wire/grpc_call.h"

namespace berth::broker {

using wire::Http2Connection;
using wire::Http2Headers;
using wire::Http2Kind;
using wire::Http2Stream;

namespace {

using namespace std::chrono_literals;

// Until a server whose health is no longer told of is asked again.
constexpr Duration kHealthDelay = 1s;

}  // namespace

// --- either ---

Channels::Peer::Peer(Channels& channels, PoolId pool, ChannelDials::Opened opened,
                     Http2Connection::Role role, const Http2Connection::Settings& settings)
    : channels_(channels),
      pool_(pool),
      number_(++channels.numbers_),
      socket_(std::move(opened.fd), std::move(opened.tls), role, settings, *this) {
  channels_.peers_[number_] = this;
  touch();  // each side begins with its SETTINGS
}

Channels::Peer::~Peer() {
  if (watched_) channels_.watch_.remove(socket_.fd());
  channels_.peers_.erase(number_);
}

bool Channels::Peer::watch() {
  return watched_ = channels_.watch_.add(socket_.fd(), EPOLLIN, number_);
}

void Channels::Peer::ready(uint32_t events) {
  if (over_) return;
  if ((events & EPOLLOUT) != 0) touch();
  if ((events & ~uint32_t{EPOLLOUT}) == 0) return;
  const bool more = socket_.receive(channels_.loop_.now(), *channels_.scratch_);
  heard();
  touch();
  if (more && !http2().done()) return;
  flush();  // the GOAWAY that says why
  give_up();
}

void Channels::Peer::touch() {
  if (!std::exchange(to_flush_, true)) channels_.to_flush_.push_back(number_);
}

void Channels::Peer::flush() {
  to_flush_ = false;
  if (over_) return;
  if (!socket_.flush() || http2().done()) return give_up();
  flushed();
  update_watch();
}

void Channels::Peer::update_watch() {
  if (!watched_ || socket_.blocked() == watches_output_) return;
  const uint32_t events = EPOLLIN | (socket_.blocked() ? uint32_t{EPOLLOUT} : 0);
  if (channels_.watch_.modify(socket_.fd(), events, number_)) watches_output_ = socket_.blocked();
}

void Channels::Peer::give_up() {
  if (std::exchange(over_, true)) return;
  if (std::exchange(watched_, false)) channels_.watch_.remove(socket_.fd());
  channels_.over_.push_back(number_);
  lost();
}

// --- a local client ---

Channels::Client::Client(Channels& channels, ConnectionId id, PoolId pool,
                         AccessRecord::Client program, UniqueFd end,
                         const Http2Connection::Settings& settings)
    : Peer(channels, pool, {std::move(end), nullptr}, Http2Connection::Role::server, settings),
      id_(id),
      program_(program) {}

void Channels::Client::headers(Http2Stream& stream, Http2Headers&& headers, Http2Kind kind,
                               bool end) {
  if (kind == Http2Kind::request) {
    channels_.begin_call(*this, stream, std::move(headers), end);
  } else if (auto* call = static_cast<Call*>(stream.owner)) {
    channels_.request_trailers(*call, std::move(headers));
  }
}

void Channels::Client::too_large(Http2Stream& stream) {
  http2().respond(stream,
                  wire::failed_answer(true, channel::GrpcCode::resource_exhausted,
                                      "the call's metadata is longer than max_header_bytes"),
                  true);
}

void Channels::Client::data(Http2Stream& stream, std::string_view bytes, bool end) {
  if (auto* call = static_cast<Call*>(stream.owner)) {
    channels_.more_request(*call, bytes, end);
  } else {
    http2().consume(stream, bytes.size());
  }
}

void Channels::Client::sent(Http2Stream& stream, size_t bytes) {
  auto* call = static_cast<Call*>(stream.owner);
  if (call == nullptr) return;
  if (Channels::decodes_answer(*call)) return channels_.decode_answer(*call);
  if (call->to == nullptr) return;
  call->upstream->http2().consume(*call->to, bytes);
  call->upstream->touch();
}

void Channels::Client::closed(Http2Stream& stream, uint32_t, bool) {
  if (auto* call = static_cast<Call*>(stream.owner)) channels_.client_closed(*call);
}

void Channels::Client::lost() {
  http2().end(wire::kHttp2Cancel);
  channels_.pump();
}

void Channels::Client::depart() {
  Channels& channels = channels_;
  const ConnectionId id = id_;
  channels.end(id);
  channels.gone_(id);
}

// --- an upstream channel ---

Channels::Upstream::Upstream(Channels& channels, ConnectionId id, PoolId pool,
                             std::string authority, ChannelDials::Opened opened,
                             const Program& program)
    : Peer(channels, pool, std::move(opened), Http2Connection::Role::client, program.upstream),
      id_(id),
      authority_(std::move(authority)),
      scheme_(program.scheme),
      health_timer_(channels.loop_, [this] { watch_health(); }) {
  if (program.watches_health) health_.emplace();
}

void Channels::Upstream::headers(Http2Stream& stream, Http2Headers&& headers, Http2Kind kind,
                                 bool end) {
  if (&stream == health_stream_ && end) health_status_ = wire::grpc_status_of(headers);
  auto* call = static_cast<Call*>(stream.owner);
  if (call == nullptr) return;
  call->client.touch();
  if (kind == Http2Kind::trailers && call->record) call->record->response(headers);
  if (kind == Http2Kind::informational) {
    call->client.http2().inform(call->from, std::move(headers));
  } else if (kind == Http2Kind::trailers && decodes_answer(*call)) {
    channels_.answer_trailers(*call, std::move(headers));
  } else if (kind == Http2Kind::trailers) {
    call->response_ended = true;
    call->client.http2().send_trailers(call->from, std::move(headers));
  } else {
    channels_.response(*call, std::move(headers), end);
  }
}

void Channels::Upstream::data(Http2Stream& stream, std::string_view bytes, bool end) {
  auto* call = static_cast<Call*>(stream.owner);
  if (call == nullptr) http2().consume(stream, bytes.size());
  if (&stream == health_stream_) told_of_health(bytes);
  if (call == nullptr) return;
  if (call->record) call->record->response_bytes(bytes.size());
  if (decodes_answer(*call)) return channels_.more_answer(*call, bytes, end);
  call->response_ended = call->response_ended || end;
  call->client.http2().send_data(call->from, bytes, end);
  call->client.touch();
}

void Channels::Upstream::sent(Http2Stream& stream, size_t bytes) {
  if (auto* call = static_cast<Call*>(stream.owner)) channels_.request_sent(*call, bytes);
}

void Channels::Upstream::closed(Http2Stream& stream, uint32_t error, bool unseen) {
  if (&stream == health_stream_) return health_ended(health_status_);
  if (auto* call = static_cast<Call*>(stream.owner)) {
    channels_.upstream_closed(*call, error, unseen);
  }
}

void Channels::Upstream::settings(uint32_t max_concurrent_streams) {
  const TimePoint now = channels_.loop_.now();
  // One stream watches its health.
  if (health_ && max_concurrent_streams > 0) --max_concurrent_streams;
  if (stage_ == Stage::connecting) {
    stage_ = Stage::connected;
    channels_.hub_.connected(now, id_, max_concurrent_streams, channels_.actions_);
    if (health_) watch_health();
  } else {
    channels_.hub_.settings(now, id_, max_concurrent_streams, channels_.actions_);
  }
  channels_.pump();
}

void Channels::Upstream::goaway(int32_t, uint32_t error, std::string_view debug) {
  if (error != wire::kHttp2NoError) {
    log().warn("pool {}: the server said GOAWAY: {}: {:?}",
               channels_.hub_.pool(pool())->policy().key, wire::name_of_http2_error(error), debug);
  }
  channels_.hub_.goaway(channels_.loop_.now(), id_, channels_.actions_);
  channels_.pump();
}

void Channels::Upstream::pong(uint64_t) {
  channels_.hub_.pong(channels_.loop_.now(), id_);
}

void Channels::Upstream::heard() {
  channels_.hub_.heard(channels_.loop_.now(), id_);
}

void Channels::Upstream::depart() {
  channels_.dials_.release_slot();
  channels_.upstreams_.erase(id_);
}

// ---- its server's health ----

void Channels::Upstream::watch_health() {
  if (is_lost() || !http2().can_open())
    return health_timer_.arm(channels_.loop_.now() + kHealthDelay);
  health_.emplace();
  health_status_.reset();
  health_stream_ = http2().open(wire::GrpcHealth::request(scheme_, authority_), false, nullptr);
  http2().send_data(*health_stream_, wire::GrpcHealth::request_body(), true);
  touch();
}

void Channels::Upstream::told_of_health(std::string_view bytes) {
  const wire::GrpcHealth::Said said = health_->feed(bytes);
  if (said == wire::GrpcHealth::Said::nothing) return;
  if (said == wire::GrpcHealth::Said::nonsense) {
    return http2().reset(*health_stream_, wire::kHttp2Cancel);
  }
  const bool serves = said == wire::GrpcHealth::Said::serves;
  channels_.hub_.serving(channels_.loop_.now(), id_, serves, channels_.actions_);
  channels_.pump();
}

// A server that does not know the service is taken to be well, as gRPC's clients take it.
void Channels::Upstream::health_ended(std::optional<channel::GrpcCode> status) {
  health_stream_ = nullptr;
  if (is_lost()) return;
  const bool unknown = status == channel::GrpcCode::unimplemented;
  channels_.hub_.serving(channels_.loop_.now(), id_, unknown, channels_.actions_);
  if (!unknown) health_timer_.arm(channels_.loop_.now() + kHealthDelay);
  channels_.pump();
}

// ---- its calls and its end ----

// What the policy has let go of may hold its place until its end is framed.
void Channels::Upstream::flushed() {
  if (later_.empty() || is_lost() || !http2().can_open()) return;
  for (const StreamId id : std::exchange(later_, {})) {
    Call* call = channels_.find_call(id);
    const bool waits = call != nullptr && call->upstream == this && call->to == nullptr;
    if (waits) channels_.send_request(*call, *this);
  }
}

void Channels::Upstream::expect_close(std::string why) {
  stage_ = Stage::closing;
  why_closed_ = std::move(why);
}

std::string Channels::Upstream::why_lost() const {
  if (!why_closed_.empty()) return why_closed_;
  return authority_ + ": " + (why().empty() ? "the connection was closed" : why());
}

void Channels::Upstream::close() {
  stage_ = Stage::lost;
  http2().close(wire::kHttp2NoError, {});
  flush();  // ends its streams
  give_up();
}

void Channels::Upstream::lost() {
  const TimePoint now = channels_.loop_.now();
  const std::string text = why_lost();
  const Stage was = std::exchange(stage_, Stage::lost);
  if (was == Stage::connected) channels_.hub_.lost(now, id_, text, channels_.actions_);
  if (was == Stage::connecting) channels_.hub_.dial_failed(now, id_, text, channels_.actions_);
  http2().end(wire::kHttp2InternalError);
  for (const StreamId id : std::exchange(later_, {})) {
    Call* call = channels_.find_call(id);
    const bool waits = call != nullptr && call->upstream == this && call->to == nullptr;
    if (waits) channels_.upstream_closed(*call, wire::kHttp2RefusedStream, true);
  }
  if (channels_.hub_.channel(id_) != nullptr) {
    channels_.hub_.closed(now, id_, channels_.actions_);
  }
  channels_.pump();
}

}  // namespace berth::broker
