// What comes from the peer.
#include <algorithm>
#include <new>
#include <utility>

#include "base/check.h"
#include "base/limits.h"
#include "wire/http2_state.h"

namespace berth::wire {
namespace {

// What a stream may send before the peer has seen our SETTINGS (RFC 9113, section 6.9.2).
constexpr uint32_t kFirstWindow = 65'535;

std::string_view text_of(nghttp2_rcbuf* shared) {
  const nghttp2_vec bytes = nghttp2_rcbuf_get_buf(shared);
  return {reinterpret_cast<const char*>(bytes.base), bytes.len};
}

bool has(const nghttp2_frame_hd& head, uint8_t flag) {
  return (head.flags & flag) != 0;
}

// No body, whatever the length (RFC 9110, section 6.4.1).
bool has_no_body(int status) {
  return status == 204 || status == 304;
}

}  // namespace

// ---- records ----

Http2Connection::State::Record* Http2Connection::State::find(int32_t id) {
  if (last_ == nullptr || last_->id != id) {
    last_ = static_cast<Record*>(nghttp2_session_get_stream_user_data(session_, id));
  }
  return last_;
}

Http2Connection::State::Record* Http2Connection::State::make_record(int32_t id) {
  void* memory = arena_.allocate(sizeof(Record));
  if (memory == nullptr) return nullptr;
  Record* record = new (memory) Record;
  record->id = id;
  records_.push_back(*record);
  return record;
}

void Http2Connection::State::free_record(Record& record) {
  if (last_ == &record) last_ = nullptr;
  records_.remove(record);
  record.~Record();
  arena_.release(&record);
}

void Http2Connection::State::announce_closed(Record& record, uint32_t error) {
  record.is_reset = true;
  if (stage_ == Stage::open) credit_connection(std::exchange(record.outstanding, 0));
  if (record.announced) events_.closed(record, error, is_unseen(record, error));
}

int Http2Connection::State::on_closed(int32_t id, uint32_t error) {
  Record* record = find(id);
  if (record == nullptr) return kGoOn;
  if (incoming_ == record) incoming_ = nullptr;
  announce_closed(*record, error);
  free_record(*record);
  return kGoOn;
}

// ---- frames ----

int Http2Connection::State::on_begin_frame(const nghttp2_frame_hd& head) {
  head_ = head;
  switch (head.type) {
    case NGHTTP2_HEADERS: continuations_ = 0; return kGoOn;
    case NGHTTP2_CONTINUATION:
      if (++continuations_ <= kMaxHttp2Continuations) return kGoOn;
      fail(kHttp2EnhanceYourCalm, "a header block has too many frames");
      return kBreak;
    case NGHTTP2_DATA:
      data_left_ = has(head, NGHTTP2_FLAG_PADDED) ? SIZE_MAX : head.length;
      return head.length > 0 || has(head, NGHTTP2_FLAG_END_STREAM) ? kGoOn : count_unrest();
    case NGHTTP2_SETTINGS:
    case NGHTTP2_PING: return has(head, NGHTTP2_FLAG_ACK) ? kGoOn : count_unrest();
    default: return count_unrest();
  }
}

int Http2Connection::State::on_frame(const nghttp2_frame& frame) {
  switch (frame.hd.type) {
    case NGHTTP2_HEADERS: return on_headers_done(frame);
    case NGHTTP2_DATA:
      if (has(frame.hd, NGHTTP2_FLAG_END_STREAM)) {
        Record* record = find(frame.hd.stream_id);
        if (record != nullptr && !record->peer_ended) take_data(*record, {}, true);
      } else if (frame.hd.length == frame.data.padlen) {
        return count_unrest();
      }
      return kGoOn;
    case NGHTTP2_SETTINGS:
      if (!has(frame.hd, NGHTTP2_FLAG_ACK)) {
        events_.settings(
            nghttp2_session_get_remote_settings(session_, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS));
      }
      return kGoOn;
    case NGHTTP2_PING:
      if (has(frame.hd, NGHTTP2_FLAG_ACK)) on_pong(frame.ping.opaque_data);
      return kGoOn;
    case NGHTTP2_GOAWAY: on_goaway(frame.goaway); return kGoOn;
    default: return kGoOn;
  }
}

void Http2Connection::State::on_goaway(const nghttp2_goaway& goaway) {
  events_.goaway(goaway.last_stream_id, goaway.error_code,
                 {reinterpret_cast<const char*>(goaway.opaque_data),
                  std::min<size_t>(goaway.opaque_data_len, kMaxMessageBytes)});
}

// ---- headers ----

int Http2Connection::State::on_begin_headers(const nghttp2_frame& frame) {
  using Kind = Http2BlockCheck::Kind;
  const int32_t id = frame.hd.stream_id;
  Kind kind = Kind::trailers;
  if (frame.headers.cat == NGHTTP2_HCAT_REQUEST) {
    kind = Kind::request;
    incoming_ = make_record(id);
    if (incoming_ == nullptr) {
      fail_of(NGHTTP2_ERR_NOMEM);
      return kBreak;
    }
    nghttp2_session_set_stream_user_data(session_, id, incoming_);
    // Streams take turns, so that a large response holds up no small one (RFC 9218, section 4.2).
    const nghttp2_extpri in_turn{.urgency = NGHTTP2_EXTPRI_DEFAULT_URGENCY, .inc = 1};
    nghttp2_session_change_extpri_stream_priority(session_, id, &in_turn, 1);
  } else {
    incoming_ = find(id);
    if (role_ == Role::client && incoming_ != nullptr && incoming_->input == Input::nothing) {
      kind = Kind::response;
    }
  }
  block_.emplace(kind);
  fields_.clear();
  field_bytes_ = 0;
  malformed_ = nullptr;
  return kGoOn;
}

int Http2Connection::State::on_header(nghttp2_rcbuf* name, nghttp2_rcbuf* value, uint8_t flags) {
  if (incoming_ == nullptr || incoming_->is_reset) return kGoOn;
  const Http2Field field{text_of(name), text_of(value), (flags & NGHTTP2_NV_FLAG_NO_INDEX) != 0};
  field_bytes_ += field.name.size() + field.value.size() + 32;
  if (field_bytes_ > settings_.max_header_bytes) {
    fields_.clear();
    return kGoOn;
  }
  if (malformed_ != nullptr) return kGoOn;
  malformed_ = block_->add(field.name, field.value, nghttp2_rcbuf_is_static(name) != 0);
  if (malformed_ == nullptr) fields_.add_shared(name, value, field);
  return kGoOn;
}

int Http2Connection::State::on_headers_done(const nghttp2_frame& frame) {
  Record* record = std::exchange(incoming_, nullptr);
  if (record == nullptr) return kGoOn;
  const bool end = has(frame.hd, NGHTTP2_FLAG_END_STREAM);
  if (end) record->peer_ended = true;
  if (record->is_reset || record->input == Input::ignored) return kGoOn;
  if (field_bytes_ > settings_.max_header_bytes) {
    refuse_too_large(*record);
    return count_unrest();
  }
  if (malformed_ == nullptr) malformed_ = block_->finish();
  if (malformed_ == nullptr) {
    take_headers(*record, end);
  } else {
    reset_record(*record, kHttp2ProtocolError);
  }
  fields_.clear();
  return malformed_ == nullptr ? kGoOn : count_unrest();
}

void Http2Connection::State::take_headers(Record& record, bool end) {
  if (block_->is_informational()) {
    if (end) return reset_record(record, kHttp2ProtocolError);
    return events_.headers(record, std::move(fields_), Http2Kind::informational, false);
  }
  Http2Kind kind = Http2Kind::trailers;
  if (record.input == Input::nothing) {
    kind = role_ == Role::server ? Http2Kind::request : Http2Kind::response;
    const bool no_body =
        kind == Http2Kind::response && (record.no_body || has_no_body(block_->status()));
    record.body.expect(no_body ? 0 : block_->content_length());
  } else if (!end) {
    return reset_record(record, kHttp2ProtocolError);
  }
  if (end && !record.body.finish()) return reset_record(record, kHttp2ProtocolError);
  record.input = end ? Input::ended : Input::body;
  record.announced = true;
  events_.headers(record, std::move(fields_), kind, end);
}

void Http2Connection::State::refuse_too_large(Record& record) {
  if (block_->is_informational() || role_ == Role::client || record.input != Input::nothing) {
    return reset_record(record, kHttp2EnhanceYourCalm);
  }
  record.announced = true;
  record.input = Input::ignored;
  events_.too_large(record);
  if (record.output == Output::nothing && is_live(record)) {
    Http2Headers headers;
    headers.add(":status", "431", false, Http2Headers::Text::outlives);
    respond(record, std::move(headers), true);
  }
  if (is_live(record)) record.resets_at_end = true;
}

// ---- data ----

int Http2Connection::State::on_data(int32_t id, std::string_view bytes) {
  data_left_ -= bytes.size();
  Record* record = find(id);
  if (record == nullptr) {
    credit_connection(bytes.size());
    return kGoOn;
  }
  take_data(*record, bytes, data_left_ == 0 && has(head_, NGHTTP2_FLAG_END_STREAM));
  return kGoOn;
}

void Http2Connection::State::take_data(Record& record, std::string_view bytes, bool end) {
  if (end) record.peer_ended = true;
  if (record.is_reset || record.input == Input::ignored) return credit_connection(bytes.size());
  record.outstanding += static_cast<uint32_t>(bytes.size());
  // nghttp2 resets the stream for it, but brings the bytes.
  if (record.outstanding > std::max(settings_.stream_window, kFirstWindow)) {
    return reset_record(record, kHttp2FlowControlError);
  }
  const bool good = record.input == Input::body && record.body.take(bytes.size()) &&
                    (!end || record.body.finish());
  if (!good) return reset_record(record, kHttp2ProtocolError);
  if (end) record.input = Input::ended;
  events_.data(record, bytes, end);
}

}  // namespace berth::wire
