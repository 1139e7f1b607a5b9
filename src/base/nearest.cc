#include "base/nearest.h"

#include <algorithm>
#include <cstdlib>
#include <vector>

namespace berth {
namespace {

constexpr int kMostMistakes = 3;

// Distances between prefixes of two words, row by row (optimal string alignment). Only the
// diagonal band that can still end within `bound` is computed.
class Alignment {
 public:
  // The number of mistakes, or bound + 1 if there are more than `bound`.
  int distance(std::string_view a, std::string_view b, int bound) {
    const int rows = static_cast<int>(a.size());
    const int columns = static_cast<int>(b.size());
    const int far = bound + 1;
    if (std::abs(rows - columns) > bound) return far;
    above_.assign(b.size() + 1, far);
    row_.assign(b.size() + 1, far);
    for (int j = 0; j <= std::min(columns, bound); ++j) row_[at(j)] = j;
    for (int i = 1; i <= rows; ++i) {
      std::swap(two_above_, above_);
      std::swap(above_, row_);
      row_.assign(b.size() + 1, far);
      if (i <= bound) row_[0] = i;
      int best = row_[0];
      for (int j = std::max(1, i - bound); j <= std::min(columns, i + bound); ++j) {
        best = std::min(best, row_[at(j)] = cell(a, b, i, j));
      }
      if (best > bound) return far;
    }
    return std::min(row_[b.size()], far);
  }

 private:
  static size_t at(int index) { return static_cast<size_t>(index); }

  int cell(std::string_view a, std::string_view b, int i, int j) const {
    const char x = a[at(i - 1)];
    const char y = b[at(j - 1)];
    int least = above_[at(j - 1)] + (x == y ? 0 : 1);
    least = std::min({least, above_[at(j)] + 1, row_[at(j - 1)] + 1});
    const bool swapped = i > 1 && j > 1 && x == b[at(j - 2)] && a[at(i - 2)] == y;
    return swapped ? std::min(least, two_above_[at(j - 2)] + 1) : least;
  }

  std::vector<int> two_above_, above_, row_;
};

template <class Candidates>
std::string nearest_of(std::string_view word, Candidates candidates) {
  Alignment alignment;
  std::string_view best;
  int bound = std::min(kMostMistakes, std::max(1, static_cast<int>(word.size()) / 3));
  for (const std::string_view candidate : candidates) {
    const int mistakes = alignment.distance(word, candidate, bound);
    if (mistakes > bound) continue;
    best = candidate;
    if (mistakes == 0) break;
    bound = mistakes - 1;
  }
  return std::string(best);
}

}  // namespace

std::string nearest(std::string_view word, std::span<const std::string_view> candidates) {
  return nearest_of(word, candidates);
}

std::string nearest(std::string_view word, std::span<const std::string> candidates) {
  return nearest_of(word, candidates);
}

}  // namespace berth
