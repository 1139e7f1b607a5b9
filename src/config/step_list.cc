#include "config/step_list.h"

#include <array>
#include <span>
#include <utility>
#include <variant>

#include "base/limits.h"
#include "base/nearest.h"
#include "config/kinds.h"
#include "config/secret_path.h"
#include "config/text.h"

namespace berth::config {
namespace {

using namespace std::chrono_literals;
using Kind = Step::Kind;

constexpr std::array kKinds = {Kind::send,      Kind::send_file, Kind::expect,
                               Kind::expect_re, Kind::until_re,  Kind::start_tls};
constexpr std::array kNames = std::to_array<std::string_view>(
    {"send", "send_file", "expect", "expect_re", "until_re", "tls", "timeout"});
constexpr Time kTimeout{1ms, 1h, ZeroIs::refused};

bool is_bytes(Kind kind) {
  return kind == Kind::send || kind == Kind::expect;
}

// No message here quotes a value that is not what it should be: it may be a password.

void read_bytes(const std::string& text, const Value& value, Reading& reading, Step& step) {
  auto bytes = unescape(text);
  if (auto* error = std::get_if<BadEscape>(&bytes)) {
    reading.refuse(value, ": " + error->text);
  } else {
    step.text = std::get<std::string>(std::move(bytes));
  }
}

void read_pattern(const Value& value, Reading& reading, const Step& step) {
  const auto compiled = compile_pattern(step.kind, step.text);
  const auto* error = std::get_if<std::string>(&compiled);
  if (error != nullptr) reading.refuse(value, " is no pattern: " + *error);
}

// What the step sends or expects.
void read_text(const Value& value, Reading& reading, Step& step) {
  const auto* text = value.get<std::string>();
  if (text == nullptr) return reading.refuse(value, " must be a string");
  if (text->empty()) return reading.refuse(value, " is empty");
  step.text = *text;
  if (is_bytes(step.kind)) read_bytes(*text, value, reading, step);
  if (step.text.size() > kMaxStepBytes) {
    return reading.refuse(value, " is longer than " + std::to_string(kMaxStepBytes) + " bytes");
  }
  if (step.kind == Kind::send_file) {
    step.secret = read_secret(step.text, value, reading).value_or(Secret());
    return;
  }
  if (step.kind == Kind::start_tls) {
    if (step.text != "start") reading.refuse(value, " must be \"start\"");
    return;
  }
  if (!is_bytes(step.kind)) read_pattern(value, reading, step);
}

std::string unknown(const std::string& name) {
  const std::string meant = nearest(name, std::span(kNames));
  return " has an unknown " + shown(name) +
         (meant.empty() ? "; it may hold " + alternatives({kNames.begin(), kNames.end()})
                        : "; did you mean " + shown(meant) + "?");
}

// One step. Its settings are told of as "check: step 2: send".
class StepReader {
 public:
  StepReader(const Value& value, std::string name, Reading& list)
      : value_(value), name_(std::move(name)), list_(list) {}

  Step run() {
    const Table* table = value_.get<Table>();
    Reading reading = list_.part(name_);
    if (table == nullptr) {
      reading.refuse(value_, " must be a table, such as {send = \"PING\\r\\n\"}");
    } else {
      for (const Entry& entry : *table) read_entry(entry, reading);
      if (step_.kind == Kind::start_tls && step_.timeout != Duration::zero()) {
        reading.refuse(value_, ": timeout is without effect: TLS has the time that all steps have");
      }
      if (kind_ == nullptr && !reading.failed()) {
        reading.refuse(value_, " neither sends nor expects; it needs one of " +
                                   alternatives({kNames.begin(), kNames.end() - 1}));
      }
    }
    list_.take(reading);
    return std::move(step_);
  }

 private:
  void read_entry(const Entry& entry, Reading& reading) {
    const std::string name = name_ + ": " + entry.name;
    Reading part = list_.part(name);
    if (entry.name == "timeout") {
      step_.timeout = kTimeout.read(entry.value, part).value_or(Duration::zero());
    } else if (const Kind* kind = kind_of(entry.name); kind == nullptr) {
      reading.refuse(entry.value, unknown(entry.name));
    } else if (kind_ != nullptr) {
      reading.refuse(entry.value, std::string(" has both ") + name_of(*kind_) + " and " +
                                      entry.name + "; each needs a step of its own");
    } else {
      kind_ = kind;
      step_.kind = *kind;
      read_text(entry.value, part, step_);
    }
    reading.take(part);
  }

  static const Kind* kind_of(std::string_view name) {
    for (const Kind& kind : kKinds) {
      if (name == name_of(kind)) return &kind;
    }
    return nullptr;
  }

  const Value& value_;
  std::string name_;
  Reading& list_;
  Step step_;
  const Kind* kind_ = nullptr;  // the one that it has
};

std::string written(const Step& step) {
  const std::string text = is_bytes(step.kind) ? escape(step.text) : step.text;
  std::string out = std::string("{") + name_of(step.kind) + " = " + toml_string(text);
  if (step.timeout != Duration::zero()) out += ", timeout = " + kTimeout.write(step.timeout);
  return out + "}";
}

}  // namespace

std::optional<Steps> StepList::read(const Value& value, Reading& reading) const {
  const auto* word = value.get<std::string>();
  if (word != nullptr && !none.empty() && *word == none) return Steps();
  const auto* items = value.get<Array>();
  if (items == nullptr && value.get<Table>() == nullptr) {
    reading.refuse(value,
                   " must be an array of steps, such as [{send = \"PING\\r\\n\"}, {expect = "
                   "\"+PONG\\r\\n\"}]" +
                       (none.empty() ? "" : ", or " + toml_string(none)));
    return std::nullopt;
  }
  const std::span<const Value> values = items != nullptr ? std::span(*items) : std::span(&value, 1);
  if (values.size() > kMaxSteps) {
    reading.refuse(values[kMaxSteps], " has more than " + std::to_string(kMaxSteps) + " steps");
    return std::nullopt;
  }
  Steps steps;
  for (const Value& item : values) {
    const std::string name = ": step " + std::to_string(steps.size() + 1);
    steps.push_back(StepReader(item, std::string(reading.name()) + name, reading).run());
  }
  if (!reading.failed()) check_tls(values, steps, reading);
  return reading.failed() ? std::nullopt : std::optional(std::move(steps));
}

// TLS begins once, before anybody has a connection.
void StepList::check_tls(std::span<const Value> values, const Steps& steps,
                         Reading& reading) const {
  const size_t first = tls_step(steps);
  for (size_t i = first; i < steps.size(); ++i) {
    if (steps[i].kind != Step::Kind::start_tls) continue;
    const std::string title = ": step " + std::to_string(i + 1) + ": ";
    if (tls == Tls::refused) {
      reading.refuse(values[i], title + "TLS begins in greeting or login, not here");
    } else if (i > first) {
      reading.refuse(values[i], title + "TLS has begun in step " + std::to_string(first + 1));
    }
  }
}

std::string StepList::write(const Steps& steps) const {
  if (steps.empty() && !none.empty()) return toml_string(none);
  std::string out;
  for (const Step& step : steps) out += (out.empty() ? "" : ", ") + written(step);
  return "[" + out + "]";
}

}  // namespace berth::config
