#include "wire/http2_connection.h"

#include <utility>

#include "wire/http2_state.h"

namespace berth::wire {

Http2Connection::Http2Connection(Role role, const Settings& settings, Events& events)
    : state_(std::make_unique<State>(role, settings, events)) {}
Http2Connection::~Http2Connection() = default;

bool Http2Connection::feed(std::string_view bytes) {
  return state_->feed(bytes);
}
const std::string& Http2Connection::why() const {
  return state_->why();
}
void Http2Connection::end(uint32_t error) {
  state_->end(error);
}
void Http2Connection::fill() {
  state_->fill();
}
std::span<const iovec> Http2Connection::to_send() const {
  return state_->output().pieces();
}
size_t Http2Connection::to_send_bytes() const {
  return state_->output().size();
}
void Http2Connection::sent(size_t size) {
  state_->output().sent(size);
}
bool Http2Connection::wants_to_send() const {
  return state_->wants_to_send();
}
bool Http2Connection::done() const {
  return state_->done();
}

Http2Stream* Http2Connection::open(Http2Headers&& headers, bool end, void* owner) {
  return state_->open(std::move(headers), end, owner);
}
bool Http2Connection::can_open() const {
  return !state_->is_closing() && state_->room() > 0;
}
bool Http2Connection::is_closing() const {
  return state_->is_closing();
}
uint32_t Http2Connection::room() const {
  return state_->room();
}
size_t Http2Connection::open_streams() const {
  return state_->open_streams();
}

void Http2Connection::inform(Http2Stream& stream, Http2Headers&& headers) {
  state_->inform(stream, std::move(headers));
}
void Http2Connection::respond(Http2Stream& stream, Http2Headers&& headers, bool end) {
  state_->respond(stream, std::move(headers), end);
}
void Http2Connection::send_data(Http2Stream& stream, std::string_view bytes, bool end) {
  state_->send_data(stream, bytes, end);
}
void Http2Connection::send_trailers(Http2Stream& stream, Http2Headers&& trailers) {
  state_->send_trailers(stream, std::move(trailers));
}
void Http2Connection::reset(Http2Stream& stream, uint32_t error) {
  state_->reset(stream, error);
}
void Http2Connection::consume(Http2Stream& stream, size_t bytes) {
  state_->consume(stream, bytes);
}
size_t Http2Connection::queued(const Http2Stream& stream) const {
  return State::queued(stream);
}

size_t Http2Connection::held() const {
  return state_->held();
}

void Http2Connection::ping(uint64_t payload) {
  state_->ping(payload);
}
void Http2Connection::close_gracefully() {
  state_->close_gracefully();
}
void Http2Connection::close(uint32_t error, std::string_view debug) {
  state_->close(error, debug);
}
void Http2Connection::tick() {
  state_->tick();
}
size_t Http2Connection::memory() const {
  return state_->memory();
}

}  // namespace berth::wire
