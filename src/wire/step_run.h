// StepProgram and StepRun: steps carried out on bytes. The engine sees neither a socket nor a
// clock: it tells what to send, takes what came, and ends in done or failed.
//
// Bytes that come before a step expects them (answers to what was sent without waiting) are kept
// for it, at most kMaxStepInputBytes; those that are left after the last step fail the run. How
// the bytes are split on their way makes no difference to the outcome.
//
// What it costs: a byte is looked at once for expect and twice for the other kinds, and each call
// of feed() looks again at no more than 2 * kMaxStepMatchBytes (and once a step, to find where a
// match ended, 30 times). For that, until_re only promises to find a match of at most
// kMaxStepMatchBytes. Nor does it know an end of the text: \z and a $ without line break match
// nothing. The first byte with which the pattern matches, whatever comes after it, ends the step.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/pattern.h"
#include "base/steps.h"

namespace berth::wire {

// Steps with their patterns compiled. Immutable; made once and shared by all runs.
class StepProgram {
 public:
  // Requires: the patterns compile, as the configuration's do.
  explicit StepProgram(Steps steps);

  size_t size() const { return steps_.size(); }
  const Step& step(size_t index) const { return steps_[index]; }
  const Pattern& pattern(size_t index) const { return *patterns_[index]; }  // of *_re

  // For people: at most kMaxStepBytesShown of the bytes, the first or the last, in quotes, escaped
  // as in C. Secrets of the program are shown as ***, and what may be a piece of one at either end
  // of the bytes.
  enum class Part { first, last };
  std::string shown(std::string_view bytes, Part part) const;

 private:
  Steps steps_;
  std::vector<std::optional<Pattern>> patterns_;  // as long as steps_
};

// One execution of a program. Loop thread only.
class StepRun {
 public:
  enum class State { sending, expecting, done, failed };

  explicit StepRun(std::shared_ptr<const StepProgram> program);

  State state() const { return state_; }
  // The step that is under way, from 0; for a caller who times each.
  size_t index() const { return index_; }
  // How long it may take by its own setting; 0: as long as the run may.
  Duration timeout() const;

  // What is to be sent next, in pieces: of this step and of those that follow it without expecting
  // anything between. Empty unless sending. Valid until the next call that is not const.
  std::vector<std::string_view> to_send() const;
  // The first `size` of these bytes are on their way.
  void sent(size_t size);

  // What the server says. It may speak at any time; more after the last step fails even a run that
  // was done.
  void feed(std::string_view bytes);

  // The server closed the connection, or the time `after` has run out. Neither undoes done.
  void end();
  void time_out(Duration after);

  // Why it failed, for people: the step, what was expected, what came. Never a secret.
  const std::string& why() const { return why_; }

 private:
  enum class Progress { wants_more, satisfied, failed };

  const Step& step() const { return program_->step(index_); }
  const Pattern& pattern() const { return program_->pattern(index_); }
  void go_on();
  Progress look();
  Progress look_for_bytes();
  Progress look_at_line();
  Progress search();
  bool matches_surely(size_t begin, size_t end);

  std::string title() const;
  std::string expected() const;
  std::string said_so_far(const char* before) const;
  Progress disappointed(const std::string& by);
  void fail_for_more();
  void fail(std::string text);

  std::shared_ptr<const StepProgram> program_;
  State state_ = State::done;
  size_t index_ = 0;      // the program's size once done
  size_t sent_ = 0;       // of this step's bytes
  std::string input_;     // what came and no step has consumed
  size_t looked_at_ = 0;  // how much of it the current step has dealt with
  size_t taken_ = 0;      // how much of it the current step consumes
  std::string why_;
};

}  // namespace berth::wire
