#include "loop/mailbox.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "loop/timer.h"

namespace berth::loop {
namespace {

using namespace std::chrono_literals;

// A mailbox alone does not keep a loop waiting.
struct Waiting {
  explicit Waiting(Loop& loop) : timer(loop, [] { FAIL() << "nothing within 10 s"; }) {
    timer.arm(loop.now() + 10s);
  }
  Timer timer;
};

TEST(Mailbox, RunsTasksOnTheLoopInTheirOrder) {
  Loop loop;
  const Waiting waiting(loop);
  Mailbox mailbox(loop, 100);
  const auto loops_thread = std::this_thread::get_id();
  std::vector<int> ran;
  std::thread poster([&] {
    for (int i = 0; i < 100; ++i) {
      EXPECT_EQ(mailbox.post([&, i] {
        EXPECT_EQ(std::this_thread::get_id(), loops_thread);
        ran.push_back(i);
        if (i == 99) loop.stop();
      }),
                Posted::yes);
    }
  });
  loop.run();
  poster.join();
  ASSERT_EQ(ran.size(), 100u);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(ran[static_cast<size_t>(i)], i);
}

TEST(Mailbox, RefusesWhatItHasNoRoomForAndTakesItLater) {
  Loop loop;
  Mailbox mailbox(loop, 2);
  int ran = 0;
  const auto task = [&] { ++ran; };
  EXPECT_EQ(mailbox.post(task), Posted::yes);
  EXPECT_EQ(mailbox.post(task), Posted::yes);
  std::function<void()> third = task;
  EXPECT_EQ(mailbox.post(std::move(third)), Posted::full);
  ASSERT_TRUE(third);  // NOLINT(bugprone-use-after-move): what is refused is left as it was
  Timer timer(loop, [&] { loop.stop(); });
  timer.arm(loop.now() + 1ms);
  loop.run();
  EXPECT_EQ(ran, 2);
  EXPECT_EQ(mailbox.post(std::move(third)), Posted::yes);
  mailbox.close();
  EXPECT_EQ(ran, 3);
}

TEST(Mailbox, ClosedItRefusesWithoutLosingWhatItHadTaken) {
  Loop loop;
  Mailbox mailbox(loop, 10);
  int ran = 0;
  EXPECT_EQ(mailbox.post([&] {
    ++ran;
    EXPECT_EQ(mailbox.post([&] { ++ran; }), Posted::closed);
  }),
            Posted::yes);
  mailbox.close();
  EXPECT_EQ(ran, 1);
  EXPECT_EQ(mailbox.post([&] { ++ran; }), Posted::closed);
  EXPECT_EQ(ran, 1);
}

TEST(Mailbox, DoesNotKeepTheLoopRunning) {
  Loop loop;
  Mailbox mailbox(loop, 1);
  loop.run();
}

TEST(Mailbox, OfManyThreadsEachTakenTaskRunsOnceWhileTheLoopEnds) {
  Loop loop;
  const Waiting waiting(loop);
  Mailbox mailbox(loop, 50);
  std::atomic<int> taken = 0;
  int ran = 0;
  std::vector<std::thread> posters;
  posters.reserve(4);
  for (int i = 0; i < 4; ++i) {
    posters.emplace_back([&] {
      for (;;) {
        const Posted posted = mailbox.post([&] {
          if (++ran == 1000) loop.stop();
        });
        if (posted == Posted::closed) return;
        if (posted == Posted::yes) ++taken;
      }
    });
  }
  loop.run();
  mailbox.close();
  for (std::thread& poster : posters) poster.join();
  EXPECT_EQ(ran, taken);
  EXPECT_GE(ran, 1000);
}

}  // namespace
}  // namespace berth::loop
