// StepProgram and StepRun: steps carried out on bytes, as an Exchange.
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
#include "wire/exchange.h"
#include "wire/shown.h"

namespace berth::wire {

// Steps with their patterns compiled. Immutable; made once and shared by all runs.
class StepProgram {
 public:
  // Requires: the patterns compile, as the configuration's do, and none is start_tls.
  explicit StepProgram(const Steps& steps) : StepProgram(steps, 0, steps.size()) {}
  // [first, last) of `all`, which are counted in messages and whose secrets are kept out of them.
  StepProgram(const Steps& all, size_t first, size_t last);

  size_t size() const { return steps_.size(); }
  const Step& step(size_t index) const { return steps_[index]; }
  const Pattern& pattern(size_t index) const { return *patterns_[index]; }  // of *_re
  size_t first() const { return first_; }  // how many of all precede its own

  // As wire::shown(); the program's secrets are the secrets.
  std::string shown(std::string_view bytes, Part part) const;

 private:
  Steps steps_;
  size_t first_ = 0;
  std::vector<std::optional<Pattern>> patterns_;  // as long as steps_
  std::vector<Secret> secrets_;
};

// What steps are on both sides of TLS; nullptr where there is none.
struct StepParts {
  std::shared_ptr<const StepProgram> before;  // all, if they start no TLS
  bool starts_tls = false;
  std::shared_ptr<const StepProgram> after;
};

// Requires: one step at most starts TLS, and as above.
StepParts compile_steps(const Steps& steps);

// One execution of a program. It takes all that comes, at any time; more after the last step fails
// even a run that was done. Loop thread only.
class StepRun final : public Exchange {
 public:
  explicit StepRun(std::shared_ptr<const StepProgram> program);

  State state() const override { return state_; }
  // Names the step, what was expected, what came.
  const std::string& why() const override { return why_; }
  size_t index() const override { return index_; }
  Duration timeout() const override;

  // Of this step and of those that follow it without expecting anything between.
  std::vector<std::string_view> to_send() const override;
  void sent(size_t size) override;

  bool takes_all() const override { return true; }
  size_t feed(std::string_view bytes) override;
  void end() override;
  void time_out(Duration after) override;

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
