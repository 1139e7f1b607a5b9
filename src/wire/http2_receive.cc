// Frames that come: their heads, and those that are no part of a message.
#include <algorithm>
#include <cstring>
#include <utility>

#include "base/limits.h"
#include "wire/http2_state.h"

namespace berth::wire {

using Type = Http2FrameType;

// ---- bytes ----

void Http2Connection::State::read(std::string_view bytes) {
  while (stage_ == Stage::open && !bytes.empty()) {
    size_t taken = 0;
    switch (reading_) {
      case Reading::preface: taken = read_preface(bytes); break;
      case Reading::head: taken = read_head(bytes); break;
      case Reading::payload: taken = read_payload(bytes); break;
      case Reading::data: taken = read_data(bytes); break;
      case Reading::skipped: taken = skip(bytes); break;
    }
    bytes.remove_prefix(taken);
  }
}

size_t Http2Connection::State::read_preface(std::string_view bytes) {
  const std::string_view awaited = kHttp2Preface.substr(head_size_, bytes.size());
  if (!bytes.starts_with(awaited)) {
    fail(kHttp2ProtocolError, "the client does not speak HTTP/2");
    return bytes.size();
  }
  head_size_ += awaited.size();
  if (head_size_ == kHttp2Preface.size()) {
    head_size_ = 0;
    reading_ = Reading::head;
  }
  return awaited.size();
}

size_t Http2Connection::State::read_head(std::string_view bytes) {
  if (head_size_ == 0 && bytes.size() >= kHttp2HeadBytes) {
    head_ = Http2FrameHead::parse(bytes.data());
    on_head();
    return kHttp2HeadBytes;
  }
  const size_t size = std::min(bytes.size(), kHttp2HeadBytes - head_size_);
  std::memcpy(&head_bytes_[head_size_], bytes.data(), size);
  head_size_ += size;
  if (head_size_ == kHttp2HeadBytes) {
    head_size_ = 0;
    head_ = Http2FrameHead::parse(head_bytes_.data());
    on_head();
  }
  return size;
}

size_t Http2Connection::State::read_payload(std::string_view bytes) {
  const size_t size = std::min(bytes.size(), head_.length - payload_.size());
  const bool whole = payload_.size() + size == head_.length;
  if (whole) reading_ = Reading::head;
  if (whole && payload_.empty()) {
    on_payload(bytes.substr(0, size));
    return size;
  }
  payload_ += bytes.substr(0, size);
  if (whole) {
    const std::string payload = std::exchange(payload_, {});
    on_payload(payload);
  }
  return size;
}

size_t Http2Connection::State::skip(std::string_view bytes) {
  const auto size = static_cast<uint32_t>(std::min<size_t>(bytes.size(), left_));
  left_ -= size;
  if (left_ == 0) reading_ = Reading::head;
  return size;
}

// ---- heads ----

void Http2Connection::State::on_head() {
  if (!may_come()) return;
  switch (head_.type) {
    case Type::data: return begin_data();
    case Type::headers:
    case Type::continuation:
    case Type::push_promise: break;
    case Type::settings:
    case Type::ping:
      if (!head_.has(http2_flag::kAck)) count_unrest();
      break;
    default: count_unrest();
  }
  if (head_.type > Type::continuation || head_.type == Type::priority) {
    left_ = head_.length;
    reading_ = left_ > 0 ? Reading::skipped : Reading::head;
  } else if (head_.length > 0) {
    reading_ = Reading::payload;
  } else {
    on_payload({});
  }
}

// What can be told by a frame's head alone (RFC 9113, section 6).
bool Http2Connection::State::may_come() {
  const bool is_continuation = head_.type == Type::continuation;
  if (!has_settings_ && (head_.type != Type::settings || head_.has(http2_flag::kAck))) {
    broken(kHttp2ProtocolError, role_ == Role::client
                                    ? "the server does not speak HTTP/2: no SETTINGS come first"
                                    : "no SETTINGS come first");
  } else if (head_.length > kHttp2FrameBytes) {
    broken(kHttp2FrameSizeError, "a frame is longer than SETTINGS allow");
  } else if (in_block_ && (!is_continuation || head_.stream != block_stream_)) {
    broken(kHttp2ProtocolError, "a header block is interrupted");
  } else if (!in_block_ && is_continuation) {
    broken(kHttp2ProtocolError, "a CONTINUATION continues nothing");
  } else if (head_.type <= Type::continuation) {
    const Type type = head_.type;
    const bool of_connection = type == Type::settings || type == Type::ping || type == Type::goaway;
    if (of_connection && head_.stream != 0) {
      broken(kHttp2ProtocolError, "a frame of the connection names a stream");
    } else if (!of_connection && type != Type::window_update && head_.stream == 0) {
      broken(kHttp2ProtocolError, "a frame of a stream names none");
    } else if (type == Type::priority && head_.length != 5) {
      broken(kHttp2FrameSizeError, "a PRIORITY has not 5 bytes");
    }
  }
  return stage_ == Stage::open;
}

void Http2Connection::State::on_payload(std::string_view payload) {
  switch (head_.type) {
    case Type::headers: return on_headers(payload);
    case Type::continuation: return on_fragment(payload);
    case Type::push_promise: return on_push_promise(payload);
    case Type::rst_stream: return on_rst_stream(payload);
    case Type::settings: return on_settings(payload);
    case Type::ping: return on_ping(payload);
    case Type::goaway: return on_goaway(payload);
    case Type::window_update: return on_window_update(payload);
    default: return;
  }
}

// ---- SETTINGS ----

void Http2Connection::State::on_settings(std::string_view payload) {
  constexpr size_t kEntry = 6;
  if (head_.has(http2_flag::kAck)) {
    if (!payload.empty()) return broken(kHttp2FrameSizeError, "an answer to SETTINGS has bytes");
    if (std::exchange(settings_taken_, true)) {
      broken(kHttp2ProtocolError, "SETTINGS are answered that were not sent");
    }
    return;
  }
  if (payload.size() % kEntry != 0) {
    return broken(kHttp2FrameSizeError, "SETTINGS do not have 6 bytes each");
  }
  if (!std::exchange(has_settings_, true)) max_streams_ = UINT32_MAX;
  // Only the last of a frame counts: to move the windows of all streams for each would be work that
  // a peer could ask for with six bytes.
  std::optional<uint32_t> window;
  for (; !payload.empty(); payload.remove_prefix(kEntry)) {
    const uint32_t id = parse_http2_number(payload.data()) >> 16;
    if (!on_setting(static_cast<Http2Setting>(id), parse_http2_number(payload.data() + 2),
                    window)) {
      return;
    }
  }
  if (window.has_value()) set_first_window(*window);
  answer(make_http2_head({.type = Type::settings, .flags = http2_flag::kAck}));
  if (stage_ == Stage::open) events_.settings(max_streams_);
}

// False: the connection is broken.
bool Http2Connection::State::on_setting(Http2Setting setting, uint32_t value,
                                        std::optional<uint32_t>& window) {
  constexpr uint32_t kMostFrameBytes = 0xffffff;
  switch (setting) {
    case Http2Setting::header_table_size:
      if (!encoder_.set_table_size(value)) fail_for_memory();
      break;
    case Http2Setting::enable_push:
      if (value > (role_ == Role::server ? 1 : 0)) {
        broken(kHttp2ProtocolError, "SETTINGS_ENABLE_PUSH is none that may be");
      }
      break;
    case Http2Setting::max_concurrent_streams: max_streams_ = value; break;
    case Http2Setting::initial_window_size:
      if (value > kHttp2LargestWindow) {
        broken(kHttp2FlowControlError, "SETTINGS_INITIAL_WINDOW_SIZE is larger than a window");
      }
      window = value;
      break;
    case Http2Setting::max_frame_size:
      if (value < kHttp2FrameBytes || value > kMostFrameBytes) {
        broken(kHttp2ProtocolError, "SETTINGS_MAX_FRAME_SIZE is none that may be");
      }
      break;
    case Http2Setting::no_rfc7540_priorities:
      if (value > 1) {
        broken(kHttp2ProtocolError, "SETTINGS_NO_RFC7540_PRIORITIES is none that may be");
      }
      break;
    default: break;  // of header lists it is advice; the rest are unknown
  }
  return stage_ == Stage::open;
}

// RFC 9113, section 6.9.2.
void Http2Connection::State::set_first_window(uint32_t size) {
  const int64_t more = int64_t{size} - first_window_;
  if (more == 0) return;
  first_window_ = static_cast<int32_t>(size);
  for (Record& record : records_) {
    const int64_t window = record.window + more;
    if (window > kHttp2LargestWindow) {
      return broken(kHttp2FlowControlError, "SETTINGS make a window of a stream too large");
    }
    record.window = static_cast<int32_t>(window);
    pursue(record);
  }
}

// ---- other frames of the connection ----

void Http2Connection::State::on_ping(std::string_view payload) {
  if (payload.size() != 8) return broken(kHttp2FrameSizeError, "a PING has not 8 bytes");
  if (head_.has(http2_flag::kAck)) return on_pong(payload);
  answer(make_http2_ping(payload, true));
}

void Http2Connection::State::on_pong(std::string_view payload) {
  if (role_ == Role::server && is_closing_ && payload == kHttp2Farewell) {
    if (!goaway_last_.has_value()) give_goaway(last_peer_);
    return;
  }
  uint64_t number = 0;
  std::memcpy(&number, payload.data(), sizeof number);
  events_.pong(number);
}

void Http2Connection::State::on_goaway(std::string_view payload) {
  constexpr size_t kLeast = 8;
  if (payload.size() < kLeast)
    return broken(kHttp2FrameSizeError, "a GOAWAY has less than 8 bytes");
  const auto last = static_cast<int32_t>(parse_http2_number(payload.data()) & kHttp2LastStream);
  if (last > std::exchange(peer_goaway_last_, last)) {
    return broken(kHttp2ProtocolError, "a GOAWAY takes back what another has said");
  }
  goaway_came_ = true;
  const uint32_t error = parse_http2_number(payload.data() + 4);
  events_.goaway(last, error, payload.substr(kLeast, kMaxMessageBytes));
  if (role_ == Role::server) return;
  for (Record *record = records_.front(), *next = nullptr; record != nullptr; record = next) {
    next = Records::next(*record);
    if (record->id > last) close_record(*record, kHttp2RefusedStream);
  }
}

void Http2Connection::State::on_window_update(std::string_view payload) {
  if (payload.size() != 4) {
    return broken(kHttp2FrameSizeError, "a WINDOW_UPDATE has not 4 bytes");
  }
  const int64_t more = parse_http2_number(payload.data()) & kHttp2LargestWindow;
  if (more == 0) return broken(kHttp2ProtocolError, "a WINDOW_UPDATE is of nothing");
  if (head_.stream == 0) {
    window_ += more;
    if (window_ > kHttp2LargestWindow) {
      broken(kHttp2FlowControlError, "the window of the connection is made too large");
    }
    return;
  }
  if (is_idle(head_.stream)) {
    return broken(kHttp2ProtocolError, "a WINDOW_UPDATE is of no stream");
  }
  Record* record = find(head_.stream);
  if (record == nullptr) return;
  if (record->window + more > kHttp2LargestWindow) {
    return reset_for_fault(*record, kHttp2FlowControlError);
  }
  record->window += static_cast<int32_t>(more);
  pursue(*record);
}

void Http2Connection::State::on_rst_stream(std::string_view payload) {
  if (payload.size() != 4) return broken(kHttp2FrameSizeError, "a RST_STREAM has not 4 bytes");
  if (is_idle(head_.stream)) return broken(kHttp2ProtocolError, "a RST_STREAM is of no stream");
  if (Record* record = find(head_.stream)) {
    close_record(*record, parse_http2_number(payload.data()));
  }
}

}  // namespace berth::wire
