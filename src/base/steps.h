// Steps: a short dialogue with a server, as the settings greeting, login, check and reset describe
// it (berthd.toml(5), "STEPS"). wire/step_run.h carries it out.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/pattern.h"
#include "base/secret.h"
#include "base/time.h"

namespace berth {

struct Step {
  enum class Kind {
    send,
    send_file,
    expect,     // exactly these bytes come next
    expect_re,  // the next line matches the pattern, wholly
    until_re,   // what comes is discarded through the first match of the pattern
    start_tls,  // the handshake of TLS, which carries what follows
  };

  Kind kind = Kind::send;
  std::string text;  // the bytes; of send_file the path, of *_re the pattern, of start_tls "start"
  Secret secret = {};  // of send_file: what is sent
  Duration timeout{};  // for this step alone; 0: none

  friend bool operator==(const Step&, const Step&) = default;
};

using Steps = std::vector<Step>;

constexpr const char* name_of(Step::Kind kind) {
  switch (kind) {
    case Step::Kind::send: return "send";
    case Step::Kind::send_file: return "send_file";
    case Step::Kind::expect: return "expect";
    case Step::Kind::expect_re: return "expect_re";
    case Step::Kind::until_re: return "until_re";
    case Step::Kind::start_tls: return "tls";
  }
  return "";
}

constexpr bool sends(Step::Kind kind) {
  return kind == Step::Kind::send || kind == Step::Kind::send_file;
}
constexpr bool expects(Step::Kind kind) {
  return !sends(kind) && kind != Step::Kind::start_tls;
}

// Where TLS begins among them; their number if it does not.
inline size_t tls_step(const Steps& steps) {
  const auto starts = [](const Step& step) { return step.kind == Step::Kind::start_tls; };
  return static_cast<size_t>(std::find_if(steps.begin(), steps.end(), starts) - steps.begin());
}

// The pattern of an expect_re or until_re, or what is wrong with it. The latter looks at many
// lines, so that its ^ and $ are at the beginning and end of each.
inline std::variant<Pattern, std::string> compile_pattern(Step::Kind kind, std::string_view text) {
  const bool many_lines = kind == Step::Kind::until_re;
  return Pattern::compile(text, many_lines ? Pattern::Anchors::line : Pattern::Anchors::text);
}

}  // namespace berth
