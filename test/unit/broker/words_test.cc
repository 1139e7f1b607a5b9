#include "broker/words.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "base/limits.h"
#include "net/process.h"

namespace berth::broker {
namespace {

using namespace std::chrono_literals;

pool::Why exhausted() {
  pool::Why why;
  why.cause = Cause::kExhausted;
  why.leased = 20;
  why.max_connections = 20;
  why.waiting = 3;
  why.holders = {{SessionId(1, 1), getuid(), getpid(), 31s}};
  return why;
}

TEST(Words, TimeoutNamesTheOldestHolder) {
  const wire::Refusal refusal = explain(7, {Code::kTimedOut, "", 5s, exhausted()}, 0);
  EXPECT_EQ(7u, refusal.request_id);
  EXPECT_EQ("timed out after 5 s: every connection is leased: 20/20 leased; oldest pid " +
                std::to_string(getpid()) + " " + net::command_of(getpid()) + " (" +
                net::user_name(getuid()) + ") 31 s; 0 dial failures",
            refusal.message);
}

TEST(Words, TimeoutCarriesTheSameForPrograms) {
  const wire::Refusal refusal = explain(7, {Code::kTimedOut, "", 5s, exhausted()}, 0);
  ASSERT_TRUE(refusal.why);
  EXPECT_EQ(Cause::kExhausted, refusal.why->cause);
  EXPECT_EQ(20u, refusal.why->leased);
  ASSERT_EQ(1u, refusal.why->holders.size());
  EXPECT_EQ(31'000u, refusal.why->holders[0].held_ms);
  EXPECT_EQ(net::command_of(getpid()), refusal.why->holders[0].command);
}

TEST(Words, RequestThatMayNotWaitDidNotTimeOut) {
  EXPECT_EQ(0u, explain(7, {Code::kTimedOut, "", 0s, exhausted()}, 0)
                    .message.find("nothing can be had at once: every connection is leased: "));
}

TEST(Words, FullQueueSaysHowManyWait) {
  pool::Why why = exhausted();
  why.cause = Cause::kQueueFull;
  why.waiting = 1;
  EXPECT_EQ(0u, explain(7, {Code::kQueueFull, "", 0s, why}, 0)
                    .message.find("1 request waits already (max_waiters): 20/20 leased"));
}

TEST(Words, UpstreamDownTellsTheLastDialError) {
  pool::Why why;
  why.cause = Cause::kUpstreamDown;
  why.max_connections = 20;
  why.dial_failures = 1;
  why.last_dial_error = "connect to 127.0.0.1:1: Connection refused";
  EXPECT_EQ(
      "the server cannot be reached: 0/20 leased; 1 dial failure; last: connect to "
      "127.0.0.1:1: Connection refused",
      explain(1, {Code::kUpstreamDown, "", 0s, why}, 0).message);
}

TEST(Words, DenialNamesTheUser) {
  const wire::Refusal refusal =
      explain(1, {Code::kNotPermitted, "allow_users of \"a\" does not name it", {}, {}}, 0);
  EXPECT_EQ("uid 0 (root) may not: allow_users of \"a\" does not name it", refusal.message);
}

TEST(Words, MessageIsBounded) {
  const std::string long_text(5 * kMaxMessageBytes, 'x');
  EXPECT_EQ(kMaxMessageBytes, explain(1, {Code::kInvalid, long_text, {}, {}}, 0).message.size());
}

TEST(Words, HolderInAForeignPidNamespaceIsStillNamedByUser) {
  pool::Why why = exhausted();
  why.holders[0].pid = 0;
  const wire::Refusal refusal = explain(1, {Code::kTimedOut, "", 5s, why}, 0);
  ASSERT_TRUE(refusal.why);
  EXPECT_EQ(0u, refusal.why->holders[0].pid);
  EXPECT_NE(refusal.message.npos, refusal.message.find(net::user_name(getuid())));
}

}  // namespace
}  // namespace berth::broker
