// Child: one process that the loop starts, kills and reaps.
//
// It leads a session and a process group of its own, so that what it has started ends with it,
// unless that has left the group. Of this process it inherits the user and the limits, but no
// descriptor, variable, signal disposition or folder other than it is given here.
#pragma once

#include <absl/status/statusor.h>

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/unique_fd.h"
#include "loop/fd_watch.h"
#include "loop/loop.h"

namespace berth::loop {

class Child {
 public:
  struct Plan {
    std::vector<std::string> words;        // the program's absolute path, and its arguments
    std::vector<std::string> environment;  // all of it, as "NAME=value"
    int out = -1;                          // its standard output; -1: /dev/null
    int third = -1;                        // its descriptor 3; -1: none
  };
  // How it has ended: with this exit status, or by this signal.
  struct End {
    int status = 0;
    int signal = 0;
  };

  // Descriptors that this process has open for it: for what it writes to standard error.
  static constexpr uint32_t kDescriptors = 1;

  // Returns once the program runs; the plan's descriptors are only borrowed until then. Whatever of
  // its group is left when it ends is killed; then `ended` is called, once. An error says why the
  // program cannot be run.
  static absl::StatusOr<std::unique_ptr<Child>> start(Loop& loop, const Plan& plan,
                                                      std::function<void(End)> ended);
  // Kills it, if it has not ended; the loop reaps it in any case.
  ~Child();
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  // The whole group, by SIGKILL. No effect once it has ended.
  void kill();

  // The last kMaxComplaintBytes that it has written to standard error.
  const std::string& complaints() const { return complaints_; }

 private:
  struct Process;

  Child(Loop& loop, UniqueFd err, std::function<void(End)> ended);
  void hear(int most_reads);

  std::string complaints_;
  UniqueFd err_;
  std::unique_ptr<FdWatch> watch_;
  Process* process_;  // the loop's, until it is reaped
};

}  // namespace berth::loop
