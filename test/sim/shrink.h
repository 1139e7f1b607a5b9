// Shrinking: a short part of a list that still does what the whole does (delta debugging: Zeller
// and Hildebrandt, Simplifying and Isolating Failure-Inducing Input, 2002).
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

namespace berth::sim {

// Requires: `fails(all)`. Of what comes back not one can be left out. Leaves out in large pieces
// first, so that few calls of `fails` are needed.
template <class T, class Fails>
std::vector<T> shrink(std::vector<T> all, Fails&& fails) {
  size_t piece = std::max<size_t>(1, all.size() / 2);
  while (true) {
    bool shorter = false;
    for (size_t at = 0; at < all.size();) {
      const auto from = all.begin() + static_cast<std::ptrdiff_t>(at);
      const auto to = from + static_cast<std::ptrdiff_t>(std::min(piece, all.size() - at));
      std::vector<T> rest(all.begin(), from);
      rest.insert(rest.end(), to, all.end());
      if (fails(rest)) {
        all = std::move(rest);
        shorter = true;
      } else {
        at += piece;
      }
    }
    if (piece == 1 && !shorter) return all;
    if (piece > 1) piece = (piece + 1) / 2;
  }
}

}  // namespace berth::sim
