#include "loop/loop.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <latch>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "base/unique_fd.h"
#include "loop/fd_watch.h"
#include "loop/signal_watch.h"
#include "loop/timer.h"
#include "loop/watch_set.h"

namespace berth::loop {
namespace {

using namespace std::chrono_literals;

struct Pair {
  Pair() {
    int fds[2];
    EXPECT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds));
    near = UniqueFd(fds[0]);
    far = UniqueFd(fds[1]);
  }
  void speak() { EXPECT_EQ(1, write(far.get(), "x", 1)); }
  UniqueFd near, far;
};

TEST(Loop, RunsOutWhenNothingIsLeftToWaitFor) {
  Loop loop;
  loop.run();
}

TEST(Loop, TimerFiresInATurnThatIsNotBeforeItsDeadline) {
  Loop loop;
  const TimePoint due = loop.now() + 3ms;
  TimePoint fired{};
  Timer timer(loop, [&] { fired = loop.now(); });
  timer.arm(due);
  loop.run();
  EXPECT_GE(fired, due);
  EXPECT_FALSE(timer.armed());
}

TEST(Loop, TimerArmedAnewFiresOnce) {
  Loop loop;
  int fired = 0;
  Timer timer(loop, [&] { ++fired; });
  timer.arm(loop.now() + 1h);
  timer.arm(loop.now() + 1ms);
  loop.run();
  EXPECT_EQ(1, fired);
}

TEST(Loop, TimerDisarmedDoesNotHoldTheLoop) {
  Loop loop;
  Timer timer(loop, [] { FAIL(); });
  timer.arm(loop.now() + 1h);
  timer.arm(kNever);
  loop.run();
}

TEST(Loop, TimerMayEndItselfInItsCallback) {
  Loop loop;
  std::unique_ptr<Timer> timer;
  timer = std::make_unique<Timer>(loop, [&] { timer.reset(); });
  timer->arm(loop.now() + 1ms);
  loop.run();
  EXPECT_EQ(nullptr, timer);
}

TEST(Loop, WorkRunsElsewhereAndItsEndOnTheLoop) {
  Loop loop;
  std::thread::id worker, end;
  loop.run_on_worker([&] { worker = std::this_thread::get_id(); },
                     [&] { end = std::this_thread::get_id(); });
  EXPECT_TRUE(loop.working());
  loop.run();
  EXPECT_FALSE(loop.working());
  EXPECT_NE(std::this_thread::get_id(), worker);
  EXPECT_EQ(std::this_thread::get_id(), end);
}

// Whether anything leaks of it is told at the end of the process, by a build with ASan.
TEST(Loop, WorkThatOutlivesItIsDoneAndThatIsAll) {
  const auto ended = std::make_shared<std::latch>(1), done = std::make_shared<std::latch>(1);
  std::optional<Loop> loop(std::in_place);
  loop->run_on_worker(
      [ended, done] {
        ended->wait();
        done->count_down();
      },
      [] { ADD_FAILURE() << "a loop that has ended calls nobody"; });
  loop.reset();
  ended->count_down();
  done->wait();
}

TEST(Loop, EndOfTurnComesBehindTheEventsOfATurn) {
  Loop loop;
  std::vector<char> order;
  loop.at_end_of_turn([&] { order.push_back('e'); });
  Timer timer(loop, [&] { order.push_back('t'); });
  timer.arm(loop.now());
  loop.run();
  ASSERT_GE(order.size(), 2u);
  EXPECT_EQ('t', order[0]);
  EXPECT_EQ('e', order[1]);
}

TEST(FdWatch, TellsOfWhatIsWatchedOnly) {
  Loop loop;
  Pair pair;
  pair.speak();
  Ready got;
  FdWatch watch(loop, pair.near.get(), [&](Ready ready) {
    got = ready;
    loop.stop();
  });
  watch.watch({true, false});
  loop.run();
  EXPECT_TRUE(got.readable);
  EXPECT_FALSE(got.writable);
}

TEST(FdWatch, TellsOfTheEndOfTheOtherSide) {
  Loop loop;
  Pair pair;
  pair.far.reset();
  bool readable = false;
  FdWatch watch(loop, pair.near.get(), [&](Ready ready) {
    readable = ready.readable;
    loop.stop();
  });
  watch.watch({true, false});
  loop.run();
  EXPECT_TRUE(readable);
}

TEST(FdWatch, MayEndItselfInItsCallback) {
  Loop loop;
  Pair pair;
  pair.speak();
  std::unique_ptr<FdWatch> watch;
  watch = std::make_unique<FdWatch>(loop, pair.near.get(), [&](Ready) { watch.reset(); });
  watch->watch({true, false});
  loop.run();
  EXPECT_EQ(nullptr, watch);
}

TEST(WatchSet, TellsTheTagAndLeavesTheFlagsOfTheDescriptorAlone) {
  Loop loop;
  Pair quiet, loud;
  std::vector<uint64_t> tags;
  WatchSet set(loop, [&](uint64_t tag, uint32_t events) {
    tags.push_back(tag);
    EXPECT_NE(0u, events & EPOLLIN);
    loop.stop();
  });
  ASSERT_TRUE(set.add(quiet.near.get(), EPOLLIN, 1));
  ASSERT_TRUE(set.add(loud.near.get(), EPOLLIN, 2));
  loud.speak();
  loop.run();
  EXPECT_EQ(std::vector<uint64_t>{2}, tags);
  EXPECT_EQ(0, fcntl(loud.near.get(), F_GETFL) & O_NONBLOCK);
  set.remove(quiet.near.get());
  set.remove(loud.near.get());
}

TEST(WatchSet, RemovedDescriptorIsSilent) {
  Loop loop;
  Pair pair;
  WatchSet set(loop, [](uint64_t, uint32_t) { FAIL(); });
  ASSERT_TRUE(set.add(pair.near.get(), EPOLLIN, 1));
  set.remove(pair.near.get());
  pair.speak();
  Timer timer(loop, [&] { loop.stop(); });
  timer.arm(loop.now() + 1ms);
  loop.run();
}

TEST(SignalWatch, CallsBackOnTheLoop) {
  Loop loop;
  bool raised = false;
  SignalWatch watch(loop, SIGUSR1, [&] {
    raised = true;
    loop.stop();
  });
  Timer keeps_waiting(loop, [] { FAIL() << "no signal within 10 s"; });
  keeps_waiting.arm(loop.now() + 10s);
  ASSERT_EQ(0, kill(getpid(), SIGUSR1));
  loop.run();
  EXPECT_TRUE(raised);
}

}  // namespace
}  // namespace berth::loop
