// BERTH_CHECK(condition, "why it must hold"): a broken invariant of ours ends the process with the
// place and the reason. Failures that the outside can cause are values, never a check.
#pragma once

#include <cstdio>
#include <cstdlib>

namespace berth {

[[noreturn]] inline void check_failed(const char* condition, const char* why, const char* file,
                                      int line) {
  std::fprintf(stderr, "%s:%d: broken invariant: %s (%s)\n", file, line, why, condition);
  std::abort();
}

}  // namespace berth

#define BERTH_CHECK(condition, why) \
  ((condition) ? void(0) : ::berth::check_failed(#condition, why, __FILE__, __LINE__))
