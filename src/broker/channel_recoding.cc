// The calls of Channels whose pool compresses towards its servers.
#include "broker/channel_recoding.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/limits.h"
#include "base/status_text.h"
#include "broker/channel_peers.h"
#include "wire/grpc_call.h"
#include "wire/grpc_encoding.h"

namespace berth::broker {

using channel::GrpcCode;
using wire::GrpcRecoder;
using wire::Http2Headers;

namespace {

// What is queued goes in such pieces, so that the memory of those that are sent is free.
constexpr size_t kPiece = size_t{64} << 10;

// Of one client's answers: beyond kMaxHeldMessageBytes each of its streams gets one message at a
// time, which for 64 of them may be of the longest.
constexpr size_t kMostDecoded = 4 * kMaxHeldMessageBytes;

void send_pieces(wire::Http2Connection& http2, wire::Http2Stream& stream, std::string_view bytes) {
  for (; !bytes.empty(); bytes.remove_prefix(std::min(kPiece, bytes.size()))) {
    http2.send_data(stream, bytes.substr(0, kPiece), false);
  }
}

absl::Status unread_by_client() {
  return absl::ResourceExhaustedError("its client leaves too much of other answers unread");
}

}  // namespace

void Channels::begin_recoding(Call& call) {
  const Program& program = program_of(call.pool);
  const Compression compression = program.compression;
  if (compression == Compression::none || !wire::has_grpc_messages(call.request)) return;
  const bool encodes = !wire::is_compressed(call.request);
  const bool decodes = !wire::accepts(compression, call.request);
  if (!encodes && !decodes) return;
  Client& client = call.client;
  call.recoding =
      std::make_unique<Recoding>(compression, program.local.stream_window, client.answer_hold());
  call.recoding->decodes = decodes;
  if (encodes) {
    call.recoding->request.emplace(compression, GrpcRecoder::Task::compress, client.request_hold());
    wire::set_compression(compression, call.request);
  }
  if (decodes) wire::add_accepted(compression, call.request);
}

void Channels::stop_recoding(Call& call) {
  call.client.forget(call);
  const size_t counted = call.recoding->counted;
  call.client.recodes(-counted);
  recoding_bytes_ -= counted;
}

// ---- the request ----

bool Channels::encodes_request(const Call& call) {
  return call.recoding != nullptr && call.recoding->request.has_value();
}

void Channels::encode_request(Call& call, std::string_view bytes) {
  Recoding& it = *call.recoding;
  it.owed += bytes.size();
  if (it.request->work() == nullptr) return feed_request(call, bytes);
  it.request_rest += bytes;
  count_held(call);
}

// Takes all, but for what waits for a worker.
void Channels::feed_request(Call& call, std::string_view bytes) {
  Recoding& it = *call.recoding;
  std::string out;
  const absl::StatusOr<size_t> taken = it.request->feed(bytes, SIZE_MAX, out);
  absl::Status status = taken.status();
  const bool waits = it.request->work() != nullptr;
  const bool end = call.request_ended && !waits;
  if (status.ok() && end) status = it.request->finish(out);
  if (!status.ok()) return recoding_failed(call, "berthd cannot compress the request", status);
  it.request_rest = bytes.substr(*taken);
  it.made += out.size();
  const bool ends_with_body = end && it.request_trailers.empty();
  if (!out.empty() || ends_with_body) pass_request(call, out, ends_with_body);
  if (end && !ends_with_body) pass_trailers(call, std::move(it.request_trailers));
  if (waits) {
    long_messages_.compute(call.client.number(), it.request->work(), it.owner(),
                           [this, &call] { request_worked(call); });
  }
  count_held(call);
  credit_request(call);
}

void Channels::drop_request_rest(Call& call) {
  call.recoding->request_rest = {};
  count_held(call);
}

void Channels::request_worked(Call& call) {
  Recoding& it = *call.recoding;
  const bool goes_on = call.to != nullptr || call.id.valid();
  std::string out;
  const absl::Status status = it.request->take_work(out);
  if (!goes_on) {  // it has been answered without the rest
    count_held(call);
    call.client.http2().consume(call.from, std::exchange(it.owed, 0));
    return call.client.touch();
  }
  if (!status.ok()) return recoding_failed(call, "berthd cannot compress the request", status);
  it.made += out.size();
  pass_request(call, out, false);
  feed_request(call, std::exchange(it.request_rest, {}));
}

void Channels::credit_request(Call& call) {
  Recoding& it = *call.recoding;
  const bool waits = it.request->work() != nullptr;
  if (waits || it.owed == 0 || it.made - call.credited > it.buffer / 2) return;
  call.client.http2().consume(call.from, std::exchange(it.owed, 0));
  call.client.touch();
}

void Channels::count_held(Call& call) {
  Recoding& it = *call.recoding;
  const size_t before = std::exchange(it.counted, it.bytes());
  call.client.recodes(it.counted - before);
  recoding_bytes_ += it.counted - before;
}

// ---- the answer ----

bool Channels::decodes_answer(const Call& call) {
  return call.recoding != nullptr && call.recoding->answer.has_value();
}

void Channels::begin_answer(Call& call, Http2Headers& headers) {
  Recoding& it = *call.recoding;
  if (!it.decodes || !wire::is_compressed_by(it.compression, headers)) return;
  it.answer.emplace(it.compression, GrpcRecoder::Task::decompress, it.hold);
  wire::set_compression(Compression::none, headers);
}

void Channels::more_answer(Call& call, std::string_view bytes, bool end) {
  call.recoding->rest += bytes;
  call.recoding->whole = end;
  decode_answer(call);
}

void Channels::answer_trailers(Call& call, Http2Headers&& trailers) {
  call.recoding->trailers = std::move(trailers);
  call.recoding->whole = true;
  decode_answer(call);
}

// As much of what waits as there is room for at the client.
void Channels::decode_answer(Call& call) {
  Recoding& it = *call.recoding;
  wire::Http2Connection& http2 = call.client.http2();
  if (it.pause == Recoding::Pause::room) call.client.forget(call);
  it.hold.release(std::exchange(it.beyond, 0));
  if (call.response_ended) return;
  std::string_view rest = it.rest;
  while (!rest.empty() && it.answer->work() == nullptr && http2.queued(call.from) < it.buffer) {
    const bool full = it.hold.is_full();
    if (full && !it.answer->holds()) {
      // Who has nothing to read may be the one whom its client reads.
      if (http2.queued(call.from) > 0) {
        call.client.decode_later(call);
        break;
      }
      if (it.hold.held() >= kMostDecoded) {
        return answer_failed(call, unread_by_client());
      }
    }
    std::string out;
    // What is held goes only if its message comes to its end, and no other begins meanwhile.
    const absl::StatusOr<size_t> taken = it.answer->feed(rest, full ? 1 : it.buffer, out);
    if (!taken.ok()) return answer_failed(call, taken.status());
    rest.remove_prefix(*taken);
    send_pieces(http2, call.from, out);
    call.client.touch();
  }
  const size_t taken = it.rest.size() - rest.size();
  it.rest.erase(0, taken);
  if (call.to != nullptr && taken > 0) {
    call.upstream->http2().consume(*call.to, taken);
    call.upstream->touch();
  }
  const size_t queued = http2.queued(call.from);
  it.beyond = queued - std::min(queued, it.buffer);
  it.hold.add(it.beyond);
  count_held(call);
  if (it.answer->work() != nullptr) return begin_decoding(call);
  if (it.whole && it.rest.empty()) end_answer(call);
}

// A message that takes long. There must be room for it when it is begun, and few are at a time,
// since it may become as long as a message may be.
void Channels::begin_decoding(Call& call) {
  Recoding& it = *call.recoding;
  if (it.pause != Recoding::Pause::none || call.response_ended) return;
  if (it.hold.is_full()) {
    if (call.client.http2().queued(call.from) > 0) return call.client.decode_later(call);
    if (it.hold.held() >= kMostDecoded) return answer_failed(call, unread_by_client());
  }
  if (!call.client.may_decode(call)) return;
  it.pause = Recoding::Pause::result;
  long_messages_.compute(call.client.number(), it.answer->work(), it.owner(),
                         [this, &call] { answer_worked(call); });
}

void Channels::answer_worked(Call& call) {
  Recoding& it = *call.recoding;
  Client& client = call.client;
  it.pause = Recoding::Pause::none;
  std::string out;
  const absl::Status status = it.answer->take_work(out);
  if (!call.response_ended && !status.ok()) {
    answer_failed(call, status);
  } else if (!call.response_ended) {
    send_pieces(client.http2(), call.from, out);
    client.touch();
    decode_answer(call);
  }
  client.decoded();
}

void Channels::end_answer(Call& call) {
  Recoding& it = *call.recoding;
  wire::Http2Connection& http2 = call.client.http2();
  std::string out;
  const bool failed = wire::grpc_status_of(it.trailers).value_or(GrpcCode::ok) != GrpcCode::ok;
  const absl::Status finished = it.answer->finish(out);
  if (!finished.ok() && !failed) return answer_failed(call, finished);
  call.response_ended = true;
  http2.send_data(call.from, out, it.trailers.empty());
  if (!it.trailers.empty()) http2.send_trailers(call.from, std::move(it.trailers));
  call.client.touch();
  if (call.upstream == nullptr) stop_request(call);
}

// ---- what waits for room ----

void Channels::Client::decode_later(Call& call) {
  if (std::exchange(call.recoding->pause, Recoding::Pause::room) == Recoding::Pause::none) {
    to_decode_.push_back(&call);
  }
}

void Channels::Client::forget(Call& call) {
  switch (std::exchange(call.recoding->pause, Recoding::Pause::none)) {
    case Recoding::Pause::none: break;
    case Recoding::Pause::room: std::erase(to_decode_, &call); break;
    case Recoding::Pause::worker: std::erase(await_workers_, &call); break;
    case Recoding::Pause::result: decoded(); break;
  }
}

bool Channels::Client::may_decode(Call& call) {
  if (decoding_ < kMaxWorkingRecoders) return ++decoding_ > 0;
  call.recoding->pause = Recoding::Pause::worker;
  await_workers_.push_back(&call);
  return false;
}

void Channels::Client::decoded() {
  --decoding_;
  while (decoding_ < kMaxWorkingRecoders && !await_workers_.empty()) {
    Call* const next = await_workers_.front();
    await_workers_.pop_front();
    next->recoding->pause = Recoding::Pause::none;
    channels_.begin_decoding(*next);
  }
}

// It has taken something, so that there may be room. None of these ends another.
void Channels::Client::flushed() {
  if (answer_hold_.is_full()) return;
  for (Call* call : std::exchange(to_decode_, {})) {
    call->recoding->pause = Recoding::Pause::none;
    channels_.decode_answer(*call);
  }
}

// ---- failures ----

void Channels::answer_failed(Call& call, const absl::Status& status) {
  std::string what = "berthd cannot decode the answer";
  if (call.upstream != nullptr) what = call.upstream->authority() + ": " + what;
  recoding_failed(call, what, status);
}

void Channels::recoding_failed(Call& call, std::string_view what, const absl::Status& status) {
  leave_upstream(call);
  if (call.response_ended) {
    stop_request(call);
  } else {
    // The codes of statuses are those of gRPC.
    answer(call, static_cast<GrpcCode>(status.code()),
           fmt::format("{}: {}", what, text_of(status)));
  }
  finish(call);
}

}  // namespace berth::broker
