// libberth, waiting calls: one session, one lease, and what berthd may answer.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <array>
#include <cstring>
#include <string>

#include "berth/berth.hpp"
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

TEST(Session, ALeasedConnectionCarriesBytesAndGoesBack) {
  SessionServer server([](Peer& peer) {
    EXPECT_FALSE(peer.welcome().name.empty());
    const auto request = peer.expect<wire::LeaseRequest>();
    EXPECT_EQ(request.key, "redis");
    EXPECT_EQ(request.count, 1u);
    EXPECT_FALSE(request.timeout_ms.has_value());
    const auto ends = peer.grant(request, 41);
    test::wait_for(ends[0].get(), POLLIN);
    char text[8] = "";
    EXPECT_EQ(::read(ends[0].get(), text, sizeof text), 4);
    EXPECT_STREQ(text, "PING");
    EXPECT_EQ(peer.expect<wire::Release>(), (wire::Release{41, wire::Outcome::kReuse, 0}));
    test::wait_for(ends[0].get(), POLLIN);  // closed before the release was sent
    EXPECT_EQ(::read(ends[0].get(), text, sizeof text), 0);
    peer.expect_end();
  });
  berth_session* session = open_session(server);
  EXPECT_EQ(berth_session_id(session), 77u);
  berth_grant grant;
  ASSERT_EQ(berth_lease(session, "redis", nullptr, &grant), 0) << berth_error();
  EXPECT_EQ(grant.id, 41u);
  EXPECT_EQ(grant.reused, 0u);
  EXPECT_NE(::fcntl(grant.fd, F_GETFD) & FD_CLOEXEC, 0);
  EXPECT_EQ(::write(grant.fd, "PING", 4), 4);
  EXPECT_EQ(berth_release(session, &grant, BERTH_REUSE), 0) << berth_error();
  EXPECT_EQ(grant.fd, -1);
  EXPECT_EQ(grant.id, 0u);
  berth_session_close(session);
}

TEST(Session, OptionsReachTheDaemon) {
  SessionServer server([](Peer& peer) {
    EXPECT_EQ(peer.welcome().name, "cron job");
    const auto request = peer.expect<wire::LeaseRequest>();
    EXPECT_EQ(request.timeout_ms, 250u);
    EXPECT_EQ(request.traceparent, "00-aa-bb-01");
    peer.refuse(request.request_id, Code::kNotPermitted, "no");
  });
  berth_session* session = nullptr;
  ASSERT_EQ(berth_session_open_named(server.path().c_str(), "cron job", &session), 0);
  berth_options options = BERTH_OPTIONS_INIT;
  options.timeout_ms = 250;
  options.traceparent = "00-aa-bb-01";
  berth_grant grant;
  EXPECT_EQ(berth_lease(session, "redis", &options, &grant), -EACCES);
  berth_session_close(session);
}

TEST(Session, ABatchComesWholeAndInOrder) {
  SessionServer server([](Peer& peer) {
    peer.welcome();
    const auto ends = peer.grant(peer.expect<wire::LeaseRequest>(), 100);
    EXPECT_EQ(ends.size(), 64u);
    for (size_t i = 0; i < ends.size(); ++i) {
      EXPECT_EQ(::send(ends[i].get(), &i, sizeof i, MSG_NOSIGNAL), ssize_t{sizeof i});
    }
    for (uint64_t id = 100; id < 164; ++id) EXPECT_EQ(peer.expect<wire::Release>().lease_id, id);
  });
  berth_session* session = open_session(server);
  std::array<berth_grant, BERTH_MAX_COUNT> grants;
  ASSERT_EQ(berth_lease_many(session, "db", 64, nullptr, grants.data()), 0) << berth_error();
  for (size_t i = 0; i < grants.size(); ++i) {
    size_t number = ~size_t{0};
    EXPECT_EQ(::read(grants[i].fd, &number, sizeof number), ssize_t{sizeof number});
    EXPECT_EQ(number, i);
    EXPECT_EQ(grants[i].id, 100 + i);
    EXPECT_EQ(grants[i].reused, i % 2);
  }
  for (berth_grant& grant : grants) EXPECT_EQ(berth_release(session, &grant, BERTH_DISCARD), 0);
  berth_session_close(session);
}

std::vector<UniqueFd> grant_for_good(Peer& peer, const wire::LeaseRequest& request, bool detached) {
  std::vector<UniqueFd> far;
  std::vector<UniqueFd> near;
  std::vector<int> fds;
  wire::Grant grant{request.request_id, {}};
  for (uint64_t id = 7; id < 7 + request.count; ++id) {
    int pair[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    near.emplace_back(pair[0]);
    far.emplace_back(pair[1]);
    fds.push_back(pair[0]);
    grant.leases.push_back({id, false, false, detached});
  }
  peer.send(grant, fds);
  return far;
}

berth_options for_good() {
  berth_options options = BERTH_OPTIONS_INIT;
  options.detach = 1;
  return options;
}

TEST(Session, ADetachedConnectionIsTheCallersAndNoLease) {
  std::vector<UniqueFd> far;
  SessionServer server([&](Peer& peer) {
    peer.welcome();
    const auto request = peer.expect<wire::LeaseRequest>();
    EXPECT_TRUE(request.detach);
    far = grant_for_good(peer, request, true);
    peer.expect_end();
  });
  berth_session* session = open_session(server);
  const berth_options options = for_good();
  berth_grant grants[2];
  ASSERT_EQ(berth_lease_many(session, "ssh", 2, &options, grants), 0) << berth_error();
  EXPECT_EQ(grants[0].id, 0u);
  EXPECT_EQ(berth_release(session, &grants[0], BERTH_REUSE), -EINVAL);
  berth_session_close(session);
  for (const berth_grant& grant : grants) {
    EXPECT_EQ(::write(grant.fd, "x", 1), 1);
    EXPECT_EQ(::close(grant.fd), 0);
  }
}

TEST(Session, ADaemonThatCannotDetachGetsItsConnectionsBack) {
  SessionServer server([](Peer& peer) {
    peer.welcome();
    const auto request = peer.expect<wire::LeaseRequest>();
    const auto far = grant_for_good(peer, request, false);
    EXPECT_EQ(peer.expect<wire::Release>(), (wire::Release{7, wire::Outcome::kReuse, 0}));
    const auto next = peer.expect<wire::LeaseRequest>();
    peer.grant(next, 9);
    EXPECT_EQ(peer.expect<wire::Release>().lease_id, 9u);
  });
  berth_session* session = open_session(server);
  const berth_options options = for_good();
  berth_grant grant;
  EXPECT_EQ(berth_lease(session, "ssh", &options, &grant), -EPROTONOSUPPORT);
  EXPECT_STREQ(berth_error(),
               "this berthd is too old for detached leases; what it granted went back untouched");
  EXPECT_EQ(grant.fd, -1);
  EXPECT_EQ(berth_lease(session, "ssh", nullptr, &grant), 0) << "the session lives";
  EXPECT_EQ(berth_release(session, &grant, BERTH_REUSE), 0);
  berth_session_close(session);
}

TEST(Session, ADetachedGrantThatNobodyAskedForEndsTheSession) {
  SessionServer server([](Peer& peer) {
    peer.welcome();
    const auto far = grant_for_good(peer, peer.expect<wire::LeaseRequest>(), true);
    peer.expect_end();
  });
  berth_session* session = open_session(server);
  berth_grant grant;
  EXPECT_EQ(berth_lease(session, "ssh", nullptr, &grant), -EPROTO);
  berth_session_close(session);
}

TEST(Session, OptionsOfAnEarlierVersionMeanWhatTheyMeant) {
  SessionServer server([](Peer& peer) {
    peer.welcome();
    const auto request = peer.expect<wire::LeaseRequest>();
    EXPECT_EQ(request.timeout_ms, 250u);
    EXPECT_FALSE(request.detach);
    peer.refuse(request.request_id, Code::kNotPermitted, "no");
  });
  struct {
    size_t size;
    int64_t timeout_ms;
    const char* traceparent;
  } earlier{sizeof earlier, 250, nullptr};
  berth_session* session = open_session(server);
  berth_grant grant;
  EXPECT_EQ(berth_lease(session, "x", reinterpret_cast<const berth_options*>(&earlier), &grant),
            -EACCES);
  berth_session_close(session);
}

TEST(Session, ABareSlotComesWithoutADescriptor) {
  SessionServer server([](Peer& peer) {
    peer.welcome();
    const auto request = peer.expect<wire::LeaseRequest>();
    peer.send(wire::Grant{request.request_id, {{5, false, true}, {6, false, true}}});
    EXPECT_EQ(peer.expect<wire::Release>(), (wire::Release{5, wire::Outcome::kReuse, 0}));
    EXPECT_EQ(peer.expect<wire::Release>(), (wire::Release{6, wire::Outcome::kDiscard, 0}));
  });
  berth_session* session = open_session(server);
  berth_grant grants[2];
  ASSERT_EQ(berth_lease_many(session, "slot", 2, nullptr, grants), 0) << berth_error();
  EXPECT_EQ(grants[0].id, 5u);
  EXPECT_EQ(grants[0].fd, -1);
  EXPECT_EQ(grants[1].fd, -1);
  EXPECT_EQ(berth_release(session, &grants[0], BERTH_REUSE), 0) << berth_error();
  EXPECT_EQ(berth_release(session, &grants[1], BERTH_DISCARD), 0) << berth_error();
  EXPECT_EQ(berth_release(session, &grants[0], BERTH_REUSE), -EINVAL);
  berth_session_close(session);
}

TEST(Session, ASlotWithADescriptorMakesNoSense) {
  SessionServer server([](Peer& peer) {
    peer.welcome();
    const auto request = peer.expect<wire::LeaseRequest>();
    const int fd = 0;
    peer.send(wire::Grant{request.request_id, {{5, false, true}}}, std::span(&fd, 1));
    peer.expect_end();
  });
  berth_session* session = open_session(server);
  berth_grant grant;
  EXPECT_EQ(berth_lease(session, "slot", nullptr, &grant), -EPROTO);
  berth_session_close(session);
}

TEST(Session, ARefusalIsAnErrnoWithBerthdsWords) {
  const std::string why = "timed out after 5 s: 20/20 leased; oldest pid 4121 php-fpm 31 s";
  SessionServer server([&](Peer& peer) {
    peer.welcome();
    for (uint32_t code = 1; code <= 13; ++code) {
      peer.refuse(peer.expect<wire::LeaseRequest>().request_id, Code{code}, why);
    }
  });
  berth_session* session = open_session(server);
  for (uint32_t code = 1; code <= 13; ++code) {
    berth_grant grant{9, 9, 9};
    EXPECT_EQ(berth_lease(session, "redis", nullptr, &grant), -code_errno(Code{code}));
    EXPECT_EQ(berth_error_code(), static_cast<berth_code>(code));
    EXPECT_EQ(berth_error(), why);
    EXPECT_EQ(grant.fd, -1);
    EXPECT_EQ(grant.id, 0u);
  }
  berth_session_close(session);
}

TEST(Session, ATimeoutTellsProgramsWhatItWaitedFor) {
  SessionServer server([](Peer& peer) {
    peer.welcome();
    wire::Why why{wire::Cause::kExhausted, 20, 20, 3, 7, "tcp://h:1: refused", {}};
    for (uint32_t i = 0; i < 9; ++i) why.holders.push_back({4000 + i, 33, "php-fpm", 31000});
    why.holders[1].command = std::string(500, 'x');
    const uint64_t first = peer.expect<wire::LeaseRequest>().request_id;
    peer.send(wire::Refusal{first, Code::kTimedOut, "timed out", why});
    peer.refuse(peer.expect<wire::LeaseRequest>().request_id, Code::kNoSuchKey, "no such key");
  });
  auto session = berth::Session::open(server.path());
  ASSERT_TRUE(session) << session.error().words;
  const berth::Error error = session->lease("redis").error();
  const berth_why* why = berth_error_why();
  ASSERT_NE(why, nullptr);
  EXPECT_EQ(why->cause, BERTH_CAUSE_EXHAUSTED);
  EXPECT_EQ(why->leased, 20u);
  EXPECT_EQ(why->max_connections, 20u);
  EXPECT_EQ(why->waiting, 3u);
  EXPECT_EQ(why->dial_failures, 7u);
  EXPECT_STREQ(why->last_dial_error, "tcp://h:1: refused");
  EXPECT_EQ(why->holder_count, unsigned{BERTH_MAX_HOLDERS});
  EXPECT_EQ(why->holders[0].pid, 4000u);
  EXPECT_EQ(why->holders[0].uid, 33u);
  EXPECT_EQ(why->holders[0].held_ms, 31000u);
  EXPECT_STREQ(why->holders[0].command, "php-fpm");
  EXPECT_EQ(std::strlen(why->holders[1].command), 63u) << "cut, not lost";
  EXPECT_EQ(session->lease("rediss").error().code, BERTH_NO_SUCH_KEY);
  EXPECT_EQ(berth_error_why(), nullptr) << "it went with its error";
  ASSERT_TRUE(error.why.has_value()) << "but C++ has a copy";
  EXPECT_EQ(error.why->holders.size(), size_t{BERTH_MAX_HOLDERS});
  EXPECT_EQ(error.why->holders[4].pid, 4004u);
  EXPECT_EQ(error.why->last_dial_error, "tcp://h:1: refused");
}

TEST(Session, ReleasingTwiceIsACleanError) {
  SessionServer server([](Peer& peer) {
    peer.welcome();
    const auto ends = peer.grant(peer.expect<wire::LeaseRequest>(), 5);
    EXPECT_EQ(peer.expect<wire::Release>().lease_id, 5u);
    peer.expect_end();  // and no second release
  });
  berth_session* session = open_session(server);
  berth_grant grant;
  ASSERT_EQ(berth_lease(session, "redis", nullptr, &grant), 0);
  berth_grant copy = grant;
  EXPECT_EQ(berth_release(session, &grant, BERTH_REUSE), 0);
  EXPECT_EQ(berth_release(session, &grant, BERTH_REUSE), -EINVAL);
  ASSERT_EQ(::dup3(berth_session_fd(session), copy.fd, O_CLOEXEC),
            copy.fd);  // the number is reused
  EXPECT_EQ(berth_release(session, &copy, BERTH_REUSE), -ESTALE);
  EXPECT_NE(std::string(berth_error()).find("lease 5"), std::string::npos);
  EXPECT_EQ(::close(copy.fd), 0);  // and was left alone
  berth_session_close(session);
}

TEST(Session, GoodbyesWordsReachTheWaitingCallAndAllLaterOnes) {
  SessionServer server([](Peer& peer) {
    peer.welcome();
    const auto request = peer.expect<wire::LeaseRequest>();
    const auto ends = peer.grant(request, 1);
    peer.expect<wire::LeaseRequest>();
    peer.send(wire::Goodbye{Code::kShuttingDown, "berthd stops"});
  });
  berth_session* session = open_session(server);
  berth_grant held, grant;
  ASSERT_EQ(berth_lease(session, "redis", nullptr, &held), 0);
  EXPECT_EQ(berth_lease(session, "redis", nullptr, &grant), -ECONNRESET);
  EXPECT_STREQ(berth_error(), "berthd ended the session: berthd stops");
  EXPECT_EQ(berth_error_code(), BERTH_SHUTTING_DOWN);
  EXPECT_EQ(berth_lease(session, "redis", nullptr, &grant), -ECONNRESET);
  const int fd = held.fd;
  EXPECT_EQ(berth_release(session, &held, BERTH_REUSE), -ECONNRESET);
  EXPECT_STREQ(berth_error(), "berthd ended the session: berthd stops");
  EXPECT_EQ(::fcntl(fd, F_GETFD), -1);  // closed all the same
  EXPECT_EQ(held.id, 0u);
  berth_session_close(session);
}

TEST(Session, GoodbyeIsHeardThoughTheDaemonLeftOurFramesUnread) {
  SessionServer server([](Peer& peer) {
    peer.welcome();
    test::wait_for(peer.fd(), POLLIN);
    peer.send(wire::Goodbye{Code::kInvalid, "too many frames"});
  });
  berth_session* session = open_session(server);
  berth_grant grant;
  EXPECT_EQ(berth_lease(session, "redis", nullptr, &grant), -ECONNRESET);
  EXPECT_STREQ(berth_error(), "berthd ended the session: too many frames");
  berth_session_close(session);
}

TEST(Session, ADaemonThatVanishesFailsTheWaitingCall) {
  SessionServer server([](Peer& peer) {
    peer.welcome();
    peer.expect<wire::LeaseRequest>();
    peer.close();
  });
  berth_session* session = open_session(server);
  berth_grant grant;
  EXPECT_EQ(berth_lease(session, "redis", nullptr, &grant), -ECONNRESET);
  EXPECT_NE(std::string(berth_error()).find("berthd is gone"), std::string::npos);
  EXPECT_EQ(berth_keys(
                session, [](const char*, void*) { return 0; }, nullptr),
            -ECONNRESET);
  berth_session_close(session);
}

TEST(Session, ARevokedLeaseIsClosedAndReportedAtRelease) {
  SessionServer server([](Peer& peer) {
    peer.welcome();
    const auto ends = peer.grant(peer.expect<wire::LeaseRequest>(), 5);
    const auto second = peer.expect<wire::LeaseRequest>();
    peer.send(wire::Revoked{5, Code::kRevoked, "held longer than 1 min"});
    peer.refuse(second.request_id, Code::kQueueFull, "");
    peer.expect_end();  // no release of what was taken away
  });
  berth_session* session = open_session(server);
  berth_grant grant, second;
  ASSERT_EQ(berth_lease(session, "redis", nullptr, &grant), 0);
  EXPECT_EQ(berth_lease(session, "redis", nullptr, &second), -EAGAIN);
  EXPECT_STREQ(berth_error(), "QUEUE_FULL");
  EXPECT_EQ(berth_release(session, &grant, BERTH_REUSE), -EOWNERDEAD);
  EXPECT_STREQ(berth_error(), "berthd took the lease away: held longer than 1 min");
  EXPECT_EQ(grant.fd, -1);
  EXPECT_EQ(berth_release(session, &grant, BERTH_REUSE), -EINVAL);
  berth_session_close(session);
}

TEST(Session, KeysAreListedOverSeveralPages) {
  SessionServer server([](Peer& peer) {
    peer.welcome();
    const auto first = peer.expect<wire::ListKeys>();
    EXPECT_EQ(first.after, "");
    peer.send(wire::KeyList{first.request_id, {"a", "b"}, true});
    const auto second = peer.expect<wire::ListKeys>();
    EXPECT_EQ(second.after, "b");
    peer.send(wire::KeyList{second.request_id, {"c"}, false});
  });
  auto session = Session::open(server.path());
  ASSERT_TRUE(session) << session.error().words;
  auto keys = session->keys();
  ASSERT_TRUE(keys) << keys.error().words;
  EXPECT_EQ(*keys, (std::vector<std::string>{"a", "b", "c"}));
}

TEST(Session, WrongArgumentsNeverReachTheDaemon) {
  SessionServer server([](Peer& peer) {
    peer.welcome();
    peer.expect_end();
  });
  berth_session* session = open_session(server);
  std::array<berth_grant, BERTH_MAX_COUNT + 1> grants;
  berth_options options = BERTH_OPTIONS_INIT;
  EXPECT_EQ(berth_lease(session, "", nullptr, grants.data()), -EINVAL);
  EXPECT_EQ(berth_lease(session, nullptr, nullptr, grants.data()), -EINVAL);
  EXPECT_EQ(berth_lease(nullptr, "k", nullptr, grants.data()), -EINVAL);
  EXPECT_EQ(berth_lease(session, std::string(301, 'k').c_str(), nullptr, grants.data()), -EINVAL);
  EXPECT_EQ(berth_lease(session, "caf\xe9", nullptr, grants.data()), -EINVAL);
  EXPECT_EQ(berth_lease_many(session, "k", 0, nullptr, grants.data()), -EINVAL);
  EXPECT_EQ(berth_lease_many(session, "k", 65, nullptr, grants.data()), -EINVAL);
  options.timeout_ms = -2;
  EXPECT_EQ(berth_lease(session, "k", &options, grants.data()), -EINVAL);
  options = {};
  EXPECT_EQ(berth_lease(session, "k", &options, grants.data()), -EINVAL);  // size is 0
  EXPECT_EQ(berth_release(session, nullptr, BERTH_REUSE), -EINVAL);
  EXPECT_EQ(berth_error_code(), BERTH_INVALID);
  berth_session_close(session);
}

TEST(Session, ANullArgumentLeavesTheOutputsUntouched) {
  SessionServer server([](Peer& peer) {
    peer.welcome();
    peer.expect_end();
  });
  berth_session* session = open_session(server);
  berth_grant grant{9, 9, 9};
  uint64_t id = 9;
  berth_event event{};
  event.size = sizeof event;
  event.request_id = 9;
  EXPECT_EQ(berth_session_open(server.path().c_str(), nullptr), -EINVAL);
  EXPECT_EQ(berth_lease(session, nullptr, nullptr, &grant), -EINVAL);
  EXPECT_EQ(berth_lease_many(nullptr, "k", 1, nullptr, &grant), -EINVAL);
  EXPECT_EQ(berth_release(nullptr, &grant, BERTH_REUSE), -EINVAL);
  EXPECT_EQ(berth_submit_release(session, &grant, BERTH_REUSE, nullptr), -EINVAL);
  EXPECT_EQ(berth_submit(session, nullptr, 1, nullptr, &id), -EINVAL);
  EXPECT_EQ(berth_next_event(nullptr, &event), -EINVAL);
  EXPECT_TRUE(grant.id == 9 && grant.fd == 9 && grant.reused == 9);
  EXPECT_EQ(id, 9u);
  EXPECT_EQ(event.request_id, 9u);
  EXPECT_EQ(berth_lease(session, "", nullptr, &grant), -EINVAL);  // but any other wrong one
  EXPECT_TRUE(grant.id == 0 && grant.fd == -1);
  berth_session_close(session);
}

TEST(Session, TheLastErrorOutlivesASuccess) {
  SessionServer server([](Peer& peer) {
    peer.welcome();
    peer.refuse(peer.expect<wire::LeaseRequest>().request_id, Code::kQueueFull, "full");
    const auto ends = peer.grant(peer.expect<wire::LeaseRequest>(), 5);
    EXPECT_EQ(peer.expect<wire::Release>().lease_id, 5u);
  });
  berth_session* session = open_session(server);
  berth_grant grant;
  EXPECT_EQ(berth_lease(session, "redis", nullptr, &grant), -EAGAIN);
  ASSERT_EQ(berth_lease(session, "redis", nullptr, &grant), 0) << berth_error();
  EXPECT_STREQ(berth_error(), "full");
  EXPECT_EQ(berth_release(session, &grant, BERTH_REUSE), 0);
  berth_session_close(session);
  EXPECT_STREQ(berth_error(), "full");
  EXPECT_EQ(berth_error_code(), BERTH_QUEUE_FULL);
}

TEST(Session, AReleaseThatFindsTheDaemonGoneReadsWhy) {
  SessionServer server([](Peer& peer) {
    peer.welcome();
    const auto ends = peer.grant(peer.expect<wire::LeaseRequest>(), 5);
    peer.send(wire::Goodbye{Code::kShuttingDown, "berthd stops"});
  });
  berth_session* session = open_session(server);
  berth_grant grant;
  ASSERT_EQ(berth_lease(session, "redis", nullptr, &grant), 0) << berth_error();
  ASSERT_TRUE(test::wait_for(berth_session_fd(session), POLLHUP));
  const int fd = grant.fd;
  EXPECT_EQ(berth_release(session, &grant, BERTH_REUSE), -ECONNRESET);
  EXPECT_STREQ(berth_error(), "berthd ended the session: berthd stops");
  EXPECT_EQ(::fcntl(fd, F_GETFD), -1);
  EXPECT_TRUE(test::wait_for(berth_session_fd(session), POLLIN)) << "and poll(2) shows it still";
  berth_session_close(session);
}

TEST(Session, AllLaterCallsReturnWhatEndedIt) {
  SessionServer server([](Peer& peer) {
    peer.welcome();
    const auto ends = peer.grant(peer.expect<wire::LeaseRequest>(), 1);
    peer.expect<wire::LeaseRequest>();
    peer.send_bytes("\x7f\x7f");
    peer.expect_end();
  });
  berth_session* session = open_session(server);
  std::array<berth_grant, 2> held;
  berth_grant grant;
  ASSERT_EQ(berth_lease_many(session, "redis", 2, nullptr, held.data()), 0) << berth_error();
  EXPECT_EQ(berth_lease(session, "redis", nullptr, &grant), -EPROTO);
  uint64_t id = 0;
  const auto each = [](const char*, void*) { return 0; };
  EXPECT_EQ(berth_lease(session, "redis", nullptr, &grant), -EPROTO);
  EXPECT_EQ(berth_keys(session, each, nullptr), -EPROTO);
  EXPECT_EQ(berth_submit(session, "redis", 1, nullptr, &id), -EPROTO);
  EXPECT_EQ(berth_submit_release(session, &held[0], BERTH_REUSE, &id), -EPROTO);
  EXPECT_EQ(berth_release(session, &held[1], BERTH_REUSE), -EPROTO);
  EXPECT_TRUE(held[0].fd == -1 && held[1].fd == -1);
  EXPECT_EQ(id, 0u);
  EXPECT_EQ(berth_cancel(session, 1), -ESTALE);  // of no request that is under way
  berth_event event;
  event.size = sizeof event;
  EXPECT_EQ(berth_next_event(session, &event), 1);
  EXPECT_EQ(event.kind, BERTH_EVENT_CLOSED);
  EXPECT_EQ(event.error, -EPROTO);
  EXPECT_EQ(berth_next_event(session, &event), -EPROTO);
  berth_session_close(session);
}

TEST(Session, NonsenseFromTheDaemonEndsTheSession) {
  int round = 0;
  SessionServer server([&round](Peer& peer) {
    peer.welcome();
    const auto request = peer.expect<wire::LeaseRequest>();
    switch (round++) {
      case 0: peer.send_bytes("\x7f\x7f"); break;
      case 1: peer.send(wire::Welcome{}); break;
      case 2: peer.send(wire::Grant{request.request_id, {{1, false}}}); break;  // without its fd
      case 3: peer.grant({request.request_id, "redis", 2, {}, ""}, 1); break;
      case 4: peer.send_bytes("", std::array{0}); return;
      case 5: peer.send(wire::KeyList{request.request_id, {}, false}); break;
    }
    peer.expect_end();
  });
  for (int i = 0; i < 6; ++i) {
    berth_session* session = open_session(server);
    berth_grant grant;
    const int result = berth_lease(session, "redis", nullptr, &grant);
    EXPECT_EQ(result, i == 4 ? -ECONNRESET : -EPROTO) << i << ": " << berth_error();
    berth_session_close(session);
  }
}

TEST(Session, AChildMayNeitherUseNorEndTheSession) {
  SessionServer server([](Peer& peer) {
    peer.welcome();
    const auto ends = peer.grant(peer.expect<wire::LeaseRequest>(), 5);
    EXPECT_EQ(peer.expect<wire::Release>().lease_id, 5u);
    peer.expect_end();
  });
  berth_session* session = open_session(server);
  berth_grant grant;
  ASSERT_EQ(berth_lease(session, "redis", nullptr, &grant), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    berth_grant other;
    uint64_t id;
    berth_event event;
    event.size = sizeof event;
    const bool refused = berth_lease(session, "redis", nullptr, &other) == -EPERM &&
                         std::strstr(berth_error(), "fork") != nullptr &&
                         berth_release(session, &grant, BERTH_REUSE) == -EPERM && grant.id == 5 &&
                         berth_submit(session, "redis", 1, nullptr, &id) == -EPERM &&
                         berth_next_event(session, &event) == -EPERM &&
                         berth_cancel(session, 1) == -EPERM;
    const int fd = berth_session_fd(session);
    berth_session_close(session);
    const bool closed = ::fcntl(fd, F_GETFD) < 0 && ::fcntl(grant.fd, F_GETFD) >= 0;
    ::_exit(refused && closed ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(berth_release(session, &grant, BERTH_REUSE), 0) << berth_error();
  berth_session_close(session);
}

TEST(Session, CloseEndsTheSessionEvenIfAChildHoldsTheSocket) {
  SessionServer server([](Peer& peer) {
    peer.welcome();
    peer.expect_end();
  });
  berth_session* session = open_session(server);
  const UniqueFd childs(::dup(berth_session_fd(session)));
  berth_session_close(session);
}

TEST(Lease, IsDiscardedUnlessReleased) {
  SessionServer server([](Peer& peer) {
    peer.welcome();
    const auto kept = peer.grant(peer.expect<wire::LeaseRequest>(), 1);
    EXPECT_EQ(peer.expect<wire::Release>(), (wire::Release{1, wire::Outcome::kReuse, 0}));
    const auto dropped = peer.grant(peer.expect<wire::LeaseRequest>(), 2);
    EXPECT_EQ(peer.expect<wire::Release>(), (wire::Release{3, wire::Outcome::kDiscard, 0}));
    EXPECT_EQ(peer.expect<wire::Release>(), (wire::Release{2, wire::Outcome::kDiscard, 0}));
    peer.expect_end();
  });
  auto session = berth::Session::open(server.path(), "test");
  ASSERT_TRUE(session) << session.error().words;
  {
    auto lease = session->lease("redis");
    ASSERT_TRUE(lease) << lease.error().words;
    EXPECT_EQ(lease->release(), 0);
    EXPECT_EQ(lease->fd(), -1);
  }
  auto pair = session->lease_many("redis", 2);
  ASSERT_TRUE(pair) << pair.error().words;
  berth::Lease moved = std::move(pair.value()[0]);
  EXPECT_EQ(pair.value()[0].fd(), -1);
  pair.value().clear();  // discards the second; the first has moved
  EXPECT_EQ(moved.id(), 2u);
}

}  // namespace
}  // namespace berth::client
