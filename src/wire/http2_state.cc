#include "wire/http2_state.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "base/limits.h"

namespace berth::wire {
namespace {

// What close_gracefully() pings with; a driver's payloads are numbers that count from 0.
constexpr uint8_t kFarewell[8] = {'f', 'a', 'r', 'e', 'w', 'e', 'l', 'l'};

struct FreeOption {
  void operator()(nghttp2_option* option) const { nghttp2_option_del(option); }
};
using Option = std::unique_ptr<nghttp2_option, FreeOption>;

Option make_option() {
  nghttp2_option* option = nullptr;
  BERTH_CHECK(nghttp2_option_new(&option) == 0, "there is memory");
  nghttp2_option_set_no_auto_window_update(option, 1);
  nghttp2_option_set_no_http_messaging(option, 1);
  nghttp2_option_set_no_closed_streams(option, 1);
  nghttp2_option_set_max_send_header_block_length(option, kMaxHttp2HeaderBytes);
  // on_begin_frame() counts these: nghttp2 has a clock for the former, and counts the latter anew
  // with each piece of a frame's head that comes by itself.
  nghttp2_option_set_stream_reset_rate_limit(option, UINT64_MAX, UINT64_MAX);
  nghttp2_option_set_max_continuations(option, SIZE_MAX);
  return Option(option);
}

size_t arena_limit(const Http2Connection::Settings& settings) {
  return kMaxHttp2SessionBytes +
         settings.max_concurrent_streams * (kMaxHttp2StreamBytes + settings.max_header_bytes);
}

}  // namespace

// Each passes on to the State that is nghttp2's user data.
struct Http2Connection::State::Callbacks {
  using Session = nghttp2_session;
  static State& of(void* state) { return *static_cast<State*>(state); }

  static const nghttp2_session_callbacks* get() {
    static const nghttp2_session_callbacks* callbacks = make();
    return callbacks;
  }

  static const nghttp2_session_callbacks* make() {
    nghttp2_session_callbacks* all = nullptr;
    BERTH_CHECK(nghttp2_session_callbacks_new(&all) == 0, "there is memory");
    nghttp2_session_callbacks_set_on_begin_frame_callback(
        all, [](Session*, const nghttp2_frame_hd* head, void* state) {
          return of(state).on_begin_frame(*head);
        });
    nghttp2_session_callbacks_set_on_begin_headers_callback(
        all, [](Session*, const nghttp2_frame* frame, void* state) {
          return of(state).on_begin_headers(*frame);
        });
    nghttp2_session_callbacks_set_on_header_callback2(
        all, [](Session*, const nghttp2_frame*, nghttp2_rcbuf* name, nghttp2_rcbuf* value,
                uint8_t flags, void* state) { return of(state).on_header(name, value, flags); });
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(
        all, [](Session*, uint8_t, int32_t id, const uint8_t* data, size_t size, void* state) {
          return of(state).on_data(id, {reinterpret_cast<const char*>(data), size});
        });
    nghttp2_session_callbacks_set_on_frame_recv_callback(
        all, [](Session*, const nghttp2_frame* frame, void* state) {
          return of(state).on_frame(*frame);
        });
    nghttp2_session_callbacks_set_on_stream_close_callback(
        all, [](Session*, int32_t id, uint32_t error, void* state) {
          return of(state).on_closed(id, error);
        });
    add_outgoing(all);
    return all;
  }

  static void add_outgoing(nghttp2_session_callbacks* all) {
    nghttp2_session_callbacks_set_send_data_callback(
        all, [](Session*, nghttp2_frame*, const uint8_t* head, size_t size,
                nghttp2_data_source* source, void* state) {
          return of(state).on_send_data(*static_cast<Record*>(source->ptr), head, size);
        });
    nghttp2_session_callbacks_set_on_frame_send_callback(
        all, [](Session*, const nghttp2_frame* frame, void* state) {
          return of(state).on_sent(*frame);
        });
    nghttp2_session_callbacks_set_on_frame_not_send_callback(
        all, [](Session*, const nghttp2_frame* frame, int error, void* state) {
          return of(state).on_not_sent(*frame, error);
        });
  }
};

Http2Connection::State::State(Role role, const Settings& settings, Events& events)
    : role_(role),
      settings_(settings),
      events_(events),
      arena_(Http2Arena::make(arena_limit(settings))) {
  const auto make =
      role == Role::server ? nghttp2_session_server_new3 : nghttp2_session_client_new3;
  static const Option option = make_option();
  const int result = make(&session_, Callbacks::get(), this, option.get(), arena_.functions());
  BERTH_CHECK(result == 0, "an arena has room for a session");
  submit_settings();
}

Http2Connection::State::~State() {
  nghttp2_session_del(session_);
  while (Record* record = records_.front()) free_record(*record);
  fields_.clear();
  arena_.abandon();
}

void Http2Connection::State::submit_settings() {
  std::array<nghttp2_settings_entry, 4> entries;
  size_t count = 0;
  const auto add = [&](int32_t id, size_t value) {
    entries[count++] = {id, static_cast<uint32_t>(std::min<size_t>(value, UINT32_MAX))};
  };
  if (role_ == Role::server) {
    add(NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, settings_.max_concurrent_streams);
    add(NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1);
  } else {
    add(NGHTTP2_SETTINGS_ENABLE_PUSH, 0);
  }
  add(NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, settings_.stream_window);
  add(NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, settings_.max_header_bytes);
  require(nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, entries.data(), count));
  const auto window = static_cast<int32_t>(settings_.connection_window);
  require(nghttp2_session_set_local_window_size(session_, NGHTTP2_FLAG_NONE, 0, window));
}

// ---- bytes of the socket ----

bool Http2Connection::State::feed(std::string_view bytes) {
  if (stage_ == Stage::open) {
    const auto* data = reinterpret_cast<const uint8_t*>(bytes.data());
    const ssize_t taken = nghttp2_session_mem_recv(session_, data, bytes.size());
    if (taken < 0) fail_of(taken);
  }
  pump();  // a broken rule shows in what nghttp2 has to say about it
  settle();
  return why_.empty();
}

void Http2Connection::State::fill() {
  if (stage_ == Stage::open && close_wanted_) stage_ = Stage::broken;
  pump();
  settle();
}

void Http2Connection::State::pump() {
  while (stage_ == Stage::open && output_.size() < kMaxHttp2OutputBytes) {
    const uint8_t* bytes = nullptr;
    const ssize_t size = nghttp2_session_mem_send(session_, &bytes);
    if (size < 0) fail_of(size);
    if (size <= 0) break;
    output_.append({reinterpret_cast<const char*>(bytes), static_cast<size_t>(size)});
  }
  if (said_goaway_) fail(error_, goaway_why_);
}

void Http2Connection::State::settle() {
  if (stage_ != Stage::broken) return;
  stage_ = Stage::over;
  if (!said_goaway_) write_goaway(error_, debug_);
  close_all(error_);
}

void Http2Connection::State::end(uint32_t error) {
  if (stage_ != Stage::over) {
    stage_ = Stage::over;
    close_all(error);
  }
  output_.clear();
}

// Without nghttp2, which may be in no state to do it.
void Http2Connection::State::write_goaway(uint32_t error, std::string_view debug) {
  const int32_t last =
      role_ == Role::server ? nghttp2_session_get_last_proc_stream_id(session_) : 0;
  const auto append_number = [this](uint32_t number) {
    const char bytes[4] = {static_cast<char>(number >> 24), static_cast<char>(number >> 16),
                           static_cast<char>(number >> 8), static_cast<char>(number)};
    output_.append({bytes, 4});
  };
  append_number(static_cast<uint32_t>(8 + debug.size()) << 8 | NGHTTP2_GOAWAY);
  output_.append(std::string_view("\0\0\0\0\0", 5));  // no flags, the connection's
  append_number(static_cast<uint32_t>(last));
  append_number(error);
  output_.append(debug);
}

void Http2Connection::State::close_all(uint32_t error) {
  incoming_ = nullptr;
  while (Record* record = records_.front()) {
    announce_closed(*record, error);
    free_record(*record);
  }
}

bool Http2Connection::State::wants_to_send() const {
  if (output_.size() > 0 || stage_ == Stage::broken) return true;
  return stage_ == Stage::open && (close_wanted_ || nghttp2_session_want_write(session_) != 0);
}

bool Http2Connection::State::done() const {
  if (wants_to_send()) return false;
  return stage_ == Stage::over || (records_.empty() && nghttp2_session_want_read(session_) == 0);
}

// ---- how it ends ----

void Http2Connection::State::fail(uint32_t error, std::string why) {
  if (stage_ != Stage::open) return;
  stage_ = Stage::broken;
  error_ = error;
  debug_ = why;
  why_ = std::move(why);
}

void Http2Connection::State::fail_of(ssize_t result) {
  switch (result) {
    case NGHTTP2_ERR_BAD_CLIENT_MAGIC:
      return fail(kHttp2ProtocolError, "the client does not speak HTTP/2");
    case NGHTTP2_ERR_FLOODED:
      return fail(kHttp2EnhanceYourCalm, "frames that want answers come, and none is taken");
    case NGHTTP2_ERR_NOMEM:
      return fail(kHttp2EnhanceYourCalm, "the connection takes more memory than it may");
    default: return fail(kHttp2InternalError, nghttp2_strerror(static_cast<int>(result)));
  }
}

void Http2Connection::State::require(ssize_t result) {
  BERTH_CHECK(result != NGHTTP2_ERR_INVALID_ARGUMENT, "nghttp2 is given what it may be given");
  if (result == NGHTTP2_ERR_NOMEM) fail_of(result);
}

int Http2Connection::State::count_unrest() {
  if (++unrest_ <= kMaxHttp2Unrest) return kGoOn;
  fail(kHttp2EnhanceYourCalm, "too many frames that ask for work and carry nothing");
  return kBreak;
}

void Http2Connection::State::ping(uint64_t payload) {
  if (stage_ != Stage::open) return;
  uint8_t bytes[8];
  std::memcpy(bytes, &payload, sizeof bytes);
  require(nghttp2_submit_ping(session_, NGHTTP2_FLAG_NONE, bytes));
}

void Http2Connection::State::on_pong(const uint8_t* payload) {
  if (role_ == Role::server && is_closing_ && std::memcmp(payload, kFarewell, 8) == 0) {
    const int32_t last = nghttp2_session_get_last_proc_stream_id(session_);
    require(nghttp2_submit_goaway(session_, NGHTTP2_FLAG_NONE, last, kHttp2NoError, nullptr, 0));
    return;
  }
  uint64_t number = 0;
  std::memcpy(&number, payload, sizeof number);
  events_.pong(number);
}

void Http2Connection::State::close_gracefully() {
  if (stage_ != Stage::open || std::exchange(is_closing_, true)) return;
  if (role_ == Role::server) {
    require(nghttp2_submit_shutdown_notice(session_));
    require(nghttp2_submit_ping(session_, NGHTTP2_FLAG_NONE, kFarewell));
  } else {
    require(nghttp2_submit_goaway(session_, NGHTTP2_FLAG_NONE, 0, kHttp2NoError, nullptr, 0));
  }
}

void Http2Connection::State::close(uint32_t error, std::string_view debug) {
  if (stage_ != Stage::open || std::exchange(close_wanted_, true)) return;
  is_closing_ = true;
  error_ = error;
  debug_ = debug.substr(0, kMaxMessageBytes);
}

bool Http2Connection::State::is_closing() const {
  return stage_ != Stage::open || is_closing_ ||
         nghttp2_session_check_request_allowed(session_) == 0;
}

}  // namespace berth::wire
