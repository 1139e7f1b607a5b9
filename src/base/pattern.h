// Pattern: a regular expression in RE2's syntax, over bytes. Matching takes time that is linear in
// the text, whatever the pattern. Immutable; any thread.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <variant>

namespace re2 {
class RE2;
}

namespace berth {

class Pattern {
 public:
  // What ^ and $ mean, where the pattern itself does not say so with (?m).
  enum class Anchors { text, line };

  // Either the pattern, or what RE2 finds wrong with `text`, which includes one that is too large.
  static std::variant<Pattern, std::string> compile(std::string_view text, Anchors anchors);

  bool matches_all_of(std::string_view text) const;
  // Whether it matches within text[begin, end). What stands before and after is looked at for ^, $
  // and \b, and only the very ends of `text` count as such.
  bool matches_within(std::string_view text, size_t begin, size_t end) const;

 private:
  explicit Pattern(std::shared_ptr<const re2::RE2> expression);

  std::shared_ptr<const re2::RE2> expression_;
};

}  // namespace berth
