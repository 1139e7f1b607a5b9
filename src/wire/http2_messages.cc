// Messages that come: header blocks and data.
#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/limits.h"
#include "wire/http2_state.h"

namespace berth::wire {
namespace {

std::string_view without_outer_blanks(std::string_view text) {
  constexpr std::string_view kBlanks = " \t";
  const size_t begin = std::min(text.find_first_not_of(kBlanks), text.size());
  return text.substr(begin, text.find_last_not_of(kBlanks) + 1 - begin);
}

// No body, whatever the length (RFC 9110, section 6.4.1).
bool has_no_body(int status) {
  return status == 204 || status == 304;
}

}  // namespace

// ---- header blocks ----

// False: there is more padding than payload.
bool Http2Connection::State::remove_padding(std::string_view& payload) {
  if (!head_.has(http2_flag::kPadded)) return true;
  const size_t padding = payload.empty() ? 1 : static_cast<unsigned char>(payload[0]);
  if (padding >= payload.size()) {
    broken(kHttp2ProtocolError, "there is more padding than payload");
    return false;
  }
  payload = payload.substr(1, payload.size() - 1 - padding);
  return true;
}

void Http2Connection::State::on_headers(std::string_view payload) {
  constexpr size_t kPriorityBytes = 5;
  if (!remove_padding(payload)) return;
  if (head_.has(http2_flag::kPriority)) {
    if (payload.size() < kPriorityBytes) {
      return broken(kHttp2FrameSizeError, "HEADERS have no room for their priority");
    }
    payload.remove_prefix(kPriorityBytes);
  }
  Record* record = is_idle(head_.stream) ? nullptr : find(head_.stream);
  if (record == nullptr) {
    if (!accept_stream(record)) return;
  } else if (record->peer_ended) {
    return broken(kHttp2StreamClosed, "HEADERS come behind the end of their stream");
  }
  begin_block(record);
  on_fragment(payload);
}

// Makes a record, unless the stream is one to be passed over. False: the connection is broken.
bool Http2Connection::State::accept_stream(Record*& record) {
  const int32_t id = head_.stream;
  if (!is_idle(id)) {  // it was closed, perhaps by a reset that is on its way
    count_unrest();
    return stage_ == Stage::open;
  }
  if (role_ == Role::client || id % 2 == 0) {
    broken(kHttp2ProtocolError, "HEADERS are of no stream");
    return false;
  }
  last_peer_ = id;
  if (goaway_last_.has_value()) {  // we have said that it would not be seen
    late_ += stream_window();
    count_unrest();
    return stage_ == Stage::open;
  }
  if (records_.size() >= settings_.max_concurrent_streams) {  // RFC 9113, section 5.1.2
    answer(make_http2_rst_stream(id, kHttp2RefusedStream));
    late_ += stream_window();
    count_unrest();
    return stage_ == Stage::open;
  }
  record = make_record(id);
  if (record == nullptr) fail_for_memory();
  return stage_ == Stage::open;
}

// RFC 9113, section 6.6. We allow none, but until the server has seen that, it may promise.
void Http2Connection::State::on_push_promise(std::string_view payload) {
  if (role_ == Role::server || settings_taken_) {
    return broken(kHttp2ProtocolError, "a PUSH_PROMISE comes, which is not allowed");
  }
  if (!remove_padding(payload)) return;
  if (payload.size() < 4) return broken(kHttp2FrameSizeError, "a PUSH_PROMISE promises no stream");
  const auto promised = static_cast<int32_t>(parse_http2_number(payload.data()) & kHttp2LastStream);
  if (promised % 2 != 0 || promised <= last_peer_ || is_idle(head_.stream)) {
    return broken(kHttp2ProtocolError, "a PUSH_PROMISE is of no stream that may be");
  }
  last_peer_ = promised;
  late_ += stream_window();
  answer(make_http2_rst_stream(promised, kHttp2Cancel));
  count_unrest();
  begin_block(nullptr);
  on_fragment(payload.substr(4));
}

void Http2Connection::State::begin_block(Record* record) {
  using Kind = Http2BlockCheck::Kind;
  const bool first = record != nullptr && record->input == Input::nothing;
  block_.emplace(!first ? Kind::trailers : role_ == Role::server ? Kind::request : Kind::response);
  in_block_ = true;
  block_stream_ = head_.stream;
  block_ends_stream_ = head_.type == Http2FrameType::headers && head_.has(http2_flag::kEndStream);
  incoming_ = record;
  continuations_ = 0;
  fields_.clear();
  field_bytes_ = 0;
  malformed_ = nullptr;
}

void Http2Connection::State::on_fragment(std::string_view fragment) {
  if (stage_ != Stage::open) return;
  const size_t most = kMaxHttp2Continuations + settings_.max_header_bytes / kHttp2FrameBytes;
  if (head_.type == Http2FrameType::continuation && ++continuations_ > most) {
    return fail(kHttp2EnhanceYourCalm, "a header block has too many frames");
  }
  const bool last = head_.has(http2_flag::kEndHeaders);
  switch (decoder_.decode(fragment, last, [this](const Http2Field& field) { on_field(field); })) {
    case HpackDecoder::Result::broken:
      return broken(kHttp2CompressionError, "a header block cannot be decoded");
    case HpackDecoder::Result::no_memory: return fail_for_memory();
    case HpackDecoder::Result::good: break;
  }
  if (last) end_block();
}

void Http2Connection::State::on_field(const Http2Field& decoded) {
  if (incoming_ == nullptr || incoming_->life != Life::live) return;
  Http2Field field = decoded;
  // RFC 9113, section 8.2.1 has no blanks there; but servers of gRPC send their words as they are.
  if (!field.name.starts_with(':')) field.value = without_outer_blanks(field.value);
  field_bytes_ += field.name.size() + field.value.size() + 32;
  if (field_bytes_ > settings_.max_header_bytes) return fields_.clear();
  if (malformed_ != nullptr) return;
  malformed_ = block_->add(field.name, field.value);
  if (malformed_ == nullptr) fields_.add(field.name, field.value, field.never_index);
}

void Http2Connection::State::end_block() {
  in_block_ = false;
  Record* record = std::exchange(incoming_, nullptr);
  if (record == nullptr) return;
  if (block_ends_stream_) record->peer_ended = true;
  if (record->life == Life::live && record->input != Input::ignored) {
    if (malformed_ == nullptr) malformed_ = block_->finish();
    if (field_bytes_ > settings_.max_header_bytes) {
      refuse_too_large(*record);
      count_unrest();
    } else if (malformed_ != nullptr) {
      reset_for_fault(*record, kHttp2ProtocolError);
    } else {
      take_headers(*record, block_ends_stream_);
    }
    fields_.clear();
  }
  close_if_over(*record);
}

void Http2Connection::State::take_headers(Record& record, bool end) {
  if (block_->is_informational()) {
    if (end) return reset_for_fault(record, kHttp2ProtocolError);
    return events_.headers(record, std::move(fields_), Http2Kind::informational, false);
  }
  Http2Kind kind = Http2Kind::trailers;
  if (record.input == Input::nothing) {
    kind = role_ == Role::server ? Http2Kind::request : Http2Kind::response;
    const bool no_body =
        kind == Http2Kind::response && (record.no_body || has_no_body(block_->status()));
    record.body.expect(no_body ? 0 : block_->content_length());
  } else if (!end) {
    return reset_for_fault(record, kHttp2ProtocolError);
  }
  if (end && !record.body.finish()) return reset_for_fault(record, kHttp2ProtocolError);
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
  if (record.output == Output::nothing && record.life == Life::live) {
    Http2Headers headers;
    headers.add(":status", "431", false, Http2Headers::Text::outlives);
    respond(record, std::move(headers), true);
  }
  if (record.life == Life::live) record.resets_at_end = true;
}

// ---- data ----

void Http2Connection::State::begin_data() {
  const Record* record = find(head_.stream);
  const bool end = head_.has(http2_flag::kEndStream);
  if (is_idle(head_.stream)) {
    return broken(kHttp2ProtocolError, "DATA are of no stream");
  }
  if (record != nullptr && record->peer_ended) {
    return broken(kHttp2StreamClosed, "DATA come behind the end of their stream");
  }
  if (record == nullptr) late_ -= head_.length;
  if (late_ < 0) {
    return broken(kHttp2StreamClosed, "DATA go on coming for streams that are over");
  }
  peer_window_ -= head_.length;
  if (peer_window_ < 0) {
    return broken(kHttp2FlowControlError, "DATA come beyond the window of the connection");
  }
  if (head_.length == 0 && !end) count_unrest();
  left_ = head_.length;
  some_data_ = false;
  padding_.reset();
  if (!head_.has(http2_flag::kPadded)) padding_ = 0;
  if (left_ > 0) {
    reading_ = Reading::data;
  } else if (!padding_.has_value()) {
    broken(kHttp2ProtocolError, "there is more padding than payload");
  } else {
    end_data();
  }
}

size_t Http2Connection::State::read_data(std::string_view bytes) {
  if (!padding_.has_value()) {
    padding_ = static_cast<unsigned char>(bytes[0]);
    if (*padding_ >= left_--) {
      broken(kHttp2ProtocolError, "there is more padding than payload");
      return 1;
    }
    // It is consumed as it comes.
    consumed_ += 1 + *padding_;
    if (Record* record = find(head_.stream)) note_consumed(*record, 1 + *padding_);
    if (left_ == 0) end_data();
    return 1;
  }
  const uint32_t body = left_ > *padding_ ? left_ - *padding_ : 0;
  if (body == 0) {
    const size_t skipped = skip(bytes);
    if (left_ == 0) end_data();
    return skipped;
  }
  const auto size = static_cast<uint32_t>(std::min<size_t>(bytes.size(), body));
  left_ -= size;
  some_data_ = true;
  const bool last = left_ == 0;
  if (last) reading_ = Reading::head;
  take_data(bytes.substr(0, size), last && head_.has(http2_flag::kEndStream));
  return size;
}

// Behind padding, or without any bytes.
void Http2Connection::State::end_data() {
  reading_ = Reading::head;
  if (head_.has(http2_flag::kEndStream)) {
    take_data({}, true);
  } else if (!some_data_ && head_.length > 0) {
    count_unrest();
  }
}

void Http2Connection::State::take_data(std::string_view bytes, bool end) {
  Record* record = find(head_.stream);
  if (record == nullptr) {
    consumed_ += static_cast<int64_t>(bytes.size());
    return;
  }
  if (end) record->peer_ended = true;
  const bool is_ignored = record->life != Life::live || record->input == Input::ignored;
  (is_ignored ? record->consumed : record->outstanding) += static_cast<uint32_t>(bytes.size());
  const bool is_beyond = uint64_t{record->outstanding} + record->consumed > stream_window();
  if (is_ignored) {
    consumed_ += static_cast<int64_t>(bytes.size());
    if (is_beyond) broken(kHttp2FlowControlError, "DATA go on coming beyond a window");
    return close_if_over(*record);
  }
  if (is_beyond) return reset_for_fault(*record, kHttp2FlowControlError);
  const bool good = record->input == Input::body && record->body.take(bytes.size()) &&
                    (!end || record->body.finish());
  if (!good) return reset_for_fault(*record, kHttp2ProtocolError);
  if (end) record->input = Input::ended;
  events_.data(*record, bytes, end);
  close_if_over(*record);
}

}  // namespace berth::wire
