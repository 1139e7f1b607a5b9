// The queue of one who follows events, without gRPC: a sink that the test lets go on.
#include "control/watchers.h"

#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>
#include <optional>
#include <vector>

#include "base/limits.h"

namespace berth::control {
namespace {

class FakeSink final : public Watch::Sink {
 public:
  void send_start() override { note("start"); }
  void send(const v1::Event& event) override {
    const std::string missed = event.missed() > 0 ? "+" + std::to_string(event.missed()) : "";
    note(event.key() + missed);
  }
  void finish(const absl::Status& status) override {
    note("end: " + std::string(status.message()));
  }

  // The next thing that was sent.
  std::string next() {
    std::unique_lock lock(mutex_);
    const auto sent = [this] { return told_ < sent_.size(); };
    EXPECT_TRUE(changed_.wait_for(lock, std::chrono::seconds(20), sent));
    return sent() ? sent_[told_++] : "nothing";
  }

 private:
  void note(std::string text) {
    {
      const std::lock_guard lock(mutex_);
      sent_.push_back(std::move(text));
    }
    changed_.notify_one();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> sent_;
  size_t told_ = 0;
};

class WatchTest : public testing::Test {
 protected:
  void add(const std::string& key) {
    auto event = std::make_shared<v1::Event>();
    event->set_key(key);
    watch_.add(std::move(event));
  }
  // What is sent next, after the stream has taken the last.
  std::string after_sent(bool ok = true) {
    watch_.sent(ok);
    return sink_.next();
  }

  FakeSink sink_;
  Answers answers_;
  Watch watch_{{}, sink_, answers_};
};

TEST_F(WatchTest, SendsOneAfterAnotherAndBeginsWithTheStart) {
  watch_.begin();
  EXPECT_EQ(sink_.next(), "start");
  add("a");
  add("b");
  EXPECT_EQ(after_sent(), "a");
  EXPECT_EQ(after_sent(), "b");
  watch_.sent(true);
  add("c");
  EXPECT_EQ(sink_.next(), "c");
}

TEST_F(WatchTest, TellsHowManyItHasMissedBeforeTheNextThatFits) {
  watch_.begin();
  EXPECT_EQ(sink_.next(), "start");
  for (size_t i = 0; i < kMaxEventsPerWatch + 3; ++i) add("x");
  EXPECT_EQ(after_sent(), "x");
  add("y");
  for (size_t i = 1; i < kMaxEventsPerWatch; ++i) EXPECT_EQ(after_sent(), "x");
  EXPECT_EQ(after_sent(), "y+3");
  watch_.sent(true);
  add("z");
  EXPECT_EQ(sink_.next(), "z");
}

TEST_F(WatchTest, EndsAfterWhatIsQueued) {
  watch_.begin();
  EXPECT_EQ(sink_.next(), "start");
  add("a");
  watch_.end(absl::UnavailableError("stops"));
  EXPECT_FALSE(watch_.over());
  EXPECT_EQ(after_sent(), "a");
  EXPECT_EQ(after_sent(), "end: stops");
  EXPECT_TRUE(watch_.over());
}

TEST_F(WatchTest, EndsAtOnceOnceItsClientHasGone) {
  watch_.begin();
  EXPECT_EQ(sink_.next(), "start");
  add("a");
  EXPECT_EQ(after_sent(), "a");
  add("b");
  watch_.cancelled();
  EXPECT_TRUE(watch_.over());
  EXPECT_EQ(after_sent(false), "end: ");
}

TEST_F(WatchTest, ThatIsIdleEndsWhenItsClientGoes) {
  watch_.begin();
  EXPECT_EQ(sink_.next(), "start");
  watch_.sent(true);
  watch_.cancelled();
  EXPECT_EQ(sink_.next(), "end: ");
}

TEST_F(WatchTest, ThatIsRefusedEndsWithoutAStart) {
  watch_.end(absl::NotFoundError("no such key"));
  EXPECT_EQ(sink_.next(), "end: no such key");
}

}  // namespace
}  // namespace berth::control
