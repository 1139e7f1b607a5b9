#include "loop/child.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <utility>

#include "base/limits.h"
#include "loop/handle.h"

namespace berth::loop {
namespace {

// A child that never stops complaining is heard again in the next turn.
constexpr int kReadsPerTurn = 4;
// All that a pipe holds. Whoever has left the group may go on writing.
constexpr int kReadsAtEnd = 17;

}  // namespace

// Outlives its Child until the process is reaped.
struct Child::Process {
  uv_process_t handle{};
  Child* child = nullptr;  // nullptr once that has gone
  std::function<void(End)> ended;
  bool reaped = false;

  void close() {
    uv_close(reinterpret_cast<uv_handle_t*>(&handle),
             [](uv_handle_t* closed) { delete static_cast<Process*>(closed->data); });
  }

  // A group lives on while anything is in it, and its number is not given again.
  void kill_group() const { ::kill(-handle.pid, SIGKILL); }

  static void exited(uv_process_t* handle, int64_t status, int signal) {
    auto* process = static_cast<Process*>(handle->data);
    process->reaped = true;
    process->kill_group();
    if (process->child == nullptr) return process->close();
    process->child->hear(kReadsAtEnd);
    // The callback may end the child, and this with it.
    std::exchange(process->ended, nullptr)({static_cast<int>(status), signal});
  }
};

namespace {

std::vector<char*> pointers(const std::vector<std::string>& texts) {
  std::vector<char*> out;
  out.reserve(texts.size() + 1);
  for (const std::string& text : texts) out.push_back(const_cast<char*>(text.c_str()));
  out.push_back(nullptr);
  return out;
}

uv_stdio_container_t inherited(int fd) {
  uv_stdio_container_t entry{};
  entry.flags = fd >= 0 ? UV_INHERIT_FD : UV_IGNORE;  // below 3 that opens /dev/null
  entry.data.fd = fd;
  return entry;
}

}  // namespace

Child::Child(Loop& loop, UniqueFd err, std::function<void(End)> ended)
    : err_(std::move(err)),
      watch_(std::make_unique<FdWatch>(loop, err_.get(), [this](Ready) { hear(kReadsPerTurn); })),
      process_(new Process) {
  process_->child = this;
  process_->ended = std::move(ended);
  process_->handle.data = process_;
  watch_->watch({true, false});
}

absl::StatusOr<std::unique_ptr<Child>> Child::start(Loop& loop, const Plan& plan,
                                                    std::function<void(End)> ended) {
  int pipe[2];
  if (pipe2(pipe, O_CLOEXEC) != 0)
    return absl::ErrnoToStatus(errno, "cannot be started, for want of a pipe");
  UniqueFd err(pipe[0]);
  const UniqueFd theirs(pipe[1]);
  std::unique_ptr<Child> child(new Child(loop, std::move(err), std::move(ended)));
  std::array stdio{inherited(-1), inherited(plan.out), inherited(theirs.get()),
                   inherited(plan.third)};
  std::vector<char*> words = pointers(plan.words);
  std::vector<char*> environment = pointers(plan.environment);
  uv_process_options_t options{};
  options.exit_cb = Process::exited;
  options.file = plan.words.front().c_str();
  options.args = words.data();
  options.env = environment.data();
  options.cwd = "/";
  options.flags = UV_PROCESS_DETACHED;
  options.stdio = stdio.data();
  options.stdio_count = static_cast<int>(stdio.size());
  const int result = uv_spawn(loop.raw(), &child->process_->handle, &options);
  if (result == 0) return child;
  child->process_->reaped = true;  // there never was any
  return absl::ErrnoToStatus(-result, "cannot be started");
}

Child::~Child() {
  kill();
  process_->child = nullptr;
  if (process_->reaped) process_->close();
}

void Child::kill() {
  if (!process_->reaped) process_->kill_group();
}

void Child::hear(int most_reads) {
  std::array<char, 4096> bytes;
  for (int i = 0; watch_ != nullptr && i < most_reads; ++i) {
    const ssize_t size = read(err_.get(), bytes.data(), bytes.size());
    if (size < 0 && errno == EINTR) continue;
    if (size < 0 && errno == EAGAIN) return;
    if (size <= 0) return watch_.reset();
    complaints_.append(bytes.data(), static_cast<size_t>(size));
    if (complaints_.size() > kMaxComplaintBytes) {
      complaints_.erase(0, complaints_.size() - kMaxComplaintBytes);
    }
  }
}

}  // namespace berth::loop
