#include "wire/tls_handshake.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/status_text.h"

namespace berth::wire {
namespace {

// RFC 5246, section 6.2.1.
constexpr size_t kHeaderBytes = 5;
constexpr unsigned char kChangeCipherSpec = 20;
constexpr unsigned char kMostType = 23;

bool is_type(char c) {
  const auto type = static_cast<unsigned char>(c);
  return type >= kChangeCipherSpec && type <= kMostType;
}

}  // namespace

TlsHandshake::TlsHandshake(std::shared_ptr<TlsSource> source, std::string server, std::string name)
    : source_(std::move(source)), server_(std::move(server)), name_(std::move(name)) {}

TlsHandshake::~TlsHandshake() = default;

// ---- what takes its time ----

void TlsHandshake::compute() {
  BERTH_CHECK(state_ == State::computing, "there is something to compute");
  has_input_ = false;
  if (engine_ == nullptr && !make_engine()) return;
  shake_ = engine_->shake_hands();
  switch (shake_) {
    case TlsEngine::Shake::goes_on:
      // A warning came where Finished was expected.
      if (stage_ == Stage::whole) stage_ = Stage::finishing;
      break;
    case TlsEngine::Shake::done: source_->keep(server_, engine_->ticket()); break;
    case TlsEngine::Shake::failed:
      if (resumes_) source_->keep(server_, nullptr);  // that may have been the reason
      why_ = "no TLS with " + server_ + ": " + engine_->why();
      break;
  }
  go_on();
}

bool TlsHandshake::make_engine() {
  absl::StatusOr<std::shared_ptr<const TlsContext>> context = source_->context();
  if (!context.ok()) {
    fail(text_of(context.status()));
    return false;
  }
  std::shared_ptr<const TlsSource::Ticket> ticket = source_->ticket(server_);
  resumes_ = ticket != nullptr;
  engine_ = std::make_unique<TlsEngine>(*std::move(context), name_, std::move(ticket));
  return true;
}

void TlsHandshake::go_on() {
  if (!engine_->to_send().empty()) {
    state_ = State::sending;
  } else if (shake_ == TlsEngine::Shake::done) {
    state_ = State::done;
  } else if (shake_ == TlsEngine::Shake::failed) {
    state_ = State::failed;
  } else {
    state_ = has_input_ ? State::computing : State::expecting;
  }
}

// ---- what goes and comes ----

std::vector<std::string_view> TlsHandshake::to_send() const {
  if (state_ != State::sending) return {};
  return {engine_->to_send()};
}

void TlsHandshake::sent(size_t size) {
  BERTH_CHECK(state_ == State::sending, "there is something to send");
  engine_->sent(size);
  go_on();
}

size_t TlsHandshake::feed(std::string_view bytes) {
  const bool goes_on = shake_ == TlsEngine::Shake::goes_on;
  if (!goes_on || (state_ != State::sending && state_ != State::expecting)) return 0;
  size_t taken = 0;
  while (taken < bytes.size() && stage_ != Stage::whole) {
    const size_t part = part_of_record(bytes.substr(taken));
    const size_t fed = engine_->feed(bytes.substr(taken, part));
    follow_record(bytes.substr(taken, fed));
    taken += fed;
    if (fed == part) continue;
    has_input_ = true;  // the engine is full, and takes more after that
    break;
  }
  if (state_ == State::expecting && has_input_) state_ = State::computing;
  return taken;
}

// How many of the bytes are of one record's header, or of what follows that; all, if they are no
// TLS, so that it can be shown.
size_t TlsHandshake::part_of_record(std::string_view bytes) const {
  const size_t missing = header_.size() < kHeaderBytes ? kHeaderBytes - header_.size() : left_;
  const bool is_tls = is_type(header_.empty() ? bytes[0] : header_[0]);
  return is_tls ? std::min(missing, bytes.size()) : bytes.size();
}

void TlsHandshake::follow_record(std::string_view bytes) {
  if (header_.size() < kHeaderBytes) {
    header_ += bytes;
    if (header_.empty()) return;
    if (!is_type(header_[0])) {
      stage_ = Stage::whole;
      has_input_ = true;
      return;
    }
    if (header_.size() < kHeaderBytes) return;
    const auto byte = [&](size_t at) { return static_cast<unsigned char>(header_[at]); };
    left_ = size_t{byte(3)} << 8 | byte(4);
  } else {
    left_ -= bytes.size();
  }
  if (left_ > 0) return;
  if (stage_ == Stage::finishing) stage_ = Stage::whole;
  if (header_[0] == kChangeCipherSpec) stage_ = Stage::finishing;
  header_.clear();
  has_input_ = true;
}

// ---- how it ends ----

void TlsHandshake::end() {
  if (state_ == State::done || state_ == State::failed) return;
  if (!why_.empty()) {  // nobody waits for our alert
    state_ = State::failed;
    return;
  }
  std::string how = "the server closed the connection before the handshake was over";
  if (engine_ != nullptr) {
    engine_->end();
    if (engine_->shake_hands() == TlsEngine::Shake::failed) how = engine_->why();
  }
  fail("no TLS with " + server_ + ": " + how);
}

void TlsHandshake::time_out(Duration after) {
  if (state_ == State::done || state_ == State::failed) return;
  if (!why_.empty()) {
    state_ = State::failed;
    return;
  }
  fail("no TLS with " + server_ + ": the handshake was not over within " + format_duration(after));
}

void TlsHandshake::fail(const std::string& how) {
  why_ = how;
  state_ = State::failed;
}

std::unique_ptr<TlsEngine> TlsHandshake::take_engine() {
  BERTH_CHECK(state_ == State::done && engine_ != nullptr, "the handshake is done, once");
  return std::move(engine_);
}

}  // namespace berth::wire
