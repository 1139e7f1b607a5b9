#include "cli/child.h"

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

namespace berth::cli {
namespace {

constexpr int kPassedOn[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGCONT, SIGWINCH};
constexpr int kSignalled = 128;  // as the shell's: 128 + the signal's number

}  // namespace

bool Child::fork() {
  ::sigemptyset(&watched_);
  ::sigaddset(&watched_, SIGCHLD);
  for (const int signal : kPassedOn) ::sigaddset(&watched_, signal);
  // Blocked before the fork, so that none falls between it and wait().
  ::sigprocmask(SIG_BLOCK, &watched_, &before_);
  const auto child_action = ::signal(SIGCHLD, SIG_DFL);  // ignored, it would reap CMD unseen
  pid_ = ::fork();
  if (pid_ != 0) return pid_ > 0;
  if (child_action != SIG_ERR) ::signal(SIGCHLD, child_action);
  ::sigprocmask(SIG_SETMASK, &before_, nullptr);
  return true;
}

int Child::wait() {
  for (;;) {
    int status = 0;
    const pid_t ended = ::waitpid(pid_, &status, WNOHANG);
    if (ended == pid_) return status;
    siginfo_t signal{};
    if (::sigwaitinfo(&watched_, &signal) > 0 && signal.si_signo != SIGCHLD) pass_on(signal);
  }
}

void Child::pass_on(const siginfo_t& signal) const {
  // What the terminal sends, it sends to the whole group; but that it has gone, to the first
  // process of its session alone.
  const bool gone = signal.si_signo == SIGHUP && ::getsid(0) == ::getpid();
  if (signal.si_code == SI_KERNEL && !gone) return;
  if (signal.si_pid == pid_) return;  // CMD's own, such as kill 0
  ::kill(pid_, signal.si_signo);
}

bool exited_with_0(int status) {
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

int exit_as(int status) {
  if (WIFEXITED(status)) return WEXITSTATUS(status);
  const int number = WTERMSIG(status);
  const rlimit no_core{0, 0};  // the one that has something to tell is CMD's
  ::setrlimit(RLIMIT_CORE, &no_core);
  ::signal(number, SIG_DFL);
  sigset_t only;
  ::sigemptyset(&only);
  ::sigaddset(&only, number);
  ::raise(number);
  ::sigprocmask(SIG_UNBLOCK, &only, nullptr);
  return kSignalled + number;
}

}  // namespace berth::cli
