// An administrator's orders over gRPC, the loop driven here: what they are answered, and when.
#include "control/orders.h"

#include <grpcpp/create_channel_posix.h>
#include <grpcpp/grpcpp.h>
#include <sys/un.h>

#include <algorithm>
#include <atomic>

#include "berth/v1/admin.grpc.pb.h"
#include "control/control.h"
#include "unit/broker/in_process.h"

namespace berth::control {
namespace {

using namespace std::chrono_literals;
using Async = v1::Admin::StubInterface::async_interface;
using Code = grpc::StatusCode;

class GrpcOrders : public broker::BrokerTest {
 protected:
  GrpcOrders() { settings_.daemon.control_socket = folder_ + "/control.sock"; }
  ~GrpcOrders() override { control_.reset(); }

  void start() {
    broker::BrokerTest::start();
    const DaemonOrders daemon = {[this](ReloadDone done) { reloads_.push_back(std::move(done)); },
                                 [this](bool now) { shutdowns_.push_back(now); }};
    control_ = std::make_unique<Control>(loop_, *broker_, daemon, 1000, "1.2.3");
    ASSERT_TRUE(control_->open(listeners_).ok());
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    settings_.daemon.control_socket.copy(address.sun_path, sizeof address.sun_path - 1);
    UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    ASSERT_EQ(0, connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address));
    stub_ = v1::Admin::NewStub(grpc::CreateInsecureChannelFromFd("berthd", fd.release()));
  }

  template <class Request, class Reply>
  struct Call {
    grpc::ClientContext context;
    Request request;
    Reply reply;
    grpc::Status status;
    std::atomic<bool> done = false;
  };
  template <class Request, class Reply>
  using Method = void (Async::*)(grpc::ClientContext*, const Request*, Reply*,
                                 std::function<void(grpc::Status)>);

  template <class Request, class Reply>
  std::unique_ptr<Call<Request, Reply>> begin(Method<Request, Reply> method,
                                              const Request& request = {}) {
    auto call = std::make_unique<Call<Request, Reply>>();
    call->request = request;
    call->context.set_deadline(std::chrono::system_clock::now() + 20s);
    (stub_->async()->*method)(&call->context, &call->request, &call->reply,
                              [to = call.get()](const grpc::Status& status) {
                                to->status = status;
                                to->done = true;
                              });
    return call;
  }
  template <class Request, class Reply>
  std::unique_ptr<Call<Request, Reply>> order(Method<Request, Reply> method,
                                              const Request& request = {}) {
    auto call = begin(method, request);
    run_until([&] { return call->done.load(); });
    return call;
  }

  static v1::KeyRequest of_key(const std::string& key = "up") {
    v1::KeyRequest request;
    request.set_key(key);
    return request;
  }
  static v1::SetIntakeRequest intake(v1::PoolInfo::Intake intake) {
    v1::SetIntakeRequest request;
    request.set_key("up");
    request.set_intake(intake);
    return request;
  }
  auto begin_drain() { return begin(&Async::Drain, of_key()); }
  void run_until_disabled() {
    run_until([&] { return pool().intake() == pool::Intake::disabled; });
  }
  void give_back(broker::Client& client, const wire::Grant& grant) {
    EXPECT_TRUE(client.send(wire::Release{grant.leases[0].lease_id, Outcome::kReuse, 0}));
  }
  // Two idle connections.
  void fill(broker::Client& client) {
    const wire::Grant first = lease(client);
    const wire::Grant second = lease(client);
    give_back(client, first);
    give_back(client, second);
    run_until([&] { return pool().count(pool::State::idle) == 2; });
  }

  std::vector<ReloadDone> reloads_;
  std::vector<bool> shutdowns_;
  std::unique_ptr<Control> control_;
  std::unique_ptr<v1::Admin::Stub> stub_;
};

// --- at once ---

TEST_F(GrpcOrders, EvictTakesAllUnlessToldHowMany) {
  start();
  broker::Client client(settings_.daemon.lease_socket);
  greet(client);
  fill(client);
  v1::EvictRequest request;
  request.set_key("up");
  request.set_count(0);
  EXPECT_EQ(order(&Async::Evict, request)->reply.closed(), 0u);
  request.clear_count();
  EXPECT_EQ(order(&Async::Evict, request)->reply.closed(), 2u);
}

TEST_F(GrpcOrders, RenewTellsIdleConnectionsFromThoseInUse) {
  start();
  broker::Client client(settings_.daemon.lease_socket);
  greet(client);
  fill(client);
  lease(client);
  const auto renewed = order(&Async::Renew, of_key());
  EXPECT_EQ(renewed->reply.closed(), 1u);
  EXPECT_EQ(renewed->reply.marked(), 1u);
}

TEST_F(GrpcOrders, SetIntakeTellsWhatWasBefore) {
  start();
  broker::Client client(settings_.daemon.lease_socket);
  greet(client);
  lease(client);
  auto set = order(&Async::SetIntake, intake(v1::PoolInfo::PAUSED));
  EXPECT_EQ(set->reply.before(), v1::PoolInfo::OPEN);
  EXPECT_EQ(set->reply.leases(), 1u);
  set = order(&Async::SetIntake, intake(v1::PoolInfo::DISABLED));
  EXPECT_EQ(set->reply.before(), v1::PoolInfo::PAUSED);
}

TEST_F(GrpcOrders, AnIntakeThatIsNoneChangesNothing) {
  start();
  for (const auto none :
       {v1::PoolInfo::INTAKE_UNSPECIFIED, static_cast<v1::PoolInfo::Intake>(77)}) {
    const auto set = order(&Async::SetIntake, intake(none));
    EXPECT_EQ(set->status.error_code(), Code::INVALID_ARGUMENT);
    EXPECT_EQ(set->status.error_message(), "intake must be OPEN, PAUSED or DISABLED");
  }
  EXPECT_EQ(pool().intake(), pool::Intake::open);
}

TEST_F(GrpcOrders, WhatIsNotThereIsNamed) {
  start();
  v1::CloseOnReleaseRequest close;
  close.set_lease_id(1);
  const auto closed = order(&Async::CloseOnRelease, close);
  EXPECT_EQ(closed->status.error_code(), Code::NOT_FOUND);
  EXPECT_EQ(closed->status.error_message(), "there is no lease 1");
  v1::RevokeRequest revoke;
  revoke.set_lease_id(~uint64_t{0});
  const auto revoked = order(&Async::Revoke, revoke);
  EXPECT_EQ(revoked->status.error_code(), Code::NOT_FOUND);
  EXPECT_EQ(revoked->status.error_message(), "there is no lease 18446744073709551615");
  v1::KillRequest kill;
  kill.set_session_id(0);
  const auto killed = order(&Async::Kill, kill);
  EXPECT_EQ(killed->status.error_code(), Code::NOT_FOUND);
  EXPECT_EQ(killed->status.error_message(), "there is no session 0");
  EXPECT_EQ(order(&Async::Drain, of_key("down"))->status.error_code(), Code::NOT_FOUND);
}

// --- later ---

TEST_F(GrpcOrders, AllWhoDrainAPoolAreAnsweredWithItsLastLease) {
  start();
  broker::Client client(settings_.daemon.lease_socket);
  greet(client);
  const wire::Grant grant = lease(client);
  const auto first = begin_drain();
  const auto second = begin_drain();
  run_until_disabled();
  EXPECT_FALSE(first->done || second->done);
  give_back(client, grant);
  run_until([&] { return first->done && second->done; });
  EXPECT_TRUE(first->status.ok() && second->status.ok());
}

TEST_F(GrpcOrders, PausingAPoolEndsTheWaitingForItsDrain) {
  start();
  broker::Client client(settings_.daemon.lease_socket);
  greet(client);
  lease(client);
  const auto drain = begin_drain();
  run_until_disabled();
  order(&Async::SetIntake, intake(v1::PoolInfo::PAUSED));
  run_until([&] { return drain->done.load(); });
  EXPECT_EQ(drain->status.error_code(), Code::ABORTED);
}

TEST_F(GrpcOrders, WhoWaitsForADrainKeepsNobodyFromBeingAnswered) {
  start();
  broker::Client client(settings_.daemon.lease_socket);
  greet(client);
  const wire::Grant grant = lease(client);
  std::vector<decltype(begin_drain())> drains;
  for (size_t i = 0; i < kMaxControlCalls; ++i) {
    drains.push_back(begin_drain());
    run_until_disabled();
  }
  for (int i = 0; i < 3; ++i) {
    const auto status = order(&Async::Status);
    EXPECT_TRUE(status->status.ok()) << status->status.error_message();
  }
  give_back(client, grant);
  run_until([&] {
    return std::all_of(drains.begin(), drains.end(),
                       [](auto& drain) { return drain->done.load(); });
  });
}

TEST_F(GrpcOrders, WhoNoLongerWaitsForADrainTakesUpNoPlace) {
  settings_.pools.push_back(policy());
  settings_.pools.back().key = "other";
  start();
  broker::Client client(settings_.daemon.lease_socket);
  greet(client);
  lease(client);
  std::vector<decltype(begin_drain())> drains;
  while (drains.size() < kMaxLateOrders) {
    drains.push_back(begin_drain());
    // So that they do not wait for the loop all at once.
    if (drains.size() % (kMaxControlCalls / 2) == 0) order(&Async::Status);
  }
  auto other = order(&Async::Drain, of_key("other"));
  for (int i = 0; i < 100 && other->status.ok(); ++i) {
    other = order(&Async::Drain, of_key("other"));
  }
  EXPECT_EQ(other->status.error_code(), Code::RESOURCE_EXHAUSTED);
  for (const auto& drain : drains) drain->context.TryCancel();
  for (int i = 0; i < 1000 && !other->status.ok(); ++i) {
    other = order(&Async::Drain, of_key("other"));
  }
  EXPECT_TRUE(other->status.ok()) << other->status.error_message();
  EXPECT_EQ(pool().intake(), pool::Intake::disabled);
}

TEST_F(GrpcOrders, ADrainThatWaitsWhenTheDaemonEndsIsToldSo) {
  start();
  broker::Client client(settings_.daemon.lease_socket);
  greet(client);
  lease(client);
  const auto drain = begin_drain();
  run_until_disabled();
  control_->close();
  run_until([&] { return drain->done.load(); });
  EXPECT_EQ(drain->status.error_code(), Code::UNAVAILABLE);
  EXPECT_EQ(drain->status.error_message(), "berthd is stopping");
}

TEST_F(GrpcOrders, ShutdownIsAnsweredAtTheEnd) {
  start();
  const auto first = begin(&Async::Shutdown);
  run_until([&] { return shutdowns_.size() == 1; });
  v1::ShutdownRequest at_once;
  at_once.set_now(true);
  const auto second = begin(&Async::Shutdown, at_once);
  run_until([&] { return shutdowns_.size() == 2; });
  EXPECT_EQ(shutdowns_, (std::vector<bool>{false, true}));
  EXPECT_FALSE(first->done || second->done);
  control_->close();
  run_until([&] { return first->done && second->done; });
  EXPECT_TRUE(first->status.ok() && second->status.ok());
  EXPECT_EQ(first->reply.failed_closes(), 0u);
}

TEST_F(GrpcOrders, ReloadTellsWhatHasChanged) {
  start();
  const auto reload = begin(&Async::Reload);
  run_until([&] { return reloads_.size() == 1; });
  reloads_[0]({{"a warning"}, broker::Broker::Reloaded{{"a"}, {"b", "c"}, {"c"}, {"d"}, {"e"}}});
  run_until([&] { return reload->done.load(); });
  ASSERT_TRUE(reload->status.ok());
  EXPECT_EQ(reload->reply.warnings(0), "a warning");
  EXPECT_EQ(reload->reply.added(0), "a");
  EXPECT_EQ(reload->reply.changed_size(), 2);
  EXPECT_EQ(reload->reply.renewed(0), "c");
  EXPECT_EQ(reload->reply.removed(0), "d");
  EXPECT_EQ(reload->reply.at_restart(0), "e");
}

TEST_F(GrpcOrders, AReloadThatFailsIsAWrongConfigurationUnlessItCanBeTriedAgain) {
  start();
  const std::pair<absl::Status, Code> failures[] = {
      {absl::InvalidArgumentError("a.toml:1: no\na.toml:2: no"), Code::FAILED_PRECONDITION},
      {absl::UnavailableError("berthd is stopping"), Code::UNAVAILABLE}};
  for (const auto& [failure, code] : failures) {
    const auto reload = begin(&Async::Reload);
    run_until([&] { return reloads_.size() == 1; });
    reloads_[0]({{}, failure});
    reloads_.clear();
    run_until([&] { return reload->done.load(); });
    EXPECT_EQ(reload->status.error_code(), code);
    EXPECT_EQ(reload->status.error_message(), failure.message());
  }
}

}  // namespace
}  // namespace berth::control
