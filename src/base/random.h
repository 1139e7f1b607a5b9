// Random: a small seeded generator for jitter (splitmix64, Steele, Lea and Flood 2014). Not for
// secrets. The seed decides everything, so that a simulation can be replayed.
#pragma once

#include <cstdint>

namespace berth {

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  uint64_t next() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }

  // In [0, bound); bound > 0.
  uint64_t below(uint64_t bound) { return next() % bound; }

  // In [0, 1).
  double unit() { return static_cast<double>(next() >> 11) * 0x1.0p-53; }

 private:
  uint64_t state_;
};

}  // namespace berth
