// What goes to the peer.
#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/limits.h"
#include "wire/http2_state.h"

namespace berth::wire {
namespace {

// Before the peer is told, so much of a window is consumed: more often would cost frames, more
// rarely would stall it.
constexpr uint32_t kWindowParts = 2;
// Of data that a peer may answer with a frame of its own.
constexpr uint32_t kAnsweredBytes = 256;
// More memory than that is given back.
constexpr size_t kKeptAnswerBytes = 1024;
// Informational responses of a stream that wait to be framed. They may be left out (RFC 9110,
// section 15.2).
constexpr size_t kMaxInformational = 16;

}  // namespace

// ---- what drivers give ----

Http2Stream* Http2Connection::State::open(Http2Headers&& headers, bool end, void* owner) {
  BERTH_CHECK(role_ == Role::client, "clients open streams");
  if (is_closing() || room() == 0) return nullptr;
  Record* record = make_record(static_cast<int32_t>(next_id_));
  if (record == nullptr) return nullptr;
  next_id_ += 2;
  const Http2Field* method = headers.find(":method");
  record->owner = owner;
  record->announced = true;
  record->no_body = method != nullptr && method->value == "HEAD";
  record->output = Output::headers;
  record->end = end ? End::headers : End::open;
  record->headers = std::move(headers);
  pursue(*record);
  return record;
}

void Http2Connection::State::inform(Http2Stream& stream, Http2Headers&& headers) {
  auto& record = static_cast<Record&>(stream);
  BERTH_CHECK(role_ == Role::server, "servers inform");
  if (record.life != Life::live || stage_ != Stage::open) return;
  BERTH_CHECK(record.output == Output::nothing, "informational responses come before the response");
  if (record.informational.size() == kMaxInformational) return;
  record.informational.push_back(std::move(headers));
  pursue(record);
}

void Http2Connection::State::respond(Http2Stream& stream, Http2Headers&& headers, bool end) {
  auto& record = static_cast<Record&>(stream);
  BERTH_CHECK(role_ == Role::server, "servers respond");
  if (record.life != Life::live || stage_ != Stage::open) return;
  BERTH_CHECK(record.output == Output::nothing, "a request has one response");
  record.headers = std::move(headers);
  record.output = Output::headers;
  record.end = end ? End::headers : End::open;
  pursue(record);
}

void Http2Connection::State::send_data(Http2Stream& stream, std::string_view bytes, bool end) {
  auto& record = static_cast<Record&>(stream);
  if (record.life != Life::live || stage_ != Stage::open) return;
  BERTH_CHECK(record.output != Output::nothing, "data comes after headers");
  BERTH_CHECK(record.end == End::open, "nothing comes after the end");
  record.queue.push(bytes);
  if (end) record.end = End::data;
  pursue(record);
}

void Http2Connection::State::send_trailers(Http2Stream& stream, Http2Headers&& trailers) {
  auto& record = static_cast<Record&>(stream);
  if (record.life != Life::live || stage_ != Stage::open) return;
  BERTH_CHECK(record.output != Output::nothing, "trailers come after headers");
  BERTH_CHECK(record.end == End::open, "nothing comes after the end");
  record.trailers = std::move(trailers);
  record.end = End::trailers;
  pursue(record);
}

void Http2Connection::State::reset(Http2Stream& stream, uint32_t error) {
  auto& record = static_cast<Record&>(stream);
  if (record.life != Life::live || stage_ != Stage::open) return;
  if (record.output == Output::ended && record.peer_ended) return;  // it is about to be closed
  if (error == kHttp2NoError && record.end != End::open && record.output != Output::ended) {
    record.resets_at_end = true;
    if (!record.peer_ended) record.input = Input::ignored;
    return;
  }
  reset_record(record, error);
}

void Http2Connection::State::consume(Http2Stream& stream, size_t bytes) {
  auto& record = static_cast<Record&>(stream);
  if (stage_ != Stage::open || record.life == Life::closing) return;
  BERTH_CHECK(bytes <= record.outstanding, "no more is consumed than has come");
  record.outstanding -= static_cast<uint32_t>(bytes);
  consumed_ += static_cast<int64_t>(bytes);
  note_consumed(record, bytes);
}

// ---- turns ----

// Puts a stream where what it has to frame next waits; if that has to wait for its window, nowhere.
void Http2Connection::State::pursue(Record& record) {
  if (&record == framing_ || record.life != Life::live) return;
  const bool in_body = record.output == Output::body;
  const bool has_data = record.queue.size() > 0;
  Turns* turns = nullptr;
  if (record.output == Output::headers || !record.informational.empty() ||
      (in_body && !has_data && record.end != End::open)) {
    turns = &heading_;
  } else if (in_body && has_data && record.window > 0) {
    turns = &sending_;
  }
  if (turns == nullptr || turns->contains(record)) return;
  if (sending_.contains(record)) sending_.remove(record);
  turns->push_back(record);
}

// Frames what is next. False: nothing may go.
bool Http2Connection::State::frame_next() {
  if (!answers_.empty()) {
    output_.append(answers_);
    answers_.clear();
    if (answers_.capacity() > kKeptAnswerBytes) answers_.shrink_to_fit();
  }
  if (frame_credit()) return true;
  if (Record* record = resetting_.front()) {
    frame_reset(*record);
  } else if (Record* head = heading_.front()) {
    heading_.remove(*head);
    frame(*head);
  } else if (Record* sender = window_ > 0 ? sending_.front() : nullptr) {
    sending_.remove(*sender);
    frame(*sender);
  } else {
    return false;
  }
  return true;
}

// As much of a stream as one turn gives it: headers, a frame of data, and its end.
void Http2Connection::State::frame(Record& record) {
  framing_ = &record;
  for (const Http2Headers& headers : std::exchange(record.informational, {})) {
    if (!frame_headers(record, headers, false)) break;
  }
  if (record.output == Output::headers && record.life == Life::live) {
    const bool end = record.end == End::headers;
    // None of its bytes is in the output yet.
    record.headers_sent_at = output_.appended() + 1;
    if (role_ == Role::client) last_framed_ = record.id;
    if (frame_headers(record, record.headers, end)) {
      record.output = end ? Output::ended : Output::body;
      record.headers.clear();
    } else {
      record.headers_sent_at = 0;
    }
  }
  if (record.output == Output::body && record.life == Life::live) frame_data(record);
  if (record.output == Output::body && record.life == Life::live) frame_end(record);
  framing_ = nullptr;
  if (record.life != Life::live) return;
  if (record.output != Output::ended) {
    pursue(record);
  } else if (record.peer_ended) {
    close_record(record, kHttp2NoError);
  } else if (record.resets_at_end) {
    reset_record(record, kHttp2NoError);
  }
}

// False: they cannot be, and the stream is reset.
bool Http2Connection::State::frame_headers(Record& record, const Http2Headers& headers, bool end) {
  const std::optional<std::string_view> encoded = encoder_.encode(headers);
  if (!encoded.has_value()) {
    reset_record(record, kHttp2InternalError);
    return false;
  }
  std::string_view block = *encoded;
  Http2FrameHead head{.type = Http2FrameType::headers, .stream = record.id};
  if (end) head.flags = http2_flag::kEndStream;
  do {
    const std::string_view part = block.substr(0, kHttp2FrameBytes);
    block.remove_prefix(part.size());
    head.length = static_cast<uint32_t>(part.size());
    if (block.empty()) head.flags |= http2_flag::kEndHeaders;
    output_.append(make_http2_head(head));
    output_.append(part);
    head.type = Http2FrameType::continuation;
    head.flags = 0;
  } while (!block.empty());
  return true;
}

void Http2Connection::State::frame_data(Record& record) {
  const int64_t window = std::min<int64_t>(window_, record.window);
  const size_t size = std::min<size_t>(record.queue.size(), kHttp2FrameBytes);
  if (size == 0 || window <= 0) return;
  const auto part = static_cast<uint32_t>(std::min<int64_t>(window, static_cast<int64_t>(size)));
  const bool last = part == record.queue.size() && record.end == End::data;
  output_.append(make_http2_head({.length = part,
                                  .type = Http2FrameType::data,
                                  .flags = last ? http2_flag::kEndStream : uint8_t{0},
                                  .stream = record.id}));
  record.queue.move_to(output_, part);
  record.window -= static_cast<int32_t>(part);
  window_ -= part;
  // The peer may answer each with two WINDOW_UPDATE, and ping to learn how fast the path is; some
  // answer each piece that they read of it.
  if (unrest_ > 0) unrest_ -= std::min<int64_t>(unrest_, 3 + part / kAnsweredBytes);
  if (last) record.output = Output::ended;
  events_.sent(record, part);
}

// Behind the last of the data.
void Http2Connection::State::frame_end(Record& record) {
  if (record.queue.size() > 0 || record.end == End::open) return;
  if (record.end == End::trailers) {
    if (!frame_headers(record, record.trailers, true)) return;
    record.trailers.clear();
  } else {
    output_.append(make_http2_head(
        {.type = Http2FrameType::data, .flags = http2_flag::kEndStream, .stream = record.id}));
  }
  record.output = Output::ended;
}

// ---- resets and credit ----

// A request that was not sent needs none.
void Http2Connection::State::frame_reset(Record& record) {
  if (role_ == Role::server || record.headers_sent_at != 0) {
    output_.append(make_http2_rst_stream(record.id, record.error));
    // A server's headers, trailers and reset may be on their way.
    if (role_ == Role::client) unrest_ = std::max<int64_t>(unrest_ - 3, -int64_t{kMaxHttp2Unrest});
  }
  close_record(record, record.error);
}

void Http2Connection::State::note_consumed(Record& record, size_t bytes) {
  if (record.peer_ended || record.life != Life::live) return;
  record.consumed += static_cast<uint32_t>(bytes);
  const bool enough = record.consumed >= settings_.stream_window / kWindowParts;
  if (enough && record.consumed > 0 && !crediting_.contains(record)) crediting_.push_back(record);
}

bool Http2Connection::State::owes_credit() const {
  return !crediting_.empty() ||
         (consumed_ > 0 && consumed_ >= settings_.connection_window / kWindowParts);
}

// False: the peer is to be told of none.
bool Http2Connection::State::frame_credit() {
  if (!owes_credit()) return false;
  if (Record* record = crediting_.front()) {
    crediting_.remove(*record);
    const uint32_t size = std::exchange(record->consumed, 0);
    // Of one that has ended, it would be credit for nothing.
    if (!record->peer_ended) output_.append(make_http2_window_update(record->id, size));
    return true;
  }
  const auto size = static_cast<uint32_t>(std::min<int64_t>(consumed_, kHttp2LargestWindow));
  consumed_ -= size;
  peer_window_ += size;
  output_.append(make_http2_window_update(0, size));
  return true;
}

}  // namespace berth::wire
