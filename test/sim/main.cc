// sim: plays random histories against the policies of the stream pools and of the channel pools,
// and checks them after each event.
//
//   sim --seed N --steps N [--seeds K] [--model stream|channel] [--verbose | --shrink]
//
// K histories of N steps with each policy, the seeds counted from N. A seed decides everything: a
// failure comes again. With --shrink it comes again from as few steps as still break the same rule,
// told in words.
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>

#include "sim/channel/player.h"
#include "sim/game.h"
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
  std::string model;  // "": both
};

struct Model {
  const char* name;
  NewGame game;
};
template <class Played>
std::unique_ptr<Game> make_game(uint64_t seed, bool aloud) {
  return std::make_unique<Played>(seed, aloud);
}
constexpr Model kModels[] = {{"stream", make_game<Player>},
                             {"channel", make_game<channels::Player>}};

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
  tell("a check inside the policy", 0);
}

bool parse(int argc, char** argv, Options& options) {
  for (int i = 1; i < argc; ++i) {
    const std::string_view name = argv[i];
    if (name == "--verbose" || name == "--shrink") {
      (name == "--verbose" ? options.verbose : options.shrink) = true;
      continue;
    }
    if (name == "--model" && i + 1 < argc) {
      options.model = argv[++i];
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

// False: a rule was broken.
bool play(NewGame new_game, const Script& script, bool aloud, Tally& sum) {
  const std::unique_ptr<Game> game = new_game(g_seed, aloud);
  g_trace = &game->trace();
  try {
    for (const Turn& turn : script) game->play(turn);
  } catch (const Broken& broken) {
    tell(broken.rule, broken.subject);
    return false;
  }
  const Tally tally = game->tally();
  sum.events += tally.events;
  sum.granted += tally.granted;
  sum.refused += tally.refused;
  return true;
}

// The history, or as little of it as fails.
Script script_for(NewGame game, const Options& options) {
  Script script = options.shrink ? shortest_failure(game, g_seed, options.steps) : Script();
  if (script.empty()) return history(options.steps);
  std::fprintf(stderr, "%zu steps are left:\n", script.size());
  return script;
}

bool run(const Model& model, const Options& options) {
  Tally sum;
  for (g_seed = options.seed; g_seed < options.seed + options.seeds; ++g_seed) {
    const Script script = script_for(model.game, options);
    if (!play(model.game, script, options.verbose || options.shrink, sum)) return false;
  }
  std::printf(
      "sim: %s pools: %llu seeds from %llu, %llu steps each: %llu events, %llu granted, "
      "%llu refused; all held\n",
      model.name, static_cast<unsigned long long>(options.seeds),
      static_cast<unsigned long long>(options.seed), static_cast<unsigned long long>(options.steps),
      static_cast<unsigned long long>(sum.events), static_cast<unsigned long long>(sum.granted),
      static_cast<unsigned long long>(sum.refused));
  return true;
}

int run(const Options& options) {
  int played = 0;
  for (const Model& model : kModels) {
    if (!options.model.empty() && options.model != model.name) continue;
    if (!run(model, options)) return 1;
    ++played;
  }
  return played > 0 ? 0 : 64;
}

}  // namespace
}  // namespace berth::sim

int main(int argc, char** argv) {
  berth::sim::Options options;
  if (!berth::sim::parse(argc, argv, options)) {
    std::fprintf(stderr,
                 "usage: sim --seed N --steps N [--seeds K] [--model stream|channel] [--verbose | "
                 "--shrink]\n");
    return 64;
  }
  std::signal(SIGABRT, berth::sim::on_abort);
  return berth::sim::run(options);
}
