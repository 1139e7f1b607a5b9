// The connection as a whole: how it begins and ends, and its streams.
#include "wire/http2_state.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

#include "base/check.h"
#include "base/limits.h"

namespace berth::wire {
namespace {

// Until the peer's SETTINGS say: what RFC 9113, section 6.5.2 recommends as the least.
constexpr uint32_t kFirstMaxStreams = 100;

size_t arena_limit(const Http2Connection::Settings& settings) {
  return kMaxHttp2SessionBytes + settings.max_concurrent_streams * kMaxHttp2StreamBytes;
}

}  // namespace

Http2Connection::State::State(Role role, const Settings& settings, Events& events)
    : role_(role),
      settings_(settings),
      events_(events),
      arena_(Http2Arena::make(arena_limit(settings))),
      encoder_(arena_),
      decoder_(arena_),
      reading_(role == Role::server ? Reading::preface : Reading::head),
      max_streams_(kFirstMaxStreams) {
  open_connection();
}

Http2Connection::State::~State() {
  while (Record* record = records_.front()) free_record(*record);
  arena_.abandon();
}

void Http2Connection::State::open_connection() {
  std::string entries;
  const auto add = [&entries](Http2Setting setting, size_t value) {
    const auto number = static_cast<uint32_t>(std::min<size_t>(value, UINT32_MAX));
    entries += std::string_view(make_http2_setting(setting, number));
  };
  if (role_ == Role::server) {
    add(Http2Setting::max_concurrent_streams, settings_.max_concurrent_streams);
    add(Http2Setting::no_rfc7540_priorities, 1);
  } else {
    answers_ += kHttp2Preface;
    add(Http2Setting::enable_push, 0);
  }
  add(Http2Setting::initial_window_size, settings_.stream_window);
  add(Http2Setting::max_header_list_size, settings_.max_header_bytes);
  const auto length = static_cast<uint32_t>(entries.size());
  answers_ +=
      std::string_view(make_http2_head({.length = length, .type = Http2FrameType::settings}));
  answers_ += entries;
  const int64_t more = int64_t{settings_.connection_window} - kHttp2FirstWindow;
  if (more > 0) {
    answers_ += std::string_view(make_http2_window_update(0, static_cast<uint32_t>(more)));
    peer_window_ += more;
  } else {
    consumed_ = more;  // what is too much is withheld
  }
}

// ---- bytes of the socket ----

bool Http2Connection::State::feed(std::string_view bytes) {
  read(bytes);
  settle();
  return why_.empty();
}

void Http2Connection::State::fill() {
  if (stage_ == Stage::open && close_wanted_) stage_ = Stage::broken;
  while (stage_ == Stage::open && output_.size() < kMaxHttp2OutputBytes && frame_next()) {
  }
  settle();
}

void Http2Connection::State::settle() {
  if (stage_ != Stage::broken) return;
  stage_ = Stage::over;
  write_goaway(error_, debug_);
  close_all(error_);
}

void Http2Connection::State::end(uint32_t error) {
  if (stage_ != Stage::over) {
    stage_ = Stage::over;
    close_all(error);
  }
  output_.clear();
}

// Behind our SETTINGS, without which there is no connection.
void Http2Connection::State::write_goaway(uint32_t error, std::string_view debug) {
  output_.append(answers_);
  answers_.clear();
  const int32_t last = goaway_last_.value_or(role_ == Role::server ? last_peer_ : 0);
  output_.append(make_http2_goaway(last, error, debug.size()));
  output_.append(debug);
}

void Http2Connection::State::close_all(uint32_t error) {
  incoming_ = nullptr;
  while (Record* record = records_.front()) close_record(*record, error);
}

bool Http2Connection::State::wants_to_send() const {
  if (output_.size() > 0 || stage_ == Stage::broken) return true;
  if (stage_ != Stage::open) return false;
  return close_wanted_ || !answers_.empty() || !resetting_.empty() || !heading_.empty() ||
         (!sending_.empty() && window_ > 0) || owes_credit();
}

bool Http2Connection::State::done() const {
  if (wants_to_send()) return false;
  return stage_ == Stage::over || (records_.empty() && (goaway_last_.has_value() || goaway_came_));
}

// ---- how it ends ----

void Http2Connection::State::fail(uint32_t error, std::string why) {
  if (stage_ != Stage::open) return;
  stage_ = Stage::broken;
  error_ = error;
  debug_ = why;
  why_ = std::move(why);
}

void Http2Connection::State::broken(uint32_t error, std::string_view rule) {
  if (stage_ != Stage::open) return;
  fail(error, std::string(rule) + " (" + std::string(name_of_http2_error(error)) + ")");
}

void Http2Connection::State::fail_for_memory() {
  fail(kHttp2EnhanceYourCalm, "the connection takes more memory than it may");
}

// A frame that asks for work and carries nothing, or makes us undo what we have begun.
void Http2Connection::State::count_unrest() {
  if (++unrest_ > kMaxHttp2Unrest) {
    fail(kHttp2EnhanceYourCalm, "too many frames that ask for work and carry nothing");
  }
}

void Http2Connection::State::answer(std::string_view frame) {
  if (stage_ != Stage::open) return;
  if (answers_.size() + frame.size() > kMaxHttp2AnswerBytes) {
    return fail(kHttp2EnhanceYourCalm, "frames that want answers come, and none is taken");
  }
  answers_ += frame;
}

void Http2Connection::State::ping(uint64_t payload) {
  char bytes[8];
  std::memcpy(bytes, &payload, sizeof bytes);
  answer(make_http2_ping({bytes, sizeof bytes}, false));
}

void Http2Connection::State::close_gracefully() {
  if (stage_ != Stage::open || std::exchange(is_closing_, true)) return;
  if (role_ == Role::server) {
    answer(make_http2_goaway(kHttp2LastStream, kHttp2NoError, 0));
    answer(make_http2_ping(kHttp2Farewell, false));
  } else {
    give_goaway(0);
  }
}

void Http2Connection::State::give_goaway(int32_t last) {
  goaway_last_ = last;
  answer(make_http2_goaway(last, kHttp2NoError, 0));
}

void Http2Connection::State::close(uint32_t error, std::string_view debug) {
  if (stage_ != Stage::open || std::exchange(close_wanted_, true)) return;
  is_closing_ = true;
  error_ = error;
  debug_ = debug.substr(0, kMaxMessageBytes);
}

bool Http2Connection::State::is_closing() const {
  return stage_ != Stage::open || is_closing_ || goaway_came_ ||
         next_id_ > static_cast<uint32_t>(kHttp2LastStream);
}

// ---- streams ----

Http2Connection::State::Record* Http2Connection::State::find(int32_t id) {
  if (last_found_ == nullptr || last_found_->id != id) {
    const auto at = streams_.find(id);
    if (at == streams_.end()) return nullptr;
    last_found_ = at->second;
  }
  return last_found_;
}

Http2Connection::State::Record* Http2Connection::State::make_record(int32_t id) {
  void* memory = arena_.allocate(sizeof(Record));
  if (memory == nullptr) return nullptr;
  Record* record = new (memory) Record;
  record->id = id;
  record->window = first_window_;
  records_.push_back(*record);
  streams_[id] = last_found_ = record;
  return record;
}

// Whether it has never been opened (RFC 9113, section 5.1).
bool Http2Connection::State::is_idle(int32_t id) const {
  const bool of_client = id % 2 != 0;
  if (role_ == Role::server) return !of_client || id > last_peer_;
  return id > (of_client ? last_framed_ : last_peer_);
}

bool Http2Connection::State::is_unseen(const Record& record, uint32_t error) const {
  if (role_ != Role::client || record.input != Input::nothing) return false;
  if (record.headers_sent_at == 0 || record.headers_sent_at > output_.sent()) return true;
  return error == kHttp2RefusedStream && record.life != Life::resetting;
}

void Http2Connection::State::reset_record(Record& record, uint32_t error) {
  if (record.life != Life::live) return;
  record.life = Life::resetting;
  record.error = error;
  leave_lists(record);
  record.queue.clear();
  resetting_.push_back(record);
}

// A peer could otherwise begin and end streams as fast as it likes, and never reset one.
void Http2Connection::State::reset_for_fault(Record& record, uint32_t error) {
  reset_record(record, error);
  count_unrest();
}

void Http2Connection::State::close_record(Record& record, uint32_t error) {
  const bool unseen = is_unseen(record, error);
  record.life = Life::closing;
  if (incoming_ == &record) incoming_ = nullptr;
  const uint64_t taken = uint64_t{record.outstanding} + record.consumed;
  if (!record.peer_ended && taken < stream_window()) {
    late_ += static_cast<int64_t>(stream_window() - taken);
  }
  consumed_ += std::exchange(record.outstanding, 0);
  if (record.announced) events_.closed(record, error, unseen);
  free_record(record);
}

void Http2Connection::State::close_if_over(Record& record) {
  if (record.life != Life::closing && record.output == Output::ended && record.peer_ended) {
    close_record(record, record.error);
  }
}

void Http2Connection::State::leave_lists(Record& record) {
  for (Turns* turns : {&resetting_, &heading_, &sending_}) {
    if (turns->contains(record)) turns->remove(record);
  }
  if (crediting_.contains(record)) crediting_.remove(record);
}

void Http2Connection::State::free_record(Record& record) {
  if (last_found_ == &record) last_found_ = nullptr;
  leave_lists(record);
  records_.remove(record);
  streams_.erase(record.id);
  record.~Record();
  arena_.release(&record);
}

uint32_t Http2Connection::State::room() const {
  const size_t most = std::min(max_streams_, settings_.max_concurrent_streams);
  return static_cast<uint32_t>(most - std::min(most, records_.size()));
}

size_t Http2Connection::State::queued(const Http2Stream& stream) {
  return static_cast<const Record&>(stream).queue.size();
}

size_t Http2Connection::State::held() const {
  size_t held = output_.size() + answers_.size();
  for (const Record& record : records_) {
    held += record.queue.size() + record.outstanding;
    held += record.headers.bytes() + record.trailers.bytes();
    for (const Http2Headers& headers : record.informational) held += headers.bytes();
  }
  return held;
}

}  // namespace berth::wire
