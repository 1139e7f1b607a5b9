// Signals: SIGALRM to this thread, every 20 microseconds, for as long as it lives. One at a time.
#pragma once

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

namespace berth::test {

class Signals {
 public:
  using Handler = void (*)(int);

  // `handler` is called for each; only what is safe there (signal-safety(7)).
  explicit Signals(Handler handler = [](int) {}) {
    struct sigaction action {};
    action.sa_handler = handler;
    action.sa_flags = SA_RESTART;
    sigaction(SIGALRM, &action, nullptr);
    sigevent event{};
    event.sigev_notify = SIGEV_THREAD_ID;
    event.sigev_signo = SIGALRM;
    event._sigev_un._tid = static_cast<pid_t>(syscall(SYS_gettid));
    EXPECT_EQ(timer_create(CLOCK_MONOTONIC, &event, &timer_), 0);
    const itimerspec often{{0, 20'000}, {0, 20'000}};
    EXPECT_EQ(timer_settime(timer_, 0, &often, nullptr), 0);
  }
  ~Signals() {
    timer_delete(timer_);
    signal(SIGALRM, SIG_IGN);  // one may be on its way
  }
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;

 private:
  timer_t timer_{};
};

}  // namespace berth::test
