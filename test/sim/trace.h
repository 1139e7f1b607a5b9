// Trace: the last events of a run, kept as numbers and put into words only when somebody looks.
#pragma once

#include <array>
#include <cstdint>
#include <cstdio>

#include "base/time.h"

namespace berth::sim {

class Trace {
 public:
  static constexpr size_t kKept = 32;

  explicit Trace(bool aloud) : aloud_(aloud) {}

  // `format` is a literal and takes up to four %llu.
  void add(TimePoint now, const char* format, uint64_t a = 0, uint64_t b = 0, uint64_t c = 0,
           uint64_t d = 0) {
    Line& line = lines_[count_++ % kKept];
    line = {now, step_, format, {a, b, c, d}};
    if (aloud_) print(line);
  }
  void step(uint64_t step) { step_ = step; }
  uint64_t step() const { return step_; }
  bool aloud() const { return aloud_; }

  void print_last() const {
    const size_t shown = count_ < kKept ? count_ : kKept;
    for (size_t i = count_ - shown; i < count_; ++i) print(lines_[i % kKept]);
  }

 private:
  struct Line {
    TimePoint now{};
    uint64_t step = 0;
    const char* format = "";
    std::array<uint64_t, 4> values{};
  };

  static void print(const Line& line) {
    const double ms =
        std::chrono::duration<double, std::milli>(line.now.time_since_epoch()).count();
    std::fprintf(stderr, "  %7llu %12.3f ms  ", static_cast<unsigned long long>(line.step), ms);
    const auto value = [&](size_t i) { return static_cast<unsigned long long>(line.values[i]); };
    std::fprintf(stderr, line.format, value(0), value(1), value(2), value(3));
    std::fputc('\n', stderr);
  }

  bool aloud_;
  uint64_t step_ = 0;
  size_t count_ = 0;
  std::array<Line, kKept> lines_{};
};

}  // namespace berth::sim
