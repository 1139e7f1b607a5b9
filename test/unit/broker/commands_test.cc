#include "broker/commands.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <map>
#include <optional>

#include "base/limits.h"
#include "loop/timer.h"

namespace berth::broker {
namespace {

using namespace std::chrono_literals;

// Programs that log in, on a socket of which they make no use, and one way to dial: none.
class CommandsTest : public testing::Test {
 protected:
  CommandsTest() {
    int fds[2];
    EXPECT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds));
    near_.reset(fds[0]);
    far_.reset(fds[1]);
    loop_.at_end_of_turn([this] {
      commands_.end_turn();
      most_ = std::max(most_, commands_.running());
    });
  }

  Commands::Job job(const std::string& script, Duration time = 10s) const {
    return {{"/bin/sh", "-c", script},
            "key",
            std::get<Endpoint>(parse_endpoint("tcp://h:1")),
            loop_.now() + time};
  }
  void log_in(uint32_t number, const std::string& script, Duration time = 10s) {
    commands_.log_in(id(number), Talk::login, job(script, time), near_.get());
  }
  void dial(uint32_t number, const std::string& script) {
    commands_.dial(id(number), job(script), std::make_shared<const net::DialOptions>());
  }
  static ConnectionId id(uint32_t number) { return ConnectionId::from_value(number); }

  void told(ConnectionId which, const std::string& why) {
    EXPECT_TRUE(told_.emplace(which.value(), why).second) << "told twice";
  }

  void run_until(const std::function<bool()>& done) {
    const TimePoint deadline = loop_.now() + 10s;
    bool reached = false;
    loop::Timer* again = nullptr;
    loop::Timer poll(loop_, [&] {
      commands_.expire();
      reached = done();
      if (reached || loop_.now() >= deadline) return loop_.stop();
      again->arm(loop_.now() + 1ms);
    });
    again = &poll;
    poll.arm(loop_.now());
    loop_.run();
    ASSERT_TRUE(reached) << "not reached within 10 s";
  }

  const std::string& outcome(uint32_t number) {
    run_until([&] { return told_.contains(number); });
    return told_[number];
  }
  void run_until_all_have_ended() {
    run_until([&] { return commands_.running() == 0; });
  }

  loop::Loop loop_;
  UniqueFd near_, far_;
  uint32_t slots_ = 1000;
  std::map<uint64_t, std::string> told_;
  size_t most_ = 0;
  Commands commands_{
      loop_,
      {[this](uint32_t count) { return slots_ >= count; },
       [this](uint32_t count) {
         slots_ -= count;
         return true;
       },
       [this](uint32_t count) { slots_ += count; }},
      [this](ConnectionId which, const absl::StatusOr<Dialed>& result) {
        told(which, std::string(result.status().message()));
      },
      [this](ConnectionId which, Talk, const std::string& why) { told(which, why); }};
};

TEST_F(CommandsTest, ZeroMeansThatItIsLoggedIn) {
  log_in(1, "exit 0");
  EXPECT_EQ("", outcome(1));
  run_until_all_have_ended();
  EXPECT_EQ(1000u, slots_);
}

TEST_F(CommandsTest, WhatItSaysLastIsToldWithItsStatus) {
  log_in(1, "echo first >&2; printf ' WRONG\\033PASS \\377\\n\\n' >&2; exit 3");
  EXPECT_EQ("sh exited with status 3:  WRONG?PASS ?", outcome(1));
}

TEST_F(CommandsTest, AComplaintIsToldInPart) {
  log_in(1, "head -c 5000 /dev/zero | tr '\\0' x >&2; exit 1");
  EXPECT_EQ("sh exited with status 1: " + std::string(kMaxComplaintBytesShown, 'x') + "…",
            outcome(1));
}

TEST_F(CommandsTest, ADialThatEndsWithoutAConnectionTellsHow) {
  dial(1, "exit 0");
  dial(2, "echo no route >&2; exit 69");
  dial(3, "kill -9 $$");
  dial(4, "echo connected; sleep 1000");
  const std::string where = "tcp://h:1: dial_command: sh ";
  EXPECT_EQ(where + "ended without passing a descriptor", outcome(1));
  EXPECT_EQ(where + "exited with status 69: no route", outcome(2));
  EXPECT_EQ(where + "was killed by signal 9", outcome(3));
  EXPECT_EQ(where + "passed bytes instead of a descriptor", outcome(4));
  run_until_all_have_ended();
  EXPECT_EQ(1000u, slots_);
}

TEST_F(CommandsTest, OneThatClosesItsOutputIsAwaitedForItsReason) {
  dial(1, "exec >&-; echo no route >&2; exit 1");
  EXPECT_EQ("tcp://h:1: dial_command: sh exited with status 1: no route", outcome(1));
}

TEST_F(CommandsTest, OneThatTakesTooLongIsKilled) {
  log_in(1, "echo asks >&2; sleep 1000", 100ms);
  EXPECT_EQ("sh did not end within 100 ms: asks", outcome(1));
  run_until_all_have_ended();
}

TEST_F(CommandsTest, AnAbandonedOneIsKilledAndTellsNothing) {
  log_in(1, "sleep 1000");
  run_until([&] { return commands_.running() == 1; });
  commands_.abandon(id(1));
  log_in(2, "sleep 1000");
  commands_.abandon(id(2));
  run_until_all_have_ended();
  EXPECT_EQ(1000u, slots_);
  EXPECT_TRUE(told_.empty());
}

TEST_F(CommandsTest, TheRestWaitsForItsTurn) {
  const uint32_t count = 2 * kMostCommands;
  // Each waits for the end of its descriptor 3.
  for (uint32_t number = 1; number <= count; ++number) log_in(number, "read line <&3; exit 0");
  run_until([&] { return commands_.running() == kMostCommands; });
  far_.reset();
  run_until([&] { return told_.size() == count; });
  run_until_all_have_ended();
  EXPECT_EQ(kMostCommands, most_);
  EXPECT_EQ(1000u, slots_);
}

TEST_F(CommandsTest, WhoHasWaitedInVainIsToldSo) {
  for (uint32_t number = 1; number <= kMostCommands; ++number) log_in(number, "sleep 1000");
  log_in(1000, "exit 0", 300ms);
  const std::string why = outcome(1000);
  EXPECT_TRUE(why.starts_with("sh has waited 300 ms for its turn, ")) << why;
}

TEST_F(CommandsTest, WithoutDescriptorsTheyWait) {
  slots_ = 3;
  for (uint32_t number = 1; number <= 5; ++number) log_in(number, "exit 0");
  run_until([&] { return told_.size() == 5; });
  run_until_all_have_ended();
  EXPECT_EQ(1u, most_);
  EXPECT_EQ(3u, slots_);
}

}  // namespace
}  // namespace berth::broker
