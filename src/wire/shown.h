// shown(): what a server said, in the text of a failure.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace berth::wire {

enum class Part { first, last };

// For people: at most kMaxStepBytesShown of the bytes, the first or the last, in quotes, escaped
// as in C. The secrets are shown as ***, and what may be a piece of one at either end of the bytes.
std::string shown(std::string_view bytes, Part part, std::span<const std::string_view> secrets);

}  // namespace berth::wire
