#include "base/pattern.h"

#include <re2/re2.h>

#include <utility>

#include "base/limits.h"

namespace berth {
namespace {

RE2::Options options() {
  RE2::Options options(RE2::Latin1);  // each byte is a character
  options.set_log_errors(false);
  options.set_never_capture(true);
  options.set_max_mem(kMaxPatternMemory);
  return options;
}

}  // namespace

Pattern::Pattern(std::shared_ptr<const RE2> expression) : expression_(std::move(expression)) {}

std::variant<Pattern, std::string> Pattern::compile(std::string_view text, Anchors anchors) {
  const std::string whole = (anchors == Anchors::line ? "(?m)" : "") + std::string(text);
  auto expression = std::make_shared<const RE2>(whole, options());
  if (!expression->ok()) {
    const RE2 alone({text.data(), text.size()}, options());  // whose error quotes the text only
    return alone.ok() ? expression->error() : alone.error();
  }
  return Pattern(std::move(expression));
}

bool Pattern::matches_all_of(std::string_view text) const {
  return expression_->Match({text.data(), text.size()}, 0, text.size(), RE2::ANCHOR_BOTH, nullptr,
                            0);
}

bool Pattern::matches_within(std::string_view text, size_t begin, size_t end) const {
  return expression_->Match({text.data(), text.size()}, begin, end, RE2::UNANCHORED, nullptr, 0);
}

}  // namespace berth
