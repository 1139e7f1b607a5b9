#include <gtest/gtest.h>

#include "base/limits.h"
#include "base/utf8.h"
#include "daemon/overview.h"
#include "daemon/status_line.h"

namespace berth::daemon {
namespace {

TEST(Status, TellsWhatThereIs) {
  EXPECT_EQ(words_of({}), "0 pools");
  EXPECT_EQ(words_of({.pools = 1, .sessions = 1, .leases = 1, .waiters = 1}),
            "1 pool, 1 session, 1 lease, 1 request waits");
  EXPECT_EQ(words_of({.pools = 3, .sessions = 12, .leases = 40, .waiters = 2}),
            "3 pools, 12 sessions, 40 leases, 2 requests wait");
}

TEST(Status, LeavesOutWhatThereIsNone) {
  EXPECT_EQ(words_of({.pools = 3, .sessions = 2}), "3 pools, 2 sessions");
}

TEST(Status, IsOneLine) {
  EXPECT_EQ(status_line("bad value \"a\nREADY=1\tb\""), "bad value \"a READY=1 b\"");
}

TEST(Status, IsUtf8WhateverAFileHas) {
  EXPECT_EQ(status_line("caf\xc3\xa9 \xff\xc3"), "caf\xc3\xa9 ??");
}

TEST(Status, IsBounded) {
  std::string text;
  while (text.size() < 2 * kMaxMessageBytes) text += "\xe2\x82\xac";
  const std::string line = status_line(text);
  EXPECT_LE(line.size(), kMaxMessageBytes);
  EXPECT_GT(line.size(), kMaxMessageBytes - 3);
  EXPECT_TRUE(is_utf8(line));
}

}  // namespace
}  // namespace berth::daemon
