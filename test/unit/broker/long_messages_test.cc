#include "broker/long_messages.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/limits.h"
#include "loop/timer.h"
#include "wire/grpc_messages.h"

namespace berth::broker {
namespace {

using namespace std::chrono_literals;
using wire::GrpcRecoder;

class LongMessagesTest : public testing::Test {
 protected:
  // A recoder that has work.
  std::unique_ptr<GrpcRecoder> recoder() {
    const std::string message(kMaxLoopMessageBytes + 1, 'x');
    std::string bytes;
    wire::append_grpc_prefix({0, static_cast<uint32_t>(message.size())}, bytes);
    auto made =
        std::make_unique<GrpcRecoder>(Compression::gzip, GrpcRecoder::Task::compress, hold_);
    std::string none;
    EXPECT_TRUE(made->feed(bytes + message, SIZE_MAX, none).ok());
    return made;
  }

  void run_until(size_t count) {
    loop::Timer deadline(loop_, [this] { loop_.stop(); });
    deadline.arm(loop_.now() + 10s);
    wanted_ = count;
    loop_.run();
    EXPECT_EQ(done_.size(), count);
  }

  void done(int number) {
    done_.push_back(number);
    if (done_.size() == wanted_) loop_.stop();
  }

  wire::GrpcHold hold_{kMaxHeldMessageBytes};
  loop::Loop loop_;
  std::optional<LongMessages> messages_{std::in_place, loop_};
  std::shared_ptr<const bool> owner_ = std::make_shared<const bool>(true);
  std::vector<int> done_;
  size_t wanted_ = 0;
};

TEST_F(LongMessagesTest, EachIsComputed) {
  std::vector<std::unique_ptr<GrpcRecoder>> recoders;
  for (int i = 0; i < 20; ++i) {
    recoders.push_back(recoder());
    messages_->compute(1, recoders.back()->work(), owner_, [this, i] { done(i); });
  }
  EXPECT_TRUE(done_.empty()) << "not from within compute()";
  run_until(20);
  for (const auto& each : recoders) {
    std::string out;
    EXPECT_TRUE(each->take_work(out).ok());
    EXPECT_FALSE(out.empty());
  }
}

TEST_F(LongMessagesTest, ClientsTakeTurns) {
  std::vector<std::unique_ptr<GrpcRecoder>> recoders;
  for (int i = 0; i < 20; ++i) {
    recoders.push_back(recoder());
    messages_->compute(1, recoders.back()->work(), owner_, [this, i] { done(i); });
  }
  recoders.push_back(recoder());
  messages_->compute(2, recoders.back()->work(), owner_, [this] { done(100); });
  run_until(21);
  // Those that are being computed, one of each client's turn, and their disorder.
  const auto other = std::ranges::find(done_, 100);
  EXPECT_LE(other - done_.begin(), 2 * kMaxWorkingRecoders);
}

TEST_F(LongMessagesTest, WhoIsGoneIsToldNothingAndHoldsNobodyUp) {
  auto gone = std::make_shared<const bool>(true);
  for (int i = 0; i < 10; ++i) {
    messages_->compute(1, recoder()->work(), gone, [this] { done(-1); });
    messages_->compute(1, recoder()->work(), owner_, [this, i] { done(i); });
  }
  gone.reset();
  run_until(10);
  for (const int number : done_) EXPECT_GE(number, 0);
}

TEST_F(LongMessagesTest, NothingIsToldOnceItHasEnded) {
  for (int i = 0; i < 10; ++i) {
    messages_->compute(1, recoder()->work(), owner_, [this] { done(0); });
  }
  messages_.reset();
  loop_.run();
  EXPECT_TRUE(done_.empty());
}

}  // namespace
}  // namespace berth::broker
