#include "base/poll_one.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "base/unique_fd.h"
#include "support/signals.h"

namespace berth {
namespace {

struct Pipe {
  Pipe() {
    int ends[2];
    EXPECT_EQ(pipe2(ends, O_CLOEXEC), 0);
    out.reset(ends[0]);
    in.reset(ends[1]);
  }
  UniqueFd out;
  UniqueFd in;
};

TEST(PollOne, TellsWhatThereIs) {
  Pipe pipe;
  EXPECT_EQ(poll_one(pipe.out.get(), POLLIN), 0);
  EXPECT_EQ(poll_one(pipe.in.get(), POLLOUT), POLLOUT);
  ASSERT_EQ(write(pipe.in.get(), "x", 1), 1);
  EXPECT_EQ(poll_one(pipe.out.get(), POLLIN), POLLIN);
  pipe.in.reset();
  EXPECT_EQ(poll_one(pipe.out.get(), 0), POLLHUP);
}

TEST(PollOne, ASignalIsNoAnswer) {
  const Pipe pipe;
  const test::Signals signals;
  for (int i = 0; i < 20'000; ++i) ASSERT_EQ(poll_one(pipe.out.get(), POLLIN), 0);
}

volatile sig_atomic_t signals_had = 0;
volatile sig_atomic_t written_by_last = -1;

TEST(PollOne, ASignalDoesNotEndAWait) {
  const Pipe pipe;
  signals_had = 0;
  written_by_last = pipe.in.get();
  const test::Signals signals([](int) {
    signals_had = signals_had + 1;
    if (signals_had == 20) (void)!write(written_by_last, "x", 1);
  });
  EXPECT_EQ(poll_one(pipe.out.get(), POLLIN, -1), POLLIN);
  EXPECT_GE(signals_had, 20);
}

}  // namespace
}  // namespace berth
