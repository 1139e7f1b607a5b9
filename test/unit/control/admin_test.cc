// admin.proto against the source: its closed lists are ours, and each has a name in both.
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <set>
#include <string>

#include "base/close_reason.h"
#include "berth/v1/admin.pb.h"
#include "control/peers.h"
#include "control/view.h"
#include "control/watchers.h"

namespace berth::control {
namespace {

std::string upper(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return text;
}

TEST(AdminProto, HasEachCloseReasonUnderItsName) {
  for (size_t i = 0; i < kCloseReasons; ++i) {
    const auto reason = static_cast<CloseReason>(i);
    EXPECT_EQ(v1::CloseReason_Name(reason_of(reason)), "CLOSE_" + upper(close_reason_name(reason)));
  }
  EXPECT_EQ(v1::CloseReason_descriptor()->value_count(), static_cast<int>(kCloseReasons) + 1);
}

TEST(AdminProto, HasEachStateOfAConnectionOnce) {
  std::set<int> states;
  for (size_t i = 0; i < pool::kStates; ++i) {
    states.insert(state_of(static_cast<pool::State>(i)));
  }
  EXPECT_EQ(states.size(), pool::kStates);
  EXPECT_FALSE(states.contains(v1::ConnectionInfo::STATE_UNSPECIFIED));
  for (size_t i = 0; i < channel::kStates; ++i) {
    states.insert(state_of(static_cast<channel::State>(i)));
  }
  EXPECT_EQ(v1::ConnectionInfo::State_descriptor()->value_count(),
            static_cast<int>(states.size()) + 1);
}

TEST(AdminProto, CountsConnectionsInEachState) {
  const auto* counts = v1::ConnectionCounts::descriptor();
  EXPECT_EQ(counts->field_count(), static_cast<int>(pool::kStates));
  for (size_t i = 0; i < pool::kStates; ++i) {
    const auto state = state_of(static_cast<pool::State>(i));
    EXPECT_EQ(upper(counts->field(static_cast<int>(i))->name()),
              v1::ConnectionInfo::State_Name(state));
  }
}

TEST(AdminProto, CountsChannelsInEachState) {
  const auto* counts = v1::ChannelCounts::descriptor();
  EXPECT_EQ(counts->field_count(), static_cast<int>(channel::kStates));
  for (size_t i = 0; i < channel::kStates; ++i) {
    const auto state = state_of(static_cast<channel::State>(i));
    EXPECT_EQ(upper(counts->field(static_cast<int>(i))->name()),
              v1::ConnectionInfo::State_Name(state));
  }
}

TEST(AdminProto, HasEachIntakeOfAPool) {
  EXPECT_EQ(intake_of(pool::Intake::open), v1::PoolInfo::OPEN);
  EXPECT_EQ(intake_of(pool::Intake::paused), v1::PoolInfo::PAUSED);
  EXPECT_EQ(intake_of(pool::Intake::disabled), v1::PoolInfo::DISABLED);
  EXPECT_EQ(v1::PoolInfo::Intake_descriptor()->value_count(), 4);
}

TEST(AdminProto, HasEachKindOfEventUnderItsName) {
  for (size_t i = 0; i < pool::kEventKinds; ++i) {
    const auto kind = static_cast<pool::EventKind>(i);
    EXPECT_EQ(v1::EventKind_Name(kind_of(kind)), "EVENT_" + upper(pool::event_name(kind)));
  }
  EXPECT_EQ(v1::EventKind_descriptor()->value_count(), static_cast<int>(pool::kEventKinds) + 1);
}

TEST(AdminProto, NamesUnitsOfTime) {
  const auto* file = v1::StatusReply::descriptor()->file();
  for (int i = 0; i < file->message_type_count(); ++i) {
    const auto* message = file->message_type(i);
    for (int j = 0; j < message->field_count(); ++j) {
      const std::string& name = message->field(j)->name();
      for (const char* word : {"uptime", "held", "waited", "in_state", "expires_in"}) {
        EXPECT_TRUE(!name.starts_with(word) || name.ends_with("_ms")) << name;
      }
    }
  }
}

TEST(Peers, AreFoundByWhatGrpcCallsThem) {
  Peers peers;
  peers.add(1030, {1000, 77});
  ASSERT_TRUE(peers.find("fd:1030"));
  EXPECT_EQ(peers.find("fd:1030")->uid, 1000u);
  EXPECT_EQ(peers.find("fd:1030")->pid, 77);
  for (const char* other : {"", "fd:", "fd:1031", "fd:1030 ", "fd:10300", "unix:1030", "1030"}) {
    EXPECT_FALSE(peers.find(other)) << other;
  }
  peers.remove(1030);
  EXPECT_FALSE(peers.find("fd:1030"));
}

}  // namespace
}  // namespace berth::control
