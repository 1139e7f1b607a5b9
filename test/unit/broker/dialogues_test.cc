#include "broker/dialogues.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <array>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "base/unique_fd.h"

namespace berth::broker {
namespace {

using namespace std::chrono_literals;

// Says "hello" and is done; before that it computes until it is told that it may go on.
class Computes final : public wire::Exchange {
 public:
  explicit Computes(std::shared_future<void> may_go_on) : may_go_on_(std::move(may_go_on)) {}

  State state() const override { return state_; }
  const std::string& why() const override { return why_; }
  void compute() override {
    may_go_on_.wait();
    computed_by = std::this_thread::get_id();
    state_ = State::sending;
  }
  std::vector<std::string_view> to_send() const override { return {std::string_view("hello")}; }
  void sent(size_t) override { state_ = State::done; }
  bool takes_all() const override { return true; }
  size_t feed(std::string_view bytes) override { return bytes.size(); }
  void end() override { state_ = State::failed; }
  void time_out(Duration) override { state_ = State::failed; }

  std::thread::id computed_by;

 private:
  std::shared_future<void> may_go_on_;
  State state_ = State::computing;
  std::string why_ = "it ended";
};

class DialoguesTest : public testing::Test {
 protected:
  DialoguesTest() {
    int ends[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    ours_.reset(ends[0]);
    servers_.reset(ends[1]);
    dialogues_.emplace(
        loop_, [this](ConnectionId, Talk, const std::string& why) { told_ = why; },
        Dialogues::Slot{[this] { return std::exchange(has_slot_, false); },
                        [this] { has_slot_ = true; }});
  }

  void begin(TimePoint until = kNever) {
    dialogues_->begin(kId, Talk::tls, {ours_.get()}, exchange_, until);
  }
  // Until it is told how it went, or nobody works on it any more.
  void run() {
    loop_.at_end_of_turn([this] {
      if (told_ || (gave_up_ && !loop_.working())) loop_.stop();
    });
    loop_.run();
  }
  std::string said() {
    char bytes[16];
    const ssize_t size = recv(servers_.get(), bytes, sizeof bytes, MSG_DONTWAIT);
    return size > 0 ? std::string(bytes, static_cast<size_t>(size)) : "";
  }

  static constexpr ConnectionId kId = ConnectionId::from_value(1);
  loop::Loop loop_;
  UniqueFd ours_, servers_;
  std::promise<void> gate_;
  std::shared_ptr<Computes> exchange_ = std::make_shared<Computes>(gate_.get_future().share());
  std::optional<std::string> told_;
  bool has_slot_ = true;
  bool gave_up_ = false;
  std::optional<Dialogues> dialogues_;
};

TEST_F(DialoguesTest, TheLoopGoesOnWhileAnExchangeComputesElsewhere) {
  begin();
  EXPECT_FALSE(told_);
  loop::Timer timer(loop_, [this] { gate_.set_value(); });  // which no loop that waits would reach
  timer.arm(loop_.now() + 1ms);
  run();
  EXPECT_EQ(told_, "");
  EXPECT_EQ(said(), "hello");
  EXPECT_NE(exchange_->computed_by, std::this_thread::get_id());
}

TEST_F(DialoguesTest, NothingIsToldOfWhatIsAbandonedWhileItComputes) {
  begin();
  dialogues_->abandon(kId);
  gave_up_ = true;
  ours_.reset();
  gate_.set_value();
  run();
  EXPECT_FALSE(told_);
  EXPECT_EQ(said(), "");
}

TEST_F(DialoguesTest, WhatIsComputedForTooLongFails) {
  begin(loop_.now() + 1ms);
  loop::Timer timer(loop_, [this] {
    dialogues_->expire();
    gate_.set_value();
  });
  timer.arm(loop_.now() + 1ms);
  run();
  EXPECT_EQ(told_, "could not be computed within 1 ms");
  EXPECT_EQ(said(), "");
}

TEST_F(DialoguesTest, TheServersEndIsHeardOnceItIsComputed) {
  begin();
  servers_.reset();
  gate_.set_value();
  run();
  EXPECT_EQ(told_, "it ended");
}

// Says what it has at once.
class Says final : public wire::Exchange {
 public:
  explicit Says(std::string text) : text_(std::move(text)) {}

  State state() const override { return text_.empty() ? State::done : State::sending; }
  const std::string& why() const override { return why_; }
  std::vector<std::string_view> to_send() const override {
    sender_ = std::this_thread::get_id();
    return {text_};
  }
  void sent(size_t size) override { text_.erase(0, size); }
  bool takes_all() const override { return true; }
  size_t feed(std::string_view bytes) override { return bytes.size(); }
  void end() override {}
  void time_out(Duration) override {}

  std::thread::id sender() const { return sender_; }

 private:
  std::string text_;
  std::string why_;
  mutable std::thread::id sender_;
};

TEST_F(DialoguesTest, WhereSomebodyElseMayHoldUpWhoSendsAWorkerDoes) {
  const auto says = std::make_shared<Says>("hello");
  dialogues_->begin(kId, Talk::check, {ours_.get(), nullptr, /*contended=*/true}, says, kNever);
  EXPECT_FALSE(has_slot_);
  run();
  EXPECT_EQ(told_, "");
  EXPECT_EQ(said(), "hello");
  EXPECT_NE(says->sender(), std::this_thread::get_id());
  EXPECT_TRUE(has_slot_);
}

TEST_F(DialoguesTest, AWorkerGoesOnSendingOnceThereIsRoom) {
  const std::string much(4 << 20, 'x');
  dialogues_->begin(kId, Talk::check, {ours_.get(), nullptr, true}, std::make_shared<Says>(much),
                    kNever);
  size_t heard = 0;
  std::thread server([&] {
    std::array<char, 65536> bytes;
    ssize_t got;
    while (heard < much.size() && (got = recv(servers_.get(), bytes.data(), bytes.size(), 0)) > 0) {
      heard += static_cast<size_t>(got);
    }
  });
  run();
  server.join();
  EXPECT_EQ(told_, "");
  EXPECT_EQ(heard, much.size());
}

TEST_F(DialoguesTest, WithoutADescriptorForAWorkerItFails) {
  has_slot_ = false;
  dialogues_->begin(kId, Talk::check, {ours_.get(), nullptr, true}, std::make_shared<Says>("hello"),
                    kNever);
  EXPECT_EQ(told_, "there is no descriptor for who is to send");
}

TEST_F(DialoguesTest, MayEndWhileAnExchangeComputes) {
  begin();
  dialogues_.reset();
  gave_up_ = true;
  gate_.set_value();
  run();
  EXPECT_FALSE(told_);
}

}  // namespace
}  // namespace berth::broker
