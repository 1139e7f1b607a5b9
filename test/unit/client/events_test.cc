// libberth without waiting: submit, poll, fetch events.
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <string>

#include "berth/berth.h"
#include "support/session_server.h"

namespace berth::client {
namespace {

using test::Peer;
using test::SessionServer;

// A session, and its events one by one as a loop would see them.
class EventLoop {
 public:
  explicit EventLoop(const SessionServer& server) {
    EXPECT_EQ(berth_session_open(server.path().c_str(), &session_), 0) << berth_error();
  }
  ~EventLoop() { berth_session_close(session_); }

  berth_session* session() { return session_; }

  uint64_t submit(const char* key, unsigned n = 1) {
    uint64_t id = 0;
    EXPECT_EQ(berth_submit(session_, key, n, nullptr, &id), 0) << berth_error();
    EXPECT_NE(id, 0u);
    return id;
  }

  berth_event next() {
    berth_event event;
    event.size = sizeof event;
    int result = berth_next_event(session_, &event);
    while (result == 0 && test::wait_for(berth_session_fd(session_), POLLIN)) {
      result = berth_next_event(session_, &event);
    }
    EXPECT_EQ(result, 1) << berth_error();
    return event;
  }

  void expect_none() {
    berth_event event;
    event.size = sizeof event;
    EXPECT_EQ(berth_next_event(session_, &event), 0);
  }

 private:
  berth_session* session_ = nullptr;
};

TEST(Events, AGrantARefusalAndAReleaseEachComeOnce) {
  SessionServer server([](Peer& peer) {
    peer.welcome();
    const auto first = peer.expect<wire::LeaseRequest>();
    EXPECT_EQ(first.count, 2u);
    const auto second = peer.expect<wire::LeaseRequest>();
    const wire::Why why{wire::Cause::kPaused, 0, 20, 1, 0, "", {}};
    peer.send(wire::Refusal{second.request_id, Code::kNoSuchKey,
                            "no key rediss; did you mean redis?", why});
    const auto ends = peer.grant(first, 6);
    for (const Code code : {Code::kOk, Code::kNoSuchLease}) {
      const auto release = peer.expect<wire::Release>();
      EXPECT_NE(release.request_id, 0u);
      peer.send(wire::Released{release.request_id, code, "so it is"});
    }
    peer.expect_end();
  });
  EventLoop loop(server);
  const uint64_t granted_id = loop.submit("redis", 2);
  const uint64_t refused_id = loop.submit("rediss");
  const berth_event refused = loop.next();
  EXPECT_EQ(refused.kind, BERTH_EVENT_REFUSED);
  EXPECT_EQ(refused.request_id, refused_id);
  EXPECT_EQ(refused.error, -ENOENT);
  EXPECT_EQ(refused.code, BERTH_NO_SUCH_KEY);
  EXPECT_STREQ(refused.message, "no key rediss; did you mean redis?");
  ASSERT_NE(refused.why, nullptr);
  EXPECT_EQ(refused.why->cause, BERTH_CAUSE_PAUSED);
  berth_event granted = loop.next();
  EXPECT_EQ(granted.why, nullptr);
  EXPECT_EQ(granted.kind, BERTH_EVENT_GRANTED);
  EXPECT_EQ(granted.request_id, granted_id);
  ASSERT_EQ(granted.count, 2u);
  EXPECT_EQ(granted.grants[1].id, 7u);
  EXPECT_STREQ(granted.message, "");
  loop.expect_none();
  for (const int error : {0, -ESTALE}) {
    berth_grant& grant = granted.grants[error == 0 ? 0 : 1];
    uint64_t id = 0;
    EXPECT_EQ(berth_submit_release(loop.session(), &grant, BERTH_REUSE, &id), 0) << berth_error();
    EXPECT_EQ(grant.fd, -1);
    const berth_event released = loop.next();
    EXPECT_EQ(released.kind, BERTH_EVENT_RELEASED);
    EXPECT_EQ(released.request_id, id);
    EXPECT_EQ(released.error, error);
    EXPECT_EQ(berth_submit_release(loop.session(), &grant, BERTH_REUSE, &id), -EINVAL);
  }
}

TEST(Events, ACancelledRequestStillHasOneAnswer) {
  SessionServer server([](Peer& peer) {
    peer.welcome();
    const auto first = peer.expect<wire::LeaseRequest>();
    EXPECT_EQ(peer.expect<wire::Cancel>().request_id, first.request_id);
    peer.refuse(first.request_id, Code::kCancelled, "withdrawn");
    const auto second = peer.expect<wire::LeaseRequest>();
    const auto ends = peer.grant(second, 3);  // under way when the cancel comes
    EXPECT_EQ(peer.expect<wire::Cancel>().request_id, second.request_id);
    peer.expect_end();
  });
  EventLoop loop(server);
  const uint64_t first = loop.submit("redis");
  EXPECT_EQ(berth_cancel(loop.session(), first), 0);
  const berth_event cancelled = loop.next();
  EXPECT_EQ(cancelled.kind, BERTH_EVENT_REFUSED);
  EXPECT_EQ(cancelled.error, -ECANCELED);
  EXPECT_EQ(berth_cancel(loop.session(), first), -ESTALE);
  const uint64_t second = loop.submit("redis");
  test::wait_for(berth_session_fd(loop.session()), POLLIN);
  EXPECT_EQ(berth_cancel(loop.session(), second), 0);
  berth_event granted = loop.next();
  EXPECT_EQ(granted.kind, BERTH_EVENT_GRANTED);
  EXPECT_EQ(granted.request_id, second);
  ::close(granted.grants[0].fd);
  EXPECT_EQ(berth_cancel(loop.session(), second + 1), -ESTALE);
}

TEST(Events, ARevokedLeaseIsAnnouncedAndStillReleased) {
  SessionServer server([](Peer& peer) {
    peer.welcome();
    const auto ends = peer.grant(peer.expect<wire::LeaseRequest>(), 3);
    peer.send(wire::Revoked{99, Code::kRevoked, "not ours"});
    peer.send(wire::Revoked{3, Code::kRevoked, "by the administrator"});
    peer.expect_end();
  });
  EventLoop loop(server);
  loop.submit("redis");
  berth_event granted = loop.next();
  const berth_event revoked = loop.next();
  EXPECT_EQ(revoked.kind, BERTH_EVENT_REVOKED);
  EXPECT_EQ(revoked.lease_id, 3u);
  EXPECT_EQ(revoked.error, -EOWNERDEAD);
  EXPECT_STREQ(revoked.message, "berthd took the lease away: by the administrator");
  uint64_t id = 0;
  EXPECT_EQ(berth_submit_release(loop.session(), &granted.grants[0], BERTH_REUSE, &id),
            -EOWNERDEAD);
  EXPECT_EQ(granted.grants[0].fd, -1);
}

TEST(Events, ARevocationThatAWaitingCallMetIsAnEventToo) {
  SessionServer server([](Peer& peer) {
    peer.welcome();
    const auto ends = peer.grant(peer.expect<wire::LeaseRequest>(), 3);
    const auto second = peer.expect<wire::LeaseRequest>();
    peer.send(wire::Revoked{3, Code::kRevoked, ""});
    peer.refuse(second.request_id, Code::kTimedOut, "");
    peer.expect_end();
  });
  EventLoop loop(server);
  berth_grant grant, other;
  EXPECT_EQ(berth_lease(loop.session(), "redis", nullptr, &grant), 0);
  EXPECT_EQ(berth_lease(loop.session(), "redis", nullptr, &other), -ETIMEDOUT);
  const berth_event revoked = loop.next();
  EXPECT_EQ(revoked.kind, BERTH_EVENT_REVOKED);
  EXPECT_EQ(revoked.lease_id, 3u);
  EXPECT_EQ(berth_release(loop.session(), &grant, BERTH_DISCARD), -EOWNERDEAD);
}

TEST(Events, ARevocationIsForgottenOnceItsLeaseIsReleased) {
  SessionServer server([](Peer& peer) {
    peer.welcome();
    const auto ends = peer.grant(peer.expect<wire::LeaseRequest>(), 3);
    const auto second = peer.expect<wire::LeaseRequest>();
    peer.send(wire::Revoked{3, Code::kRevoked, ""});
    peer.refuse(second.request_id, Code::kTimedOut, "");
    peer.expect_end();
  });
  EventLoop loop(server);
  loop.submit("redis");
  berth_event granted = loop.next();
  berth_grant other;
  EXPECT_EQ(berth_lease(loop.session(), "redis", nullptr, &other), -ETIMEDOUT);
  EXPECT_EQ(berth_release(loop.session(), &granted.grants[0], BERTH_DISCARD), -EOWNERDEAD);
  loop.expect_none();
}

TEST(Events, TheEndAnswersAllRequestsAndThenClosesOnce) {
  SessionServer server([](Peer& peer) {
    peer.welcome();
    const auto ends = peer.grant(peer.expect<wire::LeaseRequest>(), 3);
    peer.expect<wire::LeaseRequest>();
    peer.expect<wire::Release>();
    peer.send(wire::Goodbye{Code::kShuttingDown, "berthd stops"});
  });
  EventLoop loop(server);
  loop.submit("redis");
  berth_event granted = loop.next();
  const uint64_t waiting = loop.submit("redis");
  uint64_t releasing = 0;
  EXPECT_EQ(berth_submit_release(loop.session(), &granted.grants[0], BERTH_REUSE, &releasing), 0);
  for (int i = 0; i < 2; ++i) {
    const berth_event event = loop.next();
    EXPECT_EQ(event.error, -ECONNRESET);
    const bool is_release = event.kind == BERTH_EVENT_RELEASED;
    EXPECT_TRUE(is_release || event.kind == BERTH_EVENT_REFUSED);
    EXPECT_EQ(event.request_id, is_release ? releasing : waiting);
  }
  const berth_event closed = loop.next();
  EXPECT_EQ(closed.kind, BERTH_EVENT_CLOSED);
  EXPECT_EQ(closed.code, BERTH_SHUTTING_DOWN);
  EXPECT_STREQ(closed.message, "berthd ended the session: berthd stops");
  berth_event none;
  none.size = sizeof none;
  EXPECT_EQ(berth_next_event(loop.session(), &none), -ECONNRESET);
  uint64_t id = 0;
  EXPECT_EQ(berth_submit(loop.session(), "redis", 1, nullptr, &id), -ECONNRESET);
}

TEST(Events, AWaitingCallLeavesTheEventsItMetToTheLoop) {
  SessionServer server([](Peer& peer) {
    peer.welcome();
    const auto submitted = peer.expect<wire::LeaseRequest>();
    const auto waited = peer.expect<wire::LeaseRequest>();
    const auto first = peer.grant(submitted, 1);
    const auto second = peer.grant(waited, 2);
    peer.expect_end();
  });
  EventLoop loop(server);
  const uint64_t id = loop.submit("redis");
  berth_grant grant;
  ASSERT_EQ(berth_lease(loop.session(), "redis", nullptr, &grant), 0);
  EXPECT_EQ(grant.id, 2u);
  ::close(grant.fd);
  berth_event event;
  event.size = sizeof event;
  ASSERT_EQ(berth_next_event(loop.session(), &event), 1);
  EXPECT_EQ(event.request_id, id);
  EXPECT_EQ(event.grants[0].id, 1u);
  ::close(event.grants[0].fd);
}

TEST(Events, GrantsThatNobodyFetchedAreClosedWithTheSession) {
  const size_t before = test::count_open_fds();
  {
    SessionServer server([](Peer& peer) {
      peer.welcome();
      const auto first = peer.grant(peer.expect<wire::LeaseRequest>(), 1);
      peer.refuse(peer.expect<wire::LeaseRequest>().request_id, Code::kTimedOut, "");
      peer.expect_end();
    });
    EventLoop loop(server);
    loop.submit("redis");
    berth_grant grant;
    EXPECT_EQ(berth_lease(loop.session(), "redis", nullptr, &grant), -ETIMEDOUT);
  }
  EXPECT_EQ(test::count_open_fds(), before);
}

TEST(Events, SubmittingToADaemonThatDoesNotReadSaysTryAgain) {
  SessionServer server([](Peer& peer) {
    peer.welcome();
    test::wait_for(peer.fd(), POLLIN);
    while (const auto frame = peer.receive()) {
      if (std::holds_alternative<wire::Cancel>(*frame)) break;
      if (const auto* request = std::get_if<wire::LeaseRequest>(&*frame)) {
        peer.refuse(request->request_id, Code::kQueueFull, "");
      }
    }
  });
  // A small buffer fills whatever the server reads meanwhile; the loop ends at the first -EAGAIN.
  EventLoop loop(server);
  const int small = 1;
  ::setsockopt(berth_session_fd(loop.session()), SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
  int result = 0;
  unsigned sent = 0, refused = 0;
  uint64_t id = 0;
  while ((result = berth_submit(loop.session(), "redis", 1, nullptr, &id)) == 0 && sent < 100000) {
    ++sent;
  }
  EXPECT_EQ(result, -EAGAIN);
  for (; refused < sent; ++refused) ASSERT_EQ(loop.next().kind, BERTH_EVENT_REFUSED);
  loop.expect_none();  // the request that was not sent has no event
}

TEST(Events, TheWordsOfAnEventTakeTheLastErrorsPlaceButItsCodeDoesNot) {
  SessionServer server([](Peer& peer) {
    peer.welcome();
    peer.refuse(peer.expect<wire::LeaseRequest>().request_id, Code::kTimedOut, "too late");
    peer.expect_end();
  });
  EventLoop loop(server);
  EXPECT_EQ(berth_submit(loop.session(), "", 1, nullptr, nullptr), -EINVAL);
  loop.submit("redis");
  const berth_event refused = loop.next();
  EXPECT_EQ(refused.code, BERTH_TIMED_OUT);
  EXPECT_STREQ(refused.message, "too late");
  EXPECT_STREQ(berth_error(), "too late");
  EXPECT_EQ(berth_error_code(), BERTH_INVALID);
}

TEST(Events, AStructOfTheWrongSizeIsRefused) {
  SessionServer server([](Peer& peer) {
    peer.welcome();
    peer.expect_end();
  });
  EventLoop loop(server);
  berth_event event;
  event.size = 0;
  EXPECT_EQ(berth_next_event(loop.session(), &event), -EINVAL);
}

}  // namespace
}  // namespace berth::client
