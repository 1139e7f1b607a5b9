// sim: plays random histories against the policy of the stream pools and checks it after each
// event.
//
//   sim --seed N --steps N [--seeds K] [--verbose]
//
// K histories of N steps, the seeds counted from N. A seed decides everything: a failure comes
// again.
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string_view>

#include "sim/player.h"

namespace berth::sim {
namespace {

struct Options {
  uint64_t seed = 1;
  uint64_t steps = 100'000;
  uint64_t seeds = 1;
  bool verbose = false;
};

// For the trace when a BERTH_CHECK ends the process.
const Trace* g_trace = nullptr;
uint64_t g_seed = 0;

void tell(const char* rule, uint64_t subject) {
  std::fprintf(stderr, "FAILED  seed %llu, step %llu: %s (%llu)\nThe last events:\n",
               static_cast<unsigned long long>(g_seed),
               static_cast<unsigned long long>(g_trace->step()), rule,
               static_cast<unsigned long long>(subject));
  g_trace->print_last();
}

void on_abort(int) {
  tell("a check inside the depot", 0);
}

bool parse(int argc, char** argv, Options& options) {
  for (int i = 1; i < argc; ++i) {
    const std::string_view name = argv[i];
    if (name == "--verbose") {
      options.verbose = true;
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

int run(const Options& options) {
  uint64_t grants = 0;
  uint64_t refusals = 0;
  uint64_t events = 0;
  for (g_seed = options.seed; g_seed < options.seed + options.seeds; ++g_seed) {
    const auto player = std::make_unique<Player>(g_seed, options.verbose);
    g_trace = &player->model().trace;
    try {
      player->play(options.steps);
    } catch (const Broken& broken) {
      tell(broken.rule, broken.subject);
      return 1;
    }
    grants += player->model().grants;
    refusals += player->model().refusals;
    events += player->model().event;
  }
  std::printf(
      "sim: %llu seeds from %llu, %llu steps each: %llu events, %llu grants, %llu refusals; "
      "all held\n",
      static_cast<unsigned long long>(options.seeds), static_cast<unsigned long long>(options.seed),
      static_cast<unsigned long long>(options.steps), static_cast<unsigned long long>(events),
      static_cast<unsigned long long>(grants), static_cast<unsigned long long>(refusals));
  return 0;
}

}  // namespace
}  // namespace berth::sim

int main(int argc, char** argv) {
  berth::sim::Options options;
  if (!berth::sim::parse(argc, argv, options)) {
    std::fprintf(stderr, "usage: sim --seed N --steps N [--seeds K] [--verbose]\n");
    return 64;
  }
  std::signal(SIGABRT, berth::sim::on_abort);
  return berth::sim::run(options);
}
