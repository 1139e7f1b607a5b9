// libberth: many threads on one session, requests that berthd does not answer, and descriptors that
// do not fit.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <future>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "berth/berth.h"
#include "support/session_server.h"

namespace berth::client {
namespace {

using test::Peer;
using test::SessionServer;

berth_session* open_session(const SessionServer& server) {
  berth_session* session = nullptr;
  EXPECT_EQ(berth_session_open(server.path().c_str(), &session), 0) << berth_error();
  return session;
}

TEST(Threads, OneThatWaitsForALeaseDoesNotBlockOneThatReleases) {
  std::promise<void> somebody_waits;
  SessionServer server([&](Peer& peer) {
    peer.welcome();
    const auto first = peer.grant(peer.expect<wire::LeaseRequest>(), 1);
    const auto waiting = peer.expect<wire::LeaseRequest>();
    somebody_waits.set_value();
    peer.send(wire::Revoked{999, Code::kRevoked, "a frame for nobody"});
    EXPECT_EQ(peer.expect<wire::Release>().lease_id, 1u);  // before the wait has its answer
    const auto second = peer.grant(waiting, 2);
    EXPECT_EQ(peer.expect<wire::Release>().lease_id, 2u);
  });
  berth_session* session = open_session(server);
  berth_grant held;
  ASSERT_EQ(berth_lease(session, "redis", nullptr, &held), 0);
  std::thread waiter([&] {
    berth_grant grant;
    EXPECT_EQ(berth_lease(session, "redis", nullptr, &grant), 0) << berth_error();
    EXPECT_EQ(berth_release(session, &grant, BERTH_REUSE), 0);
  });
  EXPECT_EQ(somebody_waits.get_future().wait_for(test::kPatience), std::future_status::ready);
  EXPECT_EQ(berth_release(session, &held, BERTH_REUSE), 0);
  waiter.join();
  berth_session_close(session);
}

constexpr uint32_t kThreads = 8;
constexpr uint32_t kRounds = 50;

// The answers come in another order than the questions, so that the thread that reads has to hand
// each to another and reading passes from thread to thread.
TEST(Threads, EachGetsItsOwnAnswerWhateverTheOrder) {
  SessionServer server([](Peer& peer) {
    peer.welcome();
    std::mt19937 random(1);
    uint64_t next_id = 1;
    for (uint32_t round = 0; round < kRounds; ++round) {
      std::vector<wire::LeaseRequest> requests;
      for (uint32_t released = 0; requests.size() < kThreads;) {
        const auto frame = peer.receive();
        ASSERT_TRUE(frame);
        if (const auto* request = std::get_if<wire::LeaseRequest>(&*frame)) {
          requests.push_back(*request);
        } else {
          ASSERT_LE(++released, kThreads);
        }
      }
      std::shuffle(requests.begin(), requests.end(), random);
      for (const auto& request : requests) {
        const auto ends = peer.grant(request, next_id++);
        ASSERT_EQ(::send(ends[0].get(), request.key.data(), request.key.size(), MSG_NOSIGNAL),
                  static_cast<ssize_t>(request.key.size()));
      }
    }
    for (uint32_t i = 0; i < kThreads; ++i) peer.expect<wire::Release>();
    peer.expect_end();
  });
  berth_session* session = open_session(server);
  std::vector<std::thread> threads;
  for (uint32_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([session, t] {
      const std::string key = "key-" + std::to_string(t);
      berth_options options = BERTH_OPTIONS_INIT;
      options.timeout_ms = t % 2 == 0 ? -1 : 60000;  // both ways to wait
      for (uint32_t round = 0; round < kRounds; ++round) {
        berth_grant grant;
        ASSERT_EQ(berth_lease(session, key.c_str(), &options, &grant), 0) << berth_error();
        std::string text(16, '\0');
        const ssize_t n = ::read(grant.fd, text.data(), text.size());
        ASSERT_EQ(text.substr(0, n < 0 ? 0 : static_cast<size_t>(n)), key);
        ASSERT_EQ(berth_release(session, &grant, BERTH_REUSE), 0) << berth_error();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  berth_session_close(session);
}

TEST(Threads, AllThatWaitLearnThatTheSessionEnded) {
  SessionServer server([](Peer& peer) {
    peer.welcome();
    for (int i = 0; i < 4; ++i) peer.expect<wire::LeaseRequest>();
    peer.send(wire::Goodbye{Code::kShuttingDown, "bye"});
  });
  berth_session* session = open_session(server);
  std::vector<std::thread> threads;
  threads.reserve(4);
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([session] {
      berth_grant grant;
      EXPECT_EQ(berth_lease(session, "redis", nullptr, &grant), -ECONNRESET);
      EXPECT_STREQ(berth_error(), "berthd ended the session: bye");
    });
  }
  for (std::thread& thread : threads) thread.join();
  berth_session_close(session);
}

TEST(Guard, AnUnansweredRequestIsCancelledSoonAfterItsTimeout) {
  SessionServer server([](Peer& peer) {
    peer.welcome();
    const auto request = peer.expect<wire::LeaseRequest>();
    EXPECT_EQ(request.timeout_ms, 1u);
    EXPECT_EQ(peer.expect<wire::Cancel>().request_id, request.request_id);
    peer.refuse(request.request_id, Code::kCancelled, "withdrawn");
    peer.expect_end();
  });
  berth_session* session = open_session(server);
  berth_options options = BERTH_OPTIONS_INIT;
  options.timeout_ms = 1;
  berth_grant grant;
  EXPECT_EQ(berth_lease(session, "redis", &options, &grant), -ETIMEDOUT);
  EXPECT_NE(std::string(berth_error()).find("did not answer"), std::string::npos);
  berth_session_close(session);
}

TEST(Guard, AGrantThatCrossesTheCancelIsTheAnswer) {
  SessionServer server([](Peer& peer) {
    peer.welcome();
    const auto request = peer.expect<wire::LeaseRequest>();
    peer.expect<wire::Cancel>();
    const auto ends = peer.grant(request, 8);
    EXPECT_EQ(peer.expect<wire::Release>().lease_id, 8u);
  });
  berth_session* session = open_session(server);
  berth_options options = BERTH_OPTIONS_INIT;
  options.timeout_ms = 0;
  berth_grant grant;
  ASSERT_EQ(berth_lease(session, "redis", &options, &grant), 0) << berth_error();
  EXPECT_EQ(berth_release(session, &grant, BERTH_REUSE), 0);
  berth_session_close(session);
}

TEST(Guard, AGrantThatComesAfterAllPatienceGoesBackUntouched) {
  SessionServer server([](Peer& peer) {
    peer.welcome();
    const auto late = peer.expect<wire::LeaseRequest>();
    peer.expect<wire::Cancel>();
    const auto next = peer.expect<wire::LeaseRequest>();  // the client has given up on the first
    const auto ends = peer.grant(late, 8);
    EXPECT_EQ(peer.expect<wire::Release>(), (wire::Release{8, wire::Outcome::kReuse, 0}));
    test::wait_for(ends[0].get(), POLLIN);  // closed
    const auto second = peer.grant(next, 9);
    EXPECT_EQ(peer.expect<wire::Release>().lease_id, 9u);
  });
  berth_session* session = open_session(server);
  berth_options options = BERTH_OPTIONS_INIT;
  options.timeout_ms = 0;
  berth_grant grant;
  EXPECT_EQ(berth_lease(session, "redis", &options, &grant), -ETIMEDOUT);
  ASSERT_EQ(berth_lease(session, "redis", nullptr, &grant), 0) << berth_error();
  EXPECT_EQ(grant.id, 9u);
  EXPECT_EQ(berth_release(session, &grant, BERTH_REUSE), 0);
  berth_session_close(session);
}

// Leaves this process room for exactly `room` more descriptors while it lives.
class Crowd {
 public:
  explicit Crowd(size_t room) {
    ::getrlimit(RLIMIT_NOFILE, &before_);
    rlimit low = before_;
    low.rlim_cur = 256;
    ::setrlimit(RLIMIT_NOFILE, &low);
    for (;;) {
      UniqueFd fd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
      if (!fd.valid()) break;
      fds_.push_back(std::move(fd));
    }
    EXPECT_GE(fds_.size(), room);
    fds_.resize(fds_.size() - room);
  }
  ~Crowd() { ::setrlimit(RLIMIT_NOFILE, &before_); }

 private:
  rlimit before_{};
  std::vector<UniqueFd> fds_;
};

TEST(Descriptors, AGrantThatDoesNotFitGoesBackUntouchedAndTheSessionLives) {
  std::array<std::array<int, 2>, 4> pairs;
  for (auto& pair : pairs)
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.data()), 0);
  SessionServer server([&](Peer& peer) {
    peer.welcome();
    const auto request = peer.expect<wire::LeaseRequest>();
    EXPECT_EQ(request.count, 3u);
    peer.send(wire::Grant{request.request_id, {{1, false}, {2, false}, {3, false}}},
              std::array{pairs[0][1], pairs[1][1], pairs[2][1]});
    std::vector<uint64_t> back;
    for (int i = 0; i < 3; ++i) {
      const auto release = peer.expect<wire::Release>();
      EXPECT_EQ(release.outcome, wire::Outcome::kReuse);
      back.push_back(release.lease_id);
    }
    std::sort(back.begin(), back.end());
    EXPECT_EQ(back, (std::vector<uint64_t>{1, 2, 3}));
    const auto again = peer.expect<wire::LeaseRequest>();
    peer.send(wire::Grant{again.request_id, {{4, false}}}, std::array{pairs[3][1]});
    EXPECT_EQ(peer.expect<wire::Release>().lease_id, 4u);
  });
  berth_session* session = open_session(server);
  {
    const Crowd crowd(1);
    std::array<berth_grant, 3> grants;
    EXPECT_EQ(berth_lease_many(session, "redis", 3, nullptr, grants.data()), -EMFILE);
    EXPECT_NE(std::string(berth_error()).find("ulimit"), std::string::npos) << berth_error();
    for (const berth_grant& grant : grants) EXPECT_EQ(grant.fd, -1);
    const UniqueFd room(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    EXPECT_TRUE(room.valid()) << "the one that fitted was closed again";
  }
  berth_grant grant;
  EXPECT_EQ(berth_lease(session, "redis", nullptr, &grant), 0) << berth_error();
  EXPECT_EQ(berth_release(session, &grant, BERTH_REUSE), 0);
  berth_session_close(session);
  for (const auto& pair : pairs) {
    ::close(pair[0]);
    ::close(pair[1]);
  }
}

TEST(Descriptors, NoneLeakThroughGrantsRefusalsAndSessionEnds) {
  const size_t before = test::count_open_fds();
  for (int round = 0; round < 20; ++round) {
    SessionServer server([](Peer& peer) {
      peer.welcome();
      const auto ends = peer.grant(peer.expect<wire::LeaseRequest>(), 1);
      const auto wrong = peer.expect<wire::LeaseRequest>();
      peer.grant({wrong.request_id, "redis", 5, {}, ""}, 10);  // more than was asked for
      peer.expect_end();
    });
    berth_session* session = open_session(server);
    std::array<berth_grant, 4> grants;
    EXPECT_EQ(berth_lease_many(session, "redis", 4, nullptr, grants.data()), 0);
    berth_grant other;
    EXPECT_EQ(berth_lease(session, "redis", nullptr, &other), -EPROTO);
    for (berth_grant& grant : grants)
      EXPECT_EQ(berth_release(session, &grant, BERTH_REUSE), -EPROTO);
    berth_session_close(session);
  }
  EXPECT_EQ(test::count_open_fds(), before);
}

}  // namespace
}  // namespace berth::client
