// Game: a history that is played against one policy, turn by turn, and judged as it is played.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "sim/trace.h"

namespace berth::sim {

// A rule that was broken: which, and the id of what broke it.
struct Broken {
  const char* rule;
  uint64_t subject;
};

inline void expect(bool holds, const char* rule, uint64_t subject = 0) {
  if (!holds) throw Broken{rule, subject};
}

// One entry of a script. Its random numbers come from the seed and `step` alone, so that it does
// the same when others are left out, as far as it still can.
struct Turn {
  enum class Kind { step, quiet, shut_down };
  Kind kind;
  uint64_t step;
};
using Script = std::vector<Turn>;

// A whole history: so many steps, quiet now and then, and a shutdown at the end.
inline Script history(uint64_t steps) {
  constexpr uint64_t kStepsBetweenQuiets = 1500;
  constexpr uint64_t kStepsBeforeShutdown = 100;
  Script script;
  for (uint64_t i = 1; i <= steps; ++i) {
    script.push_back({Turn::Kind::step, i});
    if (i % kStepsBetweenQuiets == 0 || i == steps) script.push_back({Turn::Kind::quiet, i});
  }
  const uint64_t last = steps + kStepsBeforeShutdown;
  for (uint64_t i = steps + 1; i <= last; ++i) script.push_back({Turn::Kind::step, i});
  script.push_back({Turn::Kind::shut_down, last + 1});
  return script;
}

// What was played, for people.
struct Tally {
  uint64_t events = 0;
  uint64_t granted = 0;  // leases, or streams that got a channel
  uint64_t refused = 0;
};

class Game {
 public:
  virtual ~Game() = default;
  // Throws Broken.
  virtual void play(const Turn& turn) = 0;
  virtual const Trace& trace() const = 0;
  virtual Tally tally() const = 0;
};

using NewGame = std::unique_ptr<Game> (*)(uint64_t seed, bool aloud);

}  // namespace berth::sim
