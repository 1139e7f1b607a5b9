// The calls of Channels: what passes between a local stream and the upstream stream that carries
// it, and what becomes of either if the other fails.
#include <fmt/format.h>

#include <utility>

#include "base/check.h"
#include "base/log.h"
#include "broker/channel_peers.h"
#include "wire/grpc_call.h"

namespace berth::broker {

using channel::GrpcCode;
using wire::Http2Headers;
using wire::Http2Stream;

Channels::Call::Call(Client& its_client, Http2Stream& stream)
    : pool(its_client.pool()), client(its_client), from(stream) {}

Channels::Call* Channels::find_call(StreamId id) const {
  if (id.index() >= calls_.size()) return nullptr;
  Call* call = calls_[id.index()];
  return call != nullptr && call->id == id ? call : nullptr;
}

// ---- the request ----

void Channels::begin_call(Client& client, Http2Stream& from, Http2Headers&& request, bool end) {
  auto* call = new Call(client, from);
  from.owner = call;  // which frees it in end_call()
  call->grpc = wire::is_grpc(request);
  call->request_ended = call->request_whole = end;
  const TimePoint now = loop_.now();
  TimePoint until = kNever;
  if (const wire::Http2Field* timeout = request.find("grpc-timeout")) {
    if (const auto patience = wire::parse_grpc_timeout(timeout->value)) until = now + *patience;
  }
  const channel::Pool* const pool = hub_.pool(call->pool);
  if (pool != nullptr && program_of(call->pool).logs_calls) {
    call->record = std::make_unique<AccessRecord>(now, pool->policy().key, request);
  }
  call->request = std::move(request);
  if (some_compress_) begin_recoding(*call);
  call->id = hub_.open_stream(now, call->pool, until, actions_);
  if (calls_.size() <= call->id.index()) calls_.resize(call->id.index() + 1);
  calls_[call->id.index()] = call;
  pump();
}

// The server is told what a call that has waited has left.
void Channels::shorten_timeout(Http2Headers& request, TimePoint until) const {
  if (until == kNever) return;
  const Duration left = until - loop_.now();
  const auto asked = wire::parse_grpc_timeout(request.find("grpc-timeout")->value);
  if (left < *asked) request.set("grpc-timeout", wire::format_grpc_timeout(left));
}

void Channels::send_request(Call& call, Upstream& upstream) {
  wire::Http2Connection& http2 = upstream.http2();
  call.upstream = &upstream;
  call.attempt_sent = 0;
  upstream.touch();
  if (!http2.can_open()) {
    if (http2.is_closing()) return upstream_closed(call, wire::kHttp2RefusedStream, true);
    return upstream.open_later(call.id);
  }
  const Program& program = program_of(call.pool);
  call.keeps = call.keeps && call.body.size() <= program.retry_buffer;
  Http2Headers request = std::move(call.request);
  if (call.keeps) call.request = request.copy();  // which takes no more than it needs
  request.set(":scheme", program.scheme, Http2Headers::Text::outlives);
  request.set(":authority", upstream.authority(), Http2Headers::Text::outlives);
  shorten_timeout(request, hub_.stream(call.id)->until);
  const bool ends_with_body = call.request_whole && call.trailers.empty();
  call.to = http2.open(std::move(request), ends_with_body && call.body.empty(), &call);
  BERTH_CHECK(call.to != nullptr, "it can open a stream");
  if (call.record) {
    const channel::Channel* const channel = hub_.channel(upstream.id());
    call.record->sent(loop_.now(), channel->subchannel->address);
  }
  if (!call.body.empty()) http2.send_data(*call.to, call.body, ends_with_body);
  if (!call.trailers.empty()) http2.send_trailers(*call.to, call.trailers.copy());
  if (!call.keeps) call.body = {};
}

void Channels::more_request(Call& call, std::string_view bytes, bool end) {
  call.request_ended = call.request_ended || end;
  if (call.record) call.record->request_bytes(bytes.size());
  if (call.to == nullptr && !call.id.valid()) {  // it has been answered without them
    call.client.http2().consume(call.from, bytes.size());
    return;
  }
  if (encodes_request(call)) return encode_request(call, bytes);
  pass_request(call, bytes, end);
}

void Channels::pass_request(Call& call, std::string_view bytes, bool end) {
  call.request_whole = call.request_whole || end;
  if (call.to != nullptr && call.keeps &&
      call.body.size() + bytes.size() > program_of(call.pool).retry_buffer) {
    call.keeps = false;
    call.body = {};
    call.request.clear();
  }
  if (call.keeps || call.to == nullptr) call.body += bytes;
  if (call.to == nullptr) return;
  call.upstream->http2().send_data(*call.to, bytes, end);
  call.upstream->touch();
}

void Channels::request_trailers(Call& call, Http2Headers&& trailers) {
  call.request_ended = true;
  const bool goes_on = call.to != nullptr || call.id.valid();
  if (goes_on && encodes_request(call)) {
    call.recoding->request_trailers = std::move(trailers);
    return encode_request(call, {});
  }
  pass_trailers(call, std::move(trailers));
}

void Channels::pass_trailers(Call& call, Http2Headers&& trailers) {
  call.request_whole = true;
  if (call.to != nullptr) {
    call.upstream->http2().send_trailers(*call.to, trailers.copy());
    call.upstream->touch();
  }
  call.trailers = std::move(trailers);
}

// An attempt may send again what the client was credited for.
void Channels::request_sent(Call& call, size_t bytes) {
  call.attempt_sent += bytes;
  if (call.attempt_sent <= call.credited) return;
  const uint64_t more = call.attempt_sent - std::exchange(call.credited, call.attempt_sent);
  if (encodes_request(call)) return credit_request(call);
  call.client.http2().consume(call.from, more);
  call.client.touch();
}

// ---- the response ----

void Channels::response(Call& call, Http2Headers&& headers, bool end) {
  if (end) {
    const auto status = wire::grpc_status_of(headers);
    const channel::GrpcCodes codes = hub_.pool(call.pool)->policy().retry.codes;
    const bool worth_it = status && channel::contains(codes, *status);
    if (worth_it && retry(call, {.unseen = false, .code = *status})) return;
  }
  call.response_begun = true;
  call.response_ended = end;
  if (call.record) call.record->response(headers);
  call.keeps = false;
  call.body = {};
  call.request.clear();
  if (call.recoding != nullptr && !end) begin_answer(call, headers);
  call.client.http2().respond(call.from, std::move(headers), end);
}

void Channels::upstream_closed(Call& call, uint32_t error, bool unseen) {
  const Upstream& upstream = *std::exchange(call.upstream, nullptr);
  call.to = nullptr;
  if (call.response_ended) {
    stop_request(call);
    return finish(call);
  }
  if (decodes_answer(call) && call.recoding->whole) return finish(call);  // its rest is here
  const bool lost = upstream.is_lost();
  const GrpcCode code = lost ? GrpcCode::unavailable : wire::grpc_code_of_reset(error);
  if (retry(call, {unseen, code})) return;
  const std::string why = lost
                              ? upstream.why_lost()
                              : fmt::format("{}: the server reset the call: {}",
                                            upstream.authority(), wire::name_of_http2_error(error));
  answer(call, code, why);
  finish(call);
}

// Whether there will be another attempt.
bool Channels::retry(Call& call, channel::Failure failure) {
  if (!call.id.valid()) return false;
  const bool may = call.keeps && !call.response_begun;
  if (!hub_.stream_failed(loop_.now(), call.id, failure, may, actions_)) return false;
  leave_upstream(call);
  pump();
  return true;
}

void Channels::leave_upstream(Call& call) {
  Upstream* upstream = std::exchange(call.upstream, nullptr);
  Http2Stream* to = std::exchange(call.to, nullptr);
  if (to == nullptr) return;
  to->owner = nullptr;
  upstream->http2().reset(*to, wire::kHttp2Cancel);
  upstream->touch();
}

// The client hears how its call ended, in place of a response or of the rest of it.
void Channels::answer(Call& call, GrpcCode code, std::string_view text) {
  wire::Http2Connection& http2 = call.client.http2();
  if (!call.response_begun) {
    http2.respond(call.from, wire::failed_answer(call.grpc, code, text), true);
  } else if (call.grpc) {
    http2.send_trailers(call.from, wire::failed_trailers(code, text));
  } else {
    http2.reset(call.from, wire::kHttp2InternalError);
  }
  call.response_begun = call.response_ended = true;
  if (call.record) call.record->answered(code, text);
  stop_request(call);
  call.client.touch();
}

// What is left of a request whose response is complete is of no use (RFC 9113, section 8.1).
void Channels::stop_request(Call& call) {
  if (call.request_ended) return;
  call.client.http2().reset(call.from, wire::kHttp2NoError);
  call.client.touch();
}

// ---- the end ----

void Channels::client_closed(Call& call) {
  leave_upstream(call);
  end_call(call);
}

// For the hub. What still waits of the request is of no use.
void Channels::finish(Call& call) {
  if (!call.id.valid()) return;
  call.keeps = false;
  call.request.clear();
  call.body = {};
  if (call.recoding != nullptr) drop_request_rest(call);
  calls_[call.id.index()] = nullptr;
  hub_.end_stream(loop_.now(), std::exchange(call.id, {}), actions_);
  pump();
}

void Channels::end_call(Call& call) {
  finish(call);
  if (call.record) write_line(call);
  if (call.recoding) stop_recoding(call);
  delete &call;
}

void Channels::write_line(const Call& call) {
  if (call.response_ended) call.record->over();
  log_access(call.record->fields(loop_.now(), call.client.program()));
}

}  // namespace berth::broker
