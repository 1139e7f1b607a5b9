// Signals: SIGALRM to this process, every 20 microseconds, for as long as it lives. One at a time.
#pragma once

#include <signal.h>
#include <sys/time.h>

#include <functional>

namespace berth::test {

class Signals {
 public:
  // `handler` is called for each; only what is safe there (signal-safety(7)).
  explicit Signals(std::function<void()> handler = [] {}) {
    handler_ = std::move(handler);
    struct sigaction action {};
    action.sa_handler = [](int) { handler_(); };
    action.sa_flags = SA_RESTART;
    sigaction(SIGALRM, &action, &before_);
    const itimerval often{{0, 20}, {0, 20}};
    setitimer(ITIMER_REAL, &often, nullptr);
  }
  ~Signals() {
    const itimerval never{};
    setitimer(ITIMER_REAL, &never, nullptr);
    sigaction(SIGALRM, &before_, nullptr);
  }
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;

 private:
  static inline std::function<void()> handler_;
  struct sigaction before_ {};
};

}  // namespace berth::test
