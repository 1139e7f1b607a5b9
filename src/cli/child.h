// Child: CMD of `berth exec --return`, run as if its user had run it directly.
//
// Signals sent to berth are passed on to CMD; those from the terminal reach CMD by themselves,
// because it is in the same process group.
#pragma once

#include <signal.h>
#include <sys/types.h>

namespace berth::cli {

class Child {
 public:
  // False, with errno set, if there is none.
  bool fork();
  bool is_child() const { return pid_ == 0; }
  // Passes signals on until CMD has ended. Gives its status as waitpid(2) does.
  int wait();

 private:
  void pass_on(const siginfo_t& signal) const;

  pid_t pid_ = -1;
  sigset_t watched_{};
  sigset_t before_{};
};

bool exited_with_0(int status);
// The exit code that says the same; if CMD died of a signal, berth dies of it too.
int exit_as(int status);

}  // namespace berth::cli
