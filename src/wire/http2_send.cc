// What goes to the peer.
#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/limits.h"
#include "wire/http2_state.h"

namespace berth::wire {
namespace {

// Before nghttp2 is told, so much of a window is gathered.
constexpr uint32_t kWindowParts = 8;

uint8_t* bytes_of(std::string_view text) {
  return const_cast<uint8_t*>(reinterpret_cast<const uint8_t*>(text.data()));
}

uint8_t end_flag(bool end) {
  return end ? NGHTTP2_FLAG_END_STREAM : NGHTTP2_FLAG_NONE;
}

}  // namespace

bool Http2Connection::State::is_live(const Record& record) {
  return !record.is_reset;
}

bool Http2Connection::State::is_unseen(const Record& record, uint32_t error) const {
  if (role_ != Role::client || error == kHttp2NoError || record.input != Input::nothing) {
    return false;
  }
  return record.headers_sent_at == 0 || record.headers_sent_at > output_.sent() ||
         (error == kHttp2RefusedStream && !record.reset_by_us);
}

std::span<const nghttp2_nv> Http2Connection::State::pairs_of(const Http2Headers& headers,
                                                             uint8_t flags) {
  pairs_.clear();
  for (const Http2Field& field : headers.fields()) {
    const auto never = static_cast<uint8_t>(field.never_index ? NGHTTP2_NV_FLAG_NO_INDEX : 0);
    pairs_.push_back({bytes_of(field.name), bytes_of(field.value), field.name.size(),
                      field.value.size(), static_cast<uint8_t>(flags | never)});
  }
  return pairs_;
}

// ---- headers ----

uint32_t Http2Connection::State::room() const {
  const uint32_t theirs =
      nghttp2_session_get_remote_settings(session_, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
  const size_t most = std::min(theirs, settings_.max_concurrent_streams);
  return static_cast<uint32_t>(most - std::min(most, records_.size()));
}

Http2Stream* Http2Connection::State::open(Http2Headers&& headers, bool end, void* owner) {
  BERTH_CHECK(role_ == Role::client, "clients open streams");
  if (is_closing() || room() == 0) return nullptr;
  Record* record = make_record(0);
  if (record == nullptr) return nullptr;
  const auto pairs =
      pairs_of(headers, NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE);
  const int32_t id = nghttp2_submit_headers(session_, end_flag(end), -1, nullptr, pairs.data(),
                                            pairs.size(), record);
  if (id < 0) {
    free_record(*record);
    return nullptr;
  }
  const Http2Field* method = headers.find(":method");
  record->id = id;
  record->owner = owner;
  record->announced = true;
  record->no_body = method != nullptr && method->value == "HEAD";
  record->output = Output::headers_given;
  record->end_given = end;
  record->headers = std::move(headers);
  return record;
}

void Http2Connection::State::inform(Http2Stream& stream, const Http2Headers& headers) {
  auto& record = static_cast<Record&>(stream);
  BERTH_CHECK(role_ == Role::server, "servers inform");
  if (!is_live(record) || stage_ != Stage::open) return;
  BERTH_CHECK(record.output == Output::nothing, "informational responses come before the response");
  const auto pairs = pairs_of(headers, NGHTTP2_NV_FLAG_NONE);
  ++record.informed;
  require(nghttp2_submit_headers(session_, NGHTTP2_FLAG_NONE, record.id, nullptr, pairs.data(),
                                 pairs.size(), nullptr));
}

void Http2Connection::State::respond(Http2Stream& stream, Http2Headers&& headers, bool end) {
  auto& record = static_cast<Record&>(stream);
  BERTH_CHECK(role_ == Role::server, "servers respond");
  if (!is_live(record) || stage_ != Stage::open) return;
  BERTH_CHECK(record.output == Output::nothing, "a request has one response");
  record.headers = std::move(headers);
  record.output = Output::headers_given;
  record.end_given = end;
  const auto pairs =
      pairs_of(record.headers, NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE);
  require(nghttp2_submit_headers(session_, end_flag(end), record.id, nullptr, pairs.data(),
                                 pairs.size(), nullptr));
}

// ---- data and trailers ----

void Http2Connection::State::send_data(Http2Stream& stream, std::string_view bytes, bool end) {
  auto& record = static_cast<Record&>(stream);
  if (!is_live(record) || stage_ != Stage::open) return;
  BERTH_CHECK(record.output != Output::nothing, "data comes after headers");
  BERTH_CHECK(!record.end_given, "nothing comes after the end");
  record.queue.push(bytes);
  record.end_given = end;
  pursue(record);
}

void Http2Connection::State::send_trailers(Http2Stream& stream, Http2Headers&& trailers) {
  auto& record = static_cast<Record&>(stream);
  if (!is_live(record) || stage_ != Stage::open) return;
  BERTH_CHECK(record.output != Output::nothing, "trailers come after headers");
  BERTH_CHECK(!record.end_given, "nothing comes after the end");
  record.trailers = std::move(trailers);
  record.has_trailers = record.end_given = true;
  pursue(record);
}

void Http2Connection::State::pursue(Record& record) {
  if (record.output != Output::body || record.sends_data || record.is_reset) return;
  if (record.queue.size() > 0 || (record.end_given && !record.has_trailers)) {
    record.sends_data = true;
    const nghttp2_data_provider provider{
        .source = {.ptr = &record},
        .read_callback = [](nghttp2_session*, int32_t, uint8_t*, size_t length, uint32_t* flags,
                            nghttp2_data_source* source, void* state) {
          return static_cast<State*>(state)->on_read(*static_cast<Record*>(source->ptr), length,
                                                     *flags);
        }};
    require(nghttp2_submit_data(session_, NGHTTP2_FLAG_END_STREAM, record.id, &provider));
  } else if (record.has_trailers) {
    record.output = Output::trailers_given;
    const auto pairs =
        pairs_of(record.trailers, NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE);
    require(nghttp2_submit_headers(session_, NGHTTP2_FLAG_END_STREAM, record.id, nullptr,
                                   pairs.data(), pairs.size(), nullptr));
  }
}

ssize_t Http2Connection::State::on_read(Record& record, size_t length, uint32_t& flags) {
  const size_t size = std::min(length, record.queue.size());
  record.data_promised = true;
  flags |= NGHTTP2_DATA_FLAG_NO_COPY;
  if (size == record.queue.size()) {
    record.data_ends = true;
    flags |= NGHTTP2_DATA_FLAG_EOF;
    if (!record.end_given || record.has_trailers) flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
  }
  return static_cast<ssize_t>(size);
}

int Http2Connection::State::on_send_data(Record& record, const uint8_t* head, size_t length) {
  constexpr size_t kFrameHead = 9;
  if (output_.size() >= kMaxHttp2OutputBytes) return NGHTTP2_ERR_WOULDBLOCK;
  output_.append({reinterpret_cast<const char*>(head), kFrameHead});
  record.queue.move_to(output_, length);
  record.data_promised = false;
  if (length == 0) return kGoOn;
  // The peer may answer each with two WINDOW_UPDATE, and ping to learn how fast the path is.
  unrest_ -= std::min<uint32_t>(unrest_, 3);
  if (!record.is_reset) events_.sent(record, length);
  return kGoOn;
}

// ---- what nghttp2 has framed ----

int Http2Connection::State::on_sent(const nghttp2_frame& frame) {
  const bool end = (frame.hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
  if (frame.hd.type == NGHTTP2_HEADERS) {
    if (Record* record = find(frame.hd.stream_id)) on_headers_sent(*record, end);
  } else if (frame.hd.type == NGHTTP2_DATA) {
    Record* record = find(frame.hd.stream_id);
    if (record == nullptr || !std::exchange(record->data_ends, false)) return kGoOn;
    record->sends_data = false;
    if (end) {
      on_end_sent(*record);
    } else {
      pursue(*record);
    }
  } else if (frame.hd.type == NGHTTP2_GOAWAY && frame.goaway.error_code != kHttp2NoError) {
    const nghttp2_goaway& goaway = frame.goaway;
    std::string why(reinterpret_cast<const char*>(goaway.opaque_data), goaway.opaque_data_len);
    if (why.empty()) why = "a rule of the protocol is broken";
    said_goaway_ = true;
    goaway_why_ = why + " (" + std::string(name_of_http2_error(goaway.error_code)) + ")";
    error_ = goaway.error_code;
  }
  return kGoOn;
}

void Http2Connection::State::on_headers_sent(Record& record, bool end) {
  if (record.informed > 0) {
    --record.informed;
    return;
  }
  if (record.output == Output::headers_given) {
    // None of its bytes is in the output yet.
    record.headers_sent_at = output_.appended() + 1;
    record.headers.clear();
    record.output = Output::body;
  } else {
    record.trailers.clear();
  }
  if (end) {
    on_end_sent(record);
  } else {
    pursue(record);
  }
}

void Http2Connection::State::on_end_sent(Record& record) {
  record.output = Output::ended;
  if (record.resets_at_end && !record.peer_ended) reset_record(record, kHttp2NoError);
}

int Http2Connection::State::on_not_sent(const nghttp2_frame& frame, int error) {
  if (frame.hd.type != NGHTTP2_HEADERS || frame.headers.cat == NGHTTP2_HCAT_REQUEST) return kGoOn;
  Record* record = find(frame.hd.stream_id);
  if (record != nullptr && error != NGHTTP2_ERR_STREAM_CLOSING) {
    reset_record(*record, kHttp2InternalError);
  }
  return kGoOn;
}

// ---- resets and credit ----

void Http2Connection::State::reset(Http2Stream& stream, uint32_t error) {
  auto& record = static_cast<Record&>(stream);
  if (!is_live(record) || stage_ != Stage::open) return;
  if (error == kHttp2NoError && record.end_given && record.output != Output::ended) {
    record.resets_at_end = true;
    if (!record.peer_ended) record.input = Input::ignored;
    return;
  }
  reset_record(record, error);
}

void Http2Connection::State::reset_record(Record& record, uint32_t error) {
  if (std::exchange(record.is_reset, true)) return;
  record.reset_by_us = true;
  // What a frame was promised, it gets.
  if (!record.data_promised) record.queue.clear();
  require(nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, record.id, error));
}

void Http2Connection::State::consume(Http2Stream& stream, size_t bytes) {
  auto& record = static_cast<Record&>(stream);
  BERTH_CHECK(bytes <= record.outstanding || stage_ != Stage::open,
              "no more is consumed than has come");
  if (stage_ != Stage::open) return;
  record.outstanding -= static_cast<uint32_t>(bytes);
  credit_connection(bytes);
  if (record.peer_ended || record.is_reset || stage_ != Stage::open) return;
  record.credit += static_cast<uint32_t>(bytes);
  if (record.credit < settings_.stream_window / kWindowParts) return;
  require(nghttp2_session_consume_stream(session_, record.id, std::exchange(record.credit, 0)));
}

void Http2Connection::State::credit_connection(size_t bytes) {
  connection_credit_ += bytes;
  if (bytes == 0 || connection_credit_ < settings_.connection_window / kWindowParts) return;
  require(nghttp2_session_consume_connection(session_, std::exchange(connection_credit_, 0)));
}

size_t Http2Connection::State::queued(const Http2Stream& stream) {
  return static_cast<const Record&>(stream).queue.size();
}

size_t Http2Connection::State::held() const {
  size_t held = output_.size();
  for (const Record& record : records_) held += record.queue.size() + record.outstanding;
  return held;
}

}  // namespace berth::wire
