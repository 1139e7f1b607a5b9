#include "net/relay.h"

#include <gtest/gtest.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <string>

#include "base/unique_fd.h"

namespace berth::net {
namespace {

using Side = Relay::Side;

struct Pair {
  Pair() {
    int ends[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
    far.reset(ends[0]);
    near.reset(ends[1]);
  }
  UniqueFd far;   // the program's, or the server's
  UniqueFd near;  // the relay's
};

std::string read_all(int fd) {
  std::string out;
  char buffer[4096];
  for (ssize_t got; (got = read(fd, buffer, sizeof buffer)) > 0;) {
    out.append(buffer, static_cast<size_t>(got));
  }
  return out;
}

bool at_end(int fd) {
  char byte;
  return recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

void say(int fd, std::string_view text) {
  ASSERT_EQ(write(fd, text.data(), text.size()), static_cast<ssize_t>(text.size()));
}

// Writes until the socket takes no more.
std::string fill(int fd) {
  std::string sent;
  for (;;) {
    const std::string part(4096, static_cast<char>('a' + sent.size() / 4096 % 26));
    const ssize_t put = send(fd, part.data(), part.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (put <= 0) return sent;
    sent.append(part, 0, static_cast<size_t>(put));
  }
}

class RelayTest : public testing::Test {
 protected:
  bool move(Side from) { return relay_.move(from, *scratch_); }

  Pair program_;
  Pair server_;
  Relay relay_{program_.near.get(), {server_.near.get()}};
  std::unique_ptr<Relay::Scratch> scratch_ = std::make_unique<Relay::Scratch>();
};

TEST_F(RelayTest, CarriesBytesBothWays) {
  say(program_.far.get(), "ping");
  EXPECT_TRUE(move(Side::program));
  EXPECT_EQ(read_all(server_.far.get()), "ping");
  say(server_.far.get(), "pong!");
  EXPECT_TRUE(move(Side::server));
  EXPECT_EQ(read_all(program_.far.get()), "pong!");
  EXPECT_FALSE(move(Side::program));
  EXPECT_EQ(relay_.carried(Side::program), 4u);
  EXPECT_EQ(relay_.carried(Side::server), 5u);
}

TEST_F(RelayTest, KeepsWhatTheOtherSideDoesNotTakeAndReadsNoMoreUntilItDoes) {
  std::string sent;
  while (relay_.drained(Side::program)) {
    sent += fill(program_.far.get());
    while (move(Side::program)) {
    }
  }
  EXPECT_EQ(relay_.wanted(Side::program) & EPOLLIN, 0u);
  EXPECT_NE(relay_.wanted(Side::server) & EPOLLOUT, 0u);
  EXPECT_NE(relay_.wanted(Side::server) & EPOLLIN, 0u);
  sent += fill(program_.far.get());
  EXPECT_FALSE(move(Side::program));

  std::string received;
  while (received.size() < sent.size()) {
    received += read_all(server_.far.get());
    move(Side::program);
  }
  EXPECT_EQ(received, sent);
  EXPECT_TRUE(relay_.drained(Side::program));
  EXPECT_EQ(relay_.wanted(Side::server), uint32_t{EPOLLIN});
}

TEST_F(RelayTest, AHalfCloseIsPassedOnBehindAllThatCameBefore) {
  say(program_.far.get(), "last words");
  shutdown(program_.far.get(), SHUT_WR);
  EXPECT_TRUE(move(Side::program));
  EXPECT_FALSE(relay_.ended(Side::program));
  EXPECT_FALSE(move(Side::program));
  ASSERT_TRUE(relay_.ended(Side::program));
  EXPECT_FALSE(relay_.failed(Side::program));
  EXPECT_EQ(hold_of(program_.near.get()), Hold::half_closed);
  relay_.pass_on(Side::program);
  EXPECT_EQ(read_all(server_.far.get()), "last words");
  EXPECT_TRUE(at_end(server_.far.get()));
  say(server_.far.get(), "answer");
  EXPECT_TRUE(move(Side::server));
  EXPECT_EQ(read_all(program_.far.get()), "answer");
}

TEST_F(RelayTest, AProgramThatIsGoneIsToldFromOneThatHasSaidItsLast) {
  EXPECT_EQ(hold_of(program_.near.get()), Hold::open);
  program_.far.reset();
  EXPECT_FALSE(move(Side::program));
  EXPECT_TRUE(relay_.ended(Side::program));
  EXPECT_FALSE(relay_.failed(Side::program));
  EXPECT_EQ(hold_of(program_.near.get()), Hold::closed);
}

TEST_F(RelayTest, AProgramThatLeavesWithBytesUnreadHasFailed) {
  say(server_.far.get(), "answer");
  EXPECT_TRUE(move(Side::server));
  EXPECT_TRUE(has_unread_by_peer(program_.near.get()));
  program_.far.reset();
  EXPECT_FALSE(move(Side::program));
  EXPECT_TRUE(relay_.failed(Side::program));
}

TEST_F(RelayTest, AProgramReadsTheLastOfAServerThatIsGoneAndWritesInVain) {
  say(server_.far.get(), "bye");
  server_.far.reset();
  say(program_.far.get(), "too late");
  move(Side::program);
  EXPECT_TRUE(relay_.failed(Side::program));
  EXPECT_EQ(send(program_.far.get(), "x", 1, MSG_NOSIGNAL), -1);
  EXPECT_EQ(errno, EPIPE);
  EXPECT_TRUE(move(Side::server));
  EXPECT_FALSE(move(Side::server));
  EXPECT_TRUE(relay_.ended(Side::server));
  relay_.pass_on(Side::server);
  EXPECT_EQ(read_all(program_.far.get()), "bye");
  EXPECT_TRUE(at_end(program_.far.get()));
}

class Lender final : public PipeLender {
 public:
  Pipe borrow() override {
    int ends[2];
    EXPECT_EQ(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
    ++lent;
    return {UniqueFd(ends[0]), UniqueFd(ends[1])};
  }
  void give_back(Pipe) override { --lent; }

  int lent = 0;
};

// More than any socket holds by itself, so that both sides must go on.
TEST_F(RelayTest, BulkGoesThroughAPipeThatIsGivenBackWhenItIsOver) {
  signal(SIGPIPE, SIG_IGN);
  Lender lender;
  Relay relay(program_.near.get(), {server_.near.get()}, &lender);
  std::string sent;
  std::string received;
  bool spliced = false;
  while (sent.size() < 4'000'000) {
    sent += fill(server_.far.get());
    relay.move(Side::server, *scratch_);
    spliced = spliced || relay.splices(Side::server);
    received += read_all(program_.far.get());
  }
  EXPECT_TRUE(spliced);
  EXPECT_FALSE(relay.splices(Side::program));
  while (relay.move(Side::server, *scratch_) || !relay.drained(Side::server)) {
    received += read_all(program_.far.get());
  }
  received += read_all(program_.far.get());
  EXPECT_EQ(received, sent);
  EXPECT_EQ(relay.carried(Side::server), sent.size());
  EXPECT_EQ(lender.lent, 0);
}

TEST_F(RelayTest, AFullProgramHoldsUpBulkAndItsEndGivesThePipeBack) {
  signal(SIGPIPE, SIG_IGN);
  Lender lender;
  {
    Relay relay(program_.near.get(), {server_.near.get()}, &lender);
    while (relay.drained(Side::server)) {
      fill(server_.far.get());
      relay.move(Side::server, *scratch_);
      if (!relay.splices(Side::server)) read_all(program_.far.get());
    }
    EXPECT_TRUE(relay.splices(Side::server));
    EXPECT_EQ(relay.wanted(Side::server) & EPOLLIN, 0u);
    EXPECT_NE(relay.wanted(Side::program) & EPOLLOUT, 0u);
    EXPECT_EQ(lender.lent, 1);
    program_.far.reset();
    relay.move(Side::server, *scratch_);
    EXPECT_TRUE(relay.failed(Side::server));
    EXPECT_EQ(lender.lent, 0);
  }
  EXPECT_EQ(lender.lent, 0);
}

TEST_F(RelayTest, NothingIsWaitedForOnceBothSidesHaveEnded) {
  shutdown(program_.far.get(), SHUT_WR);
  shutdown(server_.far.get(), SHUT_WR);
  move(Side::program);
  move(Side::server);
  EXPECT_EQ(relay_.wanted(Side::program), 0u);
  EXPECT_EQ(relay_.wanted(Side::server), 0u);
}

}  // namespace
}  // namespace berth::net
