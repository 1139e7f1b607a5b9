// sim: plays random histories against the policy of the stream pools and checks it after each
// event.
//
//   sim --seed N --steps N [--seeds K] [--verbose | --shrink]
//
// K histories of N steps, the seeds counted from N. A seed decides everything: a failure comes
// again. With --shrink it comes again from as few steps as still break the same rule, told in
// words.
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string_view>

#include "sim/player.h"
#include "sim/trial.h"

namespace berth::sim {
namespace {

struct Options {
  uint64_t seed = 1;
  uint64_t steps = 100'000;
  uint64_t seeds = 1;
  bool verbose = false;
  bool shrink = false;
};

// For the trace when a BERTH_CHECK ends the process.
const Trace* g_trace = nullptr;
uint64_t g_seed = 0;

void tell(const char* rule, uint64_t subject) {
  std::fprintf(stderr, "FAILED  seed %llu, step %llu: %s (%llu)\n",
               static_cast<unsigned long long>(g_seed),
               static_cast<unsigned long long>(g_trace->step()), rule,
               static_cast<unsigned long long>(subject));
  if (g_trace->aloud()) return;
  std::fprintf(stderr, "The last events:\n");
  g_trace->print_last();
}

void on_abort(int) {
  tell("a check inside the depot", 0);
}

bool parse(int argc, char** argv, Options& options) {
  for (int i = 1; i < argc; ++i) {
    const std::string_view name = argv[i];
    if (name == "--verbose" || name == "--shrink") {
      (name == "--verbose" ? options.verbose : options.shrink) = true;
      continue;
    }
    uint64_t* value = name == "--seed"    ? &options.seed
                      : name == "--steps" ? &options.steps
                      : name == "--seeds" ? &options.seeds
                                          : nullptr;
    if (value == nullptr || i + 1 == argc) return false;
    char* end = nullptr;
    *value = std::strtoull(argv[++i], &end, 10);
    if (*end != '\0') return false;
  }
  return true;
}

struct Sums {
  uint64_t events = 0;
  uint64_t grants = 0;
  uint64_t refusals = 0;
};

// False: a rule was broken.
bool play(const Script& script, bool aloud, Sums& sums) {
  const auto player = std::make_unique<Player>(g_seed, aloud);
  g_trace = &player->model().trace;
  try {
    for (const Turn& turn : script) player->play(turn);
  } catch (const Broken& broken) {
    tell(broken.rule, broken.subject);
    return false;
  }
  sums.events += player->model().event;
  sums.grants += player->model().grants;
  sums.refusals += player->model().refusals;
  return true;
}

// The history, or as little of it as fails.
Script script_for(const Options& options) {
  Script script = options.shrink ? shortest_failure(g_seed, options.steps) : Script();
  if (script.empty()) return Player::history(options.steps);
  std::fprintf(stderr, "%zu steps are left:\n", script.size());
  return script;
}

int run(const Options& options) {
  Sums sums;
  for (g_seed = options.seed; g_seed < options.seed + options.seeds; ++g_seed) {
    const Script script = script_for(options);
    if (!play(script, options.verbose || options.shrink, sums)) return 1;
  }
  std::printf(
      "sim: %llu seeds from %llu, %llu steps each: %llu events, %llu grants, %llu refusals; "
      "all held\n",
      static_cast<unsigned long long>(options.seeds), static_cast<unsigned long long>(options.seed),
      static_cast<unsigned long long>(options.steps), static_cast<unsigned long long>(sums.events),
      static_cast<unsigned long long>(sums.grants), static_cast<unsigned long long>(sums.refusals));
  return 0;
}

}  // namespace
}  // namespace berth::sim

int main(int argc, char** argv) {
  berth::sim::Options options;
  if (!berth::sim::parse(argc, argv, options)) {
    std::fprintf(stderr, "usage: sim --seed N --steps N [--seeds K] [--verbose | --shrink]\n");
    return 64;
  }
  std::signal(SIGABRT, berth::sim::on_abort);
  return berth::sim::run(options);
}
