#include "wire/step_run.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/check.h"
#include "base/limits.h"

namespace berth::wire {
namespace {

using Kind = Step::Kind;

bool has_pattern(Kind kind) {
  return kind == Kind::expect_re || kind == Kind::until_re;
}

std::string_view bytes_of(const Step& step) {
  return step.kind == Kind::send_file ? step.secret.bytes() : std::string_view(step.text);
}

// One of each kind that ^, $ and \b tell apart: part of a word, a line break, anything else.
constexpr char kNextKinds[] = {' ', '\n', 'a'};

}  // namespace

StepProgram::StepProgram(const Steps& all, size_t first, size_t last)
    : steps_(all.begin() + static_cast<ptrdiff_t>(first),
             all.begin() + static_cast<ptrdiff_t>(last)),
      first_(first),
      patterns_(steps_.size()) {
  for (const Step& step : all) {
    if (!step.secret.empty()) secrets_.push_back(step.secret);
  }
  for (size_t i = 0; i < steps_.size(); ++i) {
    BERTH_CHECK(steps_[i].kind != Kind::start_tls, "TLS begins between programs");
    if (!has_pattern(steps_[i].kind)) continue;
    auto compiled = compile_pattern(steps_[i].kind, steps_[i].text);
    auto* pattern = std::get_if<Pattern>(&compiled);
    BERTH_CHECK(pattern != nullptr, "a pattern was compiled before it became a step");
    patterns_[i] = std::move(*pattern);
  }
}

std::string StepProgram::shown(std::string_view bytes, Part part) const {
  std::vector<std::string_view> secrets;
  for (const Secret& secret : secrets_) secrets.push_back(secret.bytes());
  return wire::shown(bytes, part, secrets);
}

StepParts compile_steps(const Steps& steps) {
  const auto part = [&](size_t first, size_t last) {
    return first < last ? std::make_shared<const StepProgram>(steps, first, last) : nullptr;
  };
  const size_t tls = tls_step(steps);
  if (tls == steps.size()) return {part(0, tls), false, nullptr};
  return {part(0, tls), true, part(tls + 1, steps.size())};
}

StepRun::StepRun(std::shared_ptr<const StepProgram> program) : program_(std::move(program)) {
  go_on();
}

Duration StepRun::timeout() const {
  return index_ < program_->size() ? step().timeout : Duration::zero();
}

std::vector<std::string_view> StepRun::to_send() const {
  std::vector<std::string_view> pieces;
  if (state_ != State::sending) return pieces;
  pieces.push_back(bytes_of(step()).substr(sent_));
  for (size_t i = index_ + 1; i < program_->size() && sends(program_->step(i).kind); ++i) {
    if (!bytes_of(program_->step(i)).empty()) pieces.push_back(bytes_of(program_->step(i)));
  }
  return pieces;
}

void StepRun::sent(size_t size) {
  while (size > 0 && state_ != State::failed) {
    BERTH_CHECK(state_ == State::sending, "no more is sent than there is to send");
    const size_t part = std::min(size, bytes_of(step()).size() - sent_);
    sent_ += part;
    size -= part;
    go_on();
  }
}

size_t StepRun::feed(std::string_view bytes) {
  if (state_ == State::failed || bytes.empty()) return bytes.size();
  input_ += bytes;
  go_on();
  return bytes.size();
}

void StepRun::end() {
  if (state_ == State::sending) {
    fail(title() + "the server closed the connection" + said_so_far(", having said "));
  } else if (state_ == State::expecting) {
    disappointed("the server closed the connection" + said_so_far(" after "));
  }
}

void StepRun::time_out(Duration after) {
  const std::string within = "within " + format_duration(after);
  if (state_ == State::sending) {
    fail(title() + "could not be sent " + within);
  } else if (state_ == State::expecting) {
    disappointed(input_.empty() ? "nothing came " + within : within + said_so_far(" came only "));
  }
}

// As far as is possible without sending more or hearing more.
void StepRun::go_on() {
  for (; index_ < program_->size(); ++index_, sent_ = looked_at_ = 0) {
    if (sends(step().kind)) {
      state_ = State::sending;
      if (sent_ == bytes_of(step()).size()) continue;
      if (input_.size() > kMaxStepInputBytes) fail_for_more();
      return;
    }
    state_ = State::expecting;
    if (look() != Progress::satisfied) return;
    input_.erase(0, taken_);
  }
  state_ = State::done;
  if (!input_.empty()) fail_for_more();
}

StepRun::Progress StepRun::look() {
  switch (step().kind) {
    case Kind::expect: return look_for_bytes();
    case Kind::expect_re: return look_at_line();
    default: return search();
  }
}

StepRun::Progress StepRun::look_for_bytes() {
  const std::string& wanted = step().text;
  const size_t to = std::min(wanted.size(), input_.size());
  if (input_.compare(looked_at_, to - looked_at_, wanted, looked_at_, to - looked_at_) != 0) {
    return disappointed(program_->shown(input_, Part::first) + " came");
  }
  looked_at_ = taken_ = to;
  return to == wanted.size() ? Progress::satisfied : Progress::wants_more;
}

StepRun::Progress StepRun::look_at_line() {
  const size_t found = input_.find('\n', looked_at_);
  looked_at_ = std::min(found, input_.size());
  if (looked_at_ > kMaxStepLineBytes) {
    return disappointed("a line of more than " + std::to_string(kMaxStepLineBytes) +
                        " bytes came, " + program_->shown(input_, Part::first));
  }
  if (found == input_.npos) return Progress::wants_more;
  taken_ = found + 1;
  std::string_view line(input_.data(), found);
  if (line.ends_with('\r')) line.remove_suffix(1);
  if (pattern().matches_all_of(line)) return Progress::satisfied;
  return disappointed(program_->shown(line, Part::first) + " came");
}

// What has come is searched in blocks whose borders do not depend on how it came, each together
// with the block before it: so each match that fits into a block is found, and only the first
// bytes of a block are ever searched again.
StepRun::Progress StepRun::search() {
  constexpr size_t kBlock = kMaxStepMatchBytes;
  const size_t limit = std::min(input_.size(), kMaxStepInputBytes);
  while (looked_at_ < limit) {
    const size_t block = looked_at_ / kBlock;
    const size_t begin = block == 0 ? 0 : (block - 1) * kBlock;
    const size_t end = std::min((block + 1) * kBlock, limit);
    if (matches_surely(begin, end)) {
      // What matches surely still does so with more bytes, hence the first of them by bisection.
      for (taken_ = end; looked_at_ + 1 < taken_;) {
        const size_t middle = looked_at_ + (taken_ - looked_at_) / 2;
        (matches_surely(begin, middle) ? taken_ : looked_at_) = middle;
      }
      return Progress::satisfied;
    }
    looked_at_ = end;
  }
  if (limit < kMaxStepInputBytes) return Progress::wants_more;
  const std::string_view seen(input_.data(), limit);
  return disappointed("none is in " + std::to_string(limit) + " bytes, which end with " +
                      program_->shown(seen, Part::last));
}

// Whether the pattern matches within input_[begin, end), whatever comes next.
bool StepRun::matches_surely(size_t begin, size_t end) {
  input_.push_back('\0');
  const char next = input_[end];
  const bool sure = std::all_of(std::begin(kNextKinds), std::end(kNextKinds), [&](char kind) {
    input_[end] = kind;
    return pattern().matches_within({input_.data(), end + 1}, begin, end);
  });
  input_[end] = next;
  input_.pop_back();
  return sure;
}

std::string StepRun::title() const {
  return "step " + std::to_string(program_->first() + index_ + 1) + " (" + name_of(step().kind) +
         "): ";
}

std::string StepRun::expected() const {
  std::string text = program_->shown(step().text, Part::first);
  switch (step().kind) {
    case Kind::expect_re: return "a line that matches " + text;
    case Kind::until_re: return "a match of " + text;
    default: return text;
  }
}

std::string StepRun::said_so_far(const char* before) const {
  if (input_.empty()) return {};
  const bool many = state_ == State::expecting && step().kind == Kind::until_re;
  return before + program_->shown(input_, many ? Part::last : Part::first);
}

StepRun::Progress StepRun::disappointed(const std::string& by) {
  fail(title() + expected() + " expected, but " + by);
  return Progress::failed;
}

void StepRun::fail_for_more() {
  const bool over = index_ == program_->size();
  fail((over ? "after the last step: " : title()) +
       "the server said more than is expected: " + program_->shown(input_, Part::first));
}

void StepRun::fail(std::string text) {
  BERTH_CHECK(state_ != State::failed, "a run fails once");
  state_ = State::failed;
  why_ = std::move(text);
}

}  // namespace berth::wire
