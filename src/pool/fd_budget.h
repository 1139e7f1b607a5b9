// FdBudget: the file descriptors that the daemon may hold (rule 22).
//
// Everything that opens a descriptor reserves it here first and gives it back after the close, so
// that the count is never below the truth. The reserve for the daemon's own use is outside it.
#pragma once

#include <cstdint>

#include "base/check.h"

namespace berth::pool {

class FdBudget {
 public:
  explicit FdBudget(uint32_t limit) : limit_(limit) {}

  // All of `count` or nothing.
  [[nodiscard]] bool reserve(uint32_t count) {
    if (count > free()) return false;
    used_ += count;
    return true;
  }
  void release(uint32_t count) {
    BERTH_CHECK(count <= used_, "only reserved descriptors are given back");
    used_ -= count;
  }

  uint32_t limit() const { return limit_; }
  uint32_t used() const { return used_; }
  uint32_t free() const { return limit_ - used_; }

 private:
  uint32_t limit_;
  uint32_t used_ = 0;
};

}  // namespace berth::pool
