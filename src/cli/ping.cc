#include <chrono>
#include <cinttypes>
#include <cstdio>
#include <utility>

#include "cli/key_options.h"

namespace berth::cli {
namespace {

// Milliseconds since it was made, or since the last lap.
class Stopwatch {
 public:
  double lap() {
    const auto before = std::exchange(start_, Clock::now());
    return std::chrono::duration<double, std::milli>(start_ - before).count();
  }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point start_ = Clock::now();
};

int ping_key(berth_session* session, const KeyOptions& options) {
  Stopwatch watch;
  berth_grant grant;
  if (!lease(session, options.key, options.timeout_ms, grant)) return fail();
  const double leased_ms = watch.lap();
  const uint64_t id = grant.id;
  const char* what = grant.fd < 0        ? "bare slot"
                     : grant.reused != 0 ? "warm connection"
                                         : "new connection";
  if (berth_release(session, &grant, BERTH_REUSE) < 0) return fail();
  std::printf("%s: lease %" PRIu64 " of a %s in %.3f ms, given back in %.3f ms\n", options.key, id,
              what, leased_ms, watch.lap());
  return 0;
}

}  // namespace

int run_ping(const Command& self, Globals globals, Words words) {
  KeyOptions options;
  if (const auto over = parse_key_options(self, globals, words, options)) return *over;
  Stopwatch watch;
  const SessionPtr session = open_session(globals, "berth ping");
  if (session == nullptr) return fail();
  std::printf("berthd: session %" PRIu64 " in %.3f ms\n", berth_session_id(session.get()),
              watch.lap());
  return options.key == nullptr ? 0 : ping_key(session.get(), options);
}

}  // namespace berth::cli
