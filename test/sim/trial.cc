#include "sim/trial.h"

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "base/check.h"
#include "sim/shrink.h"

namespace berth::sim {
namespace {

// What the child tells, in memory that both see.
struct Report {
  char rule[200];
  size_t played;
};
Report* g_report = nullptr;

void note_rule(const char* rule) {
  std::strncpy(g_report->rule, rule, sizeof(g_report->rule) - 1);
}

void on_abort(int) {
  note_rule("a check inside the policy");
}

[[noreturn]] void play_as_child(NewGame new_game, uint64_t seed, const Script& script) {
  std::signal(SIGABRT, on_abort);
  if (std::freopen("/dev/null", "w", stderr) == nullptr) std::_Exit(1);
  try {
    const std::unique_ptr<Game> game = new_game(seed, false);
    for (const Turn& turn : script) {
      ++g_report->played;
      game->play(turn);
    }
  } catch (const Broken& broken) {
    note_rule(broken.rule);
  }
  std::_Exit(0);
}

}  // namespace

Outcome try_out(NewGame game, uint64_t seed, const Script& script) {
  if (g_report == nullptr) {
    void* const shared =
        mmap(nullptr, sizeof(Report), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    BERTH_CHECK(shared != MAP_FAILED, "a page can be had");
    g_report = static_cast<Report*>(shared);
  }
  *g_report = {};
  const pid_t child = fork();
  BERTH_CHECK(child >= 0, "a process can be had");
  if (child == 0) play_as_child(game, seed, script);
  int status = 0;
  waitpid(child, &status, 0);
  if (status != 0 && g_report->rule[0] == '\0') note_rule("the process survives");
  return {g_report->rule, g_report->played};
}

Script shortest_failure(NewGame game, uint64_t seed, uint64_t steps) {
  Script script = history(steps);
  const Outcome whole = try_out(game, seed, script);
  if (whole.broken.empty()) return {};
  script.resize(whole.played, script.front());
  return shrink(std::move(script), [&](const Script& part) {
    return try_out(game, seed, part).broken == whole.broken;
  });
}

}  // namespace berth::sim
