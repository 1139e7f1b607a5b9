// nearest(): what somebody may have meant by a word that is not known, for "did you mean …?".
//
// Pure and bounded: cheap enough to answer a mistyped key among a thousand pools. No
// dependencies: the command line tools use it too.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace berth {

// The candidate that the fewest typing mistakes (a letter too many, missing, wrong, or two
// swapped) turn into `word`; the first of several. "" if none is near enough: at most a third of
// the word may be mistaken, and never more than three letters.
std::string nearest(std::string_view word, std::span<const std::string_view> candidates);
std::string nearest(std::string_view word, std::span<const std::string> candidates);

}  // namespace berth
