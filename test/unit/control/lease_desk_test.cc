// What calls ask of sessions, without gRPC: the desk, the broker, and clients with real sockets.
#include "control/lease_desk.h"

#include <unistd.h>

#include <algorithm>

#include "unit/broker/in_process.h"

namespace berth::control {
namespace {

using namespace std::chrono_literals;

class LeaseDeskTest : public broker::BrokerTest {
 protected:
  // A session of one client, and its caller.
  struct Party {
    explicit Party(const std::string& path) : client(path) {}
    broker::Client client;
    Caller caller;
  };
  Party party() {
    Party party(settings_.daemon.lease_socket);
    const std::string token = greet(party.client).token;
    EXPECT_EQ(token.size(), party.caller.session.size());
    std::copy(token.begin(), token.end(), party.caller.session.begin());
    party.caller.uid = getuid();
    return party;
  }

  // What the call is answered with, sooner or later.
  using Answers = std::vector<LeaseDesk::Answer>;
  broker::Session::Answered into(Answers& answers) {
    return [&answers](LeaseDesk::Answer answer) { answers.push_back(std::move(answer)); };
  }
  Answers ask(const Caller& caller, uint64_t request_id) {
    Answers answers;
    desk().lease(caller, {request_id, "up", 1, {}, ""}, into(answers));
    return answers;
  }
  LeaseDesk desk() { return LeaseDesk(*broker_); }

  template <class Frame>
  static Frame only(const Answers& answers) {
    EXPECT_EQ(answers.size(), 1u);
    if (answers.empty() || !answers[0].ok() || !std::holds_alternative<Frame>(*answers[0])) {
      ADD_FAILURE() << "another answer came";
      return {};
    }
    return std::get<Frame>(*answers[0]);
  }

  void give_back(const Caller& caller, const Answers& answers) {
    const uint64_t lease_id = only<wire::Grant>(answers).leases.at(0).lease_id;
    const LeaseDesk::Answer answer = desk().release(caller, {lease_id, Outcome::kReuse, 0});
    EXPECT_TRUE(answer.ok() && std::holds_alternative<wire::Released>(*answer));
  }

  // Lets frames pile up in the session's socket, until a Grant of request 5 does not go out. How
  // many did before.
  size_t block(Party& party, Answers& answers) {
    desk().lease(party.caller, {5, "up", 1, {}, ""}, into(answers));
    run_until([&] { return !answers.empty(); });
    size_t sent = 0;
    run_until([&] {
      ++sent;
      give_back(party.caller, std::exchange(answers, {}));
      for (int i = 0; i < 10; ++i) party.client.send(wire::ListKeys{99, ""});
      desk().lease(party.caller, {5, "up", 1, {}, ""}, into(answers));
      return answers.empty();
    });
    return sent;
  }

  // The grants among all that comes.
  std::vector<wire::Grant> read_to_the_end(broker::Client& client) {
    std::vector<wire::Grant> grants;
    bool ended = false;
    run_until([&] {
      client.send(wire::ListKeys{100, ""});
      while (const auto received = client.receive()) {
        if (const auto* grant = std::get_if<wire::Grant>(&received->frame)) {
          grants.push_back(*grant);
        } else {
          ended = std::get<wire::KeyList>(received->frame).request_id == 100;
        }
      }
      return ended;
    });
    return grants;
  }
};

TEST_F(LeaseDeskTest, TheFrameGoesOutBeforeTheAnswer) {
  start();
  Party one = party();
  Answers answers;
  bool frame_first = false;
  std::optional<broker::Received> frame;
  desk().lease(one.caller, {5, "up", 1, {}, ""}, [&](LeaseDesk::Answer answer) {
    frame = one.client.receive();
    frame_first = frame.has_value();
    answers.push_back(std::move(answer));
  });
  run_until([&] { return !answers.empty(); });
  ASSERT_TRUE(frame_first);
  EXPECT_EQ(frame->fds.size(), 1u);
  EXPECT_EQ(std::get<wire::Grant>(frame->frame), only<wire::Grant>(answers));
  EXPECT_EQ(only<wire::Grant>(answers).request_id, 5u);
}

TEST_F(LeaseDeskTest, ARefusalIsNoFrame) {
  start();
  Party one = party();
  Answers answers;
  desk().lease(one.caller, {5, "dwon", 1, {}, ""}, into(answers));
  EXPECT_EQ(only<wire::Refusal>(answers).code, Code::kNoSuchKey);
  EXPECT_FALSE(one.client.receive());
}

TEST_F(LeaseDeskTest, ATokenServesItsUserAlone) {
  start();
  Party one = party();
  Caller foreign = one.caller;
  ++foreign.uid;
  EXPECT_TRUE(absl::IsPermissionDenied(ask(foreign, 1).at(0).status()));
  EXPECT_TRUE(absl::IsPermissionDenied(desk().release(foreign, {1}).status()));
  EXPECT_TRUE(absl::IsPermissionDenied(desk().list_keys(foreign, {}).status()));
  ++one.caller.session[0];
  EXPECT_TRUE(absl::IsUnauthenticated(ask(one.caller, 1).at(0).status()));
}

TEST_F(LeaseDeskTest, ATokenIsStaleOnceItsSessionIsOver) {
  start();
  std::optional<Party> one = party();
  const Caller caller = one->caller;
  EXPECT_TRUE(desk().list_keys(caller, {}).ok());
  one.reset();
  run_until([&] { return absl::IsUnauthenticated(desk().list_keys(caller, {}).status()); });
}

TEST_F(LeaseDeskTest, ARequestThatWaitsIsWithdrawn) {
  policy().max_connections = 1;
  start();
  Party one = party();
  lease(one.client);
  Answers answers;
  desk().lease(one.caller, {5, "up", 1, {}, ""}, into(answers));
  EXPECT_TRUE(answers.empty());
  desk().withdraw(one.caller, 5);
  EXPECT_EQ(only<wire::Refusal>(answers).code, Code::kCancelled);
  EXPECT_TRUE(pool().waiters().empty());
  EXPECT_FALSE(one.client.receive());
}

TEST_F(LeaseDeskTest, AGrantThatWaitsToBeSentIsWithdrawnAndItsConnectionIdle) {
  start();
  Party one = party();
  Answers answers;
  const size_t sent = block(one, answers);
  EXPECT_EQ(pool().count(pool::State::leased), 1u);
  EXPECT_EQ(only<wire::Refusal>(ask(one.caller, 5)).code, Code::kInvalid) << "its id is in use";
  desk().withdraw(one.caller, 5);
  EXPECT_EQ(only<wire::Refusal>(answers).code, Code::kCancelled);
  EXPECT_EQ(pool().count(pool::State::idle), 1u);
  EXPECT_EQ(read_to_the_end(one.client).size(), sent);
}

TEST_F(LeaseDeskTest, AGrantThatWaitedToBeSentIsAnsweredWhenItWas) {
  start();
  Party one = party();
  Answers answers;
  block(one, answers);
  const wire::Grant last = read_to_the_end(one.client).back();
  EXPECT_EQ(last, only<wire::Grant>(answers));
}

TEST_F(LeaseDeskTest, ALeaseWhoseCallWasCancelledIsRevoked) {
  start();
  Party one = party();
  Answers answers;
  desk().lease(one.caller, {5, "up", 1, {}, ""}, into(answers));
  std::vector<UniqueFd> fds;
  const auto grant = expect<wire::Grant>(one.client, &fds);
  desk().revoke(only<wire::Grant>(answers));
  const auto revoked = expect<wire::Revoked>(one.client);
  EXPECT_EQ(revoked.lease_id, grant.leases[0].lease_id);
  EXPECT_EQ(revoked.message, "the call that asked for it was cancelled");
  char byte;
  EXPECT_EQ(read(fds[0].get(), &byte, 1), 0);
  desk().revoke(only<wire::Grant>(answers));  // it is over: nothing
  EXPECT_FALSE(one.client.receive());
}

TEST_F(LeaseDeskTest, TheEndOfTheSessionAnswersWhatWaits) {
  policy().max_connections = 1;
  start();
  std::optional<Party> one = party();
  lease(one->client);
  Answers answers;
  desk().lease(one->caller, {5, "up", 1, {}, ""}, into(answers));
  one.reset();
  run_until([&] { return !answers.empty(); });
  EXPECT_EQ(answers.at(0).status(), absl::AbortedError("the session has ended"));
  EXPECT_EQ(pool().total(), 0u);
}

TEST_F(LeaseDeskTest, ADeadConnectionIsReplacedAsForAFrame) {
  start();
  Party one = party();
  Answers first;
  desk().lease(one.caller, {1, "up", 1, {}, ""}, into(first));
  run_until([&] { return !first.empty(); });
  UniqueFd server = upstream_.accept();
  expect<wire::Grant>(one.client);
  give_back(one.caller, first);
  server.reset();  // in the same turn of the loop
  Answers second;
  desk().lease(one.caller, {2, "up", 1, {}, ""}, into(second));
  run_until([&] { return !second.empty(); });
  EXPECT_FALSE(only<wire::Grant>(second).leases.at(0).reused);
}

}  // namespace
}  // namespace berth::control
