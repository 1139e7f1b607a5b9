#include "loop/child.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <iterator>
#include <optional>
#include <sstream>

#include "base/limits.h"
#include "daemon/process.h"
#include "loop/timer.h"

namespace berth::loop {
namespace {

using namespace std::chrono_literals;

class ChildTest : public testing::Test {
 protected:
  ChildTest() {
    int fds[2];
    EXPECT_EQ(0, pipe2(fds, O_CLOEXEC));
    out_.reset(fds[0]);
    in_.reset(fds[1]);
  }

  // Starts the shell with this script; its output comes to said().
  void start(const std::string& script, int third = -1) {
    start(Child::Plan{
        {"/bin/sh", "-c", script}, {"PATH=/usr/bin:/bin", "NAME=value"}, in_.get(), third});
  }

  void start(const Child::Plan& plan) {
    auto child = Child::start(loop_, plan, [this](Child::End end) {
      end_ = end;
      loop_.stop();
    });
    ASSERT_TRUE(child.ok()) << child.status();
    child_ = *std::move(child);
    in_.reset();
  }

  Child::End end() {
    if (!end_) run();
    EXPECT_TRUE(end_.has_value());
    return end_.value_or(Child::End{-1, -1});
  }

  // Until somebody stops it.
  void run() {
    Timer late(loop_, [] { FAIL() << "not within 10 s"; });
    late.arm(loop_.now() + 10s);
    loop_.run();
  }

  // All that it says until its end; the loop need not run for that.
  std::string said() {
    std::string text;
    char bytes[4096];
    for (ssize_t size; (size = read(out_.get(), bytes, sizeof bytes)) > 0;) {
      text.append(bytes, static_cast<size_t>(size));
    }
    return text;
  }

  pid_t said_pid() {
    std::string line;
    for (char c; read(out_.get(), &c, 1) == 1 && c != '\n';) line += c;
    return std::stoi(line);
  }

  Loop loop_;
  UniqueFd out_, in_;
  std::optional<Child::End> end_;
  std::unique_ptr<Child> child_;
};

// Dead, though perhaps nobody has asked for its status yet.
bool is_dead(pid_t pid) {
  std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
  const std::string text(std::istreambuf_iterator<char>(stat), {});
  return text.empty() || text.substr(text.rfind(')') + 1).starts_with(" Z");
}

bool dies(pid_t pid) {
  const auto deadline = std::chrono::steady_clock::now() + 10s;
  while (!is_dead(pid)) {
    if (std::chrono::steady_clock::now() > deadline) return false;
  }
  return true;
}

TEST_F(ChildTest, ItsExitStatusIsTold) {
  start("exit 7");
  EXPECT_EQ(7, end().status);
  EXPECT_EQ(0, end().signal);
}

TEST_F(ChildTest, TheSignalThatEndedItIsTold) {
  start("kill -TERM $$");
  EXPECT_EQ(SIGTERM, end().signal);
}

TEST_F(ChildTest, AProgramThatCannotBeStartedIsToldAtOnce) {
  const auto child = Child::start(loop_, {{"/nowhere/program"}, {}}, [](Child::End) { FAIL(); });
  EXPECT_EQ("cannot be started: No such file or directory", child.status().message());
  loop_.run();
}

TEST_F(ChildTest, TheEndOfItsComplaintsIsKept) {
  start("head -c 300000 /dev/zero | tr '\\0' x >&2; echo farewell >&2");
  EXPECT_EQ(0, end().status);
  EXPECT_EQ(kMaxComplaintBytes, child_->complaints().size());
  EXPECT_TRUE(child_->complaints().ends_with("xxfarewell\n"));
}

TEST_F(ChildTest, WhoeverKeepsItsStandardErrorDoesNotDelayItsEnd) {
  start("setsid sleep 1000 & echo $!; echo said >&2");
  const pid_t sleeper = said_pid();
  EXPECT_EQ(0, end().status);
  EXPECT_EQ("said\n", child_->complaints());
  kill(sleeper, SIGKILL);
}

// The third is that of ls, or the one that was given.
TEST_F(ChildTest, NoDescriptorIsInherited) {
  const UniqueFd inherited(open("/", O_RDONLY | O_DIRECTORY));  // as from whoever started us
  daemon::keep_inheritance();
  const UniqueFd own(open("/", O_RDONLY | O_CLOEXEC));
  start("exec ls -1 /proc/self/fd");
  EXPECT_EQ("0\n1\n2\n3\n", said());
  EXPECT_EQ(0, end().status);
}

TEST_F(ChildTest, ItsThirdDescriptorIsTheOneThatItIsGiven) {
  int fds[2];
  ASSERT_EQ(0, pipe2(fds, O_CLOEXEC));
  const UniqueFd near(fds[0]);
  UniqueFd far(fds[1]);
  start("echo here >&3", far.get());
  far.reset();
  char bytes[16];
  EXPECT_EQ(5, read(near.get(), bytes, sizeof bytes));
  EXPECT_EQ(0, end().status);
}

TEST_F(ChildTest, ItsEnvironmentIsTheOneThatItIsGiven) {
  start({{"/usr/bin/env"}, {"A=1", "B=2 3"}, in_.get()});
  EXPECT_EQ("A=1\nB=2 3\n", said());
  end();
}

TEST_F(ChildTest, ItReadsNothingAndStandsInTheRootFolderInASessionOfItsOwn) {
  start("readlink /proc/$$/fd/0; pwd; set -- $(cat /proc/$$/stat); [ $1 = $5 ] && [ $1 = $6 ]");
  EXPECT_EQ("/dev/null\n/\n", said());
  EXPECT_EQ(0, end().status);
}

TEST_F(ChildTest, WhatIsIgnoredOrBlockedHereIsNotThere) {
  const auto before = signal(SIGPIPE, SIG_IGN);
  sigset_t usr1, mask;
  sigemptyset(&usr1);
  sigaddset(&usr1, SIGUSR1);
  sigprocmask(SIG_BLOCK, &usr1, &mask);
  start("exec sed -n 's/^Sig[BI][lg][kn]:\t//p' /proc/self/status");
  std::istringstream masks(said());
  uint64_t blocked = 0;
  uint64_t ignored = 0;
  masks >> std::hex >> blocked >> ignored;
  EXPECT_TRUE(masks) << masks.str();
  // Signals 32 and 33 are the C library's own: nobody but who started this process can change them.
  const uint64_t ours = ~(uint64_t{3} << 31);
  EXPECT_EQ(blocked & ours, 0u) << masks.str();
  EXPECT_EQ(ignored & ours, 0u) << masks.str();
  end();
  sigprocmask(SIG_SETMASK, &mask, nullptr);
  signal(SIGPIPE, before);
}

TEST_F(ChildTest, WhatItHasStartedIsKilledWithIt) {
  start("sleep 1000 & echo $!; wait");
  const pid_t grandchild = said_pid();
  EXPECT_FALSE(is_dead(grandchild));
  child_->kill();
  EXPECT_EQ(SIGKILL, end().signal);
  EXPECT_TRUE(dies(grandchild));
}

TEST_F(ChildTest, WhatItLeavesBehindIsKilledWhenItEnds) {
  start("sleep 1000 & echo $!");
  const pid_t left = said_pid();
  EXPECT_EQ(0, end().status);
  EXPECT_TRUE(dies(left));
}

TEST_F(ChildTest, ACallbackMayEndIt) {
  auto child = Child::start(loop_, {{"/bin/true"}, {}}, [this](Child::End) {
    child_.reset();
    loop_.stop();
  });
  ASSERT_TRUE(child.ok());
  child_ = *std::move(child);
  run();
  EXPECT_EQ(nullptr, child_);
}

TEST_F(ChildTest, OneThatNobodyWantsAnyMoreIsKilledAndReaped) {
  start("echo $$; sleep 1000");
  const pid_t pid = said_pid();
  child_.reset();
  loop_.run();  // until nothing is left to wait for
  EXPECT_EQ(-1, waitpid(pid, nullptr, WNOHANG));
  EXPECT_EQ(ECHILD, errno);
  EXPECT_FALSE(end_.has_value());
}

}  // namespace
}  // namespace berth::loop
