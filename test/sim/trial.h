// Trial: plays a script in a process of its own, since what it breaks may end that process.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "sim/game.h"

namespace berth::sim {

struct Outcome {
  std::string broken;  // the rule; empty: all held
  size_t played = 0;   // turns until then
};

Outcome try_out(NewGame game, uint64_t seed, const Script& script);

// A short part of a whole history that still breaks the same rule, if that breaks one: else empty.
Script shortest_failure(NewGame game, uint64_t seed, uint64_t steps);

}  // namespace berth::sim
