// The control plane in one process: a gRPC client on threads of its own, the loop driven here.
#include "control/control.h"

#include <grpcpp/create_channel_posix.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "base/limits.h"
#include "berth/v1/admin.grpc.pb.h"
#include "loop/timer.h"

namespace berth::control {
namespace {

using namespace std::chrono_literals;
using Stub = v1::Admin::Stub;

class GrpcControl : public testing::Test {
 protected:
  GrpcControl() {
    char folder[] = "/tmp/berth-control-XXXXXX";
    folder_ = mkdtemp(folder);
    settings_.daemon.lease_socket = folder_ + "/lease.sock";
    settings_.daemon.control_socket = folder_ + "/control.sock";
    for (int i = 0; i < 5; ++i) {
      pool::PoolPolicy& policy = settings_.pools.emplace_back();
      policy.key = "pool" + std::to_string(i);
      policy.endpoints = {{Endpoint::Kind::tcp, "127.0.0.1", 1, ""}};
    }
    broker_ = std::make_unique<broker::Broker>(loop_, settings_, 1024);
    EXPECT_TRUE(broker_->open(listeners_).ok());
    control_ = std::make_unique<Control>(loop_, *broker_, DaemonOrders{}, 1024, "1.2.3");
    EXPECT_TRUE(control_->open(listeners_).ok());
  }
  ~GrpcControl() override {
    control_.reset();
    broker_.reset();
    std::filesystem::remove_all(folder_);
  }

  std::unique_ptr<Stub> stub() const {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    settings_.daemon.control_socket.copy(address.sun_path, sizeof address.sun_path - 1);
    UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    EXPECT_EQ(0, connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address));
    return v1::Admin::NewStub(grpc::CreateInsecureChannelFromFd("berthd", fd.release()));
  }

  // Runs `client` on a thread of its own, and the loop until that ends.
  template <class Client>
  void serve(Client client) {
    std::atomic<bool> done = false;
    std::thread thread([&] {
      client();
      done = true;
    });
    loop::Timer look(loop_, [&] {
      if (done) return loop_.stop();
      look.arm(loop_.now() + 1ms);
    });
    look.arm(loop_.now() + 1ms);
    loop_.run();
    thread.join();
  }

  template <class Reply>
  grpc::Status list(Stub& from,
                    grpc::Status (Stub::*method)(grpc::ClientContext*, const v1::ListRequest&,
                                                 Reply*),
                    const v1::ListRequest& request, Reply& reply) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + 20s);
    return (from.*method)(&context, request, &reply);
  }

  std::string folder_;
  config::Settings settings_;
  loop::Loop loop_;
  net::Listeners listeners_;
  std::unique_ptr<broker::Broker> broker_;
  std::unique_ptr<Control> control_;
};

TEST_F(GrpcControl, AnswersFromTheLoop) {
  serve([&] {
    const auto from = stub();
    grpc::ClientContext context;
    v1::StatusReply reply;
    const grpc::Status status = from->Status(&context, {}, &reply);
    ASSERT_TRUE(status.ok()) << status.error_message();
    EXPECT_EQ(reply.version(), "1.2.3");
    EXPECT_EQ(reply.pools(), 5u);
    EXPECT_EQ(reply.control_connections(), 1u);
  });
}

TEST_F(GrpcControl, TellsPoolsPageByPage) {
  serve([&] {
    const auto from = stub();
    v1::ListRequest request;
    request.set_limit(2);
    std::vector<std::string> keys;
    for (int pages = 0; pages < 3; ++pages) {
      v1::ListPoolsReply reply;
      ASSERT_TRUE(list(*from, &Stub::ListPools, request, reply).ok());
      for (const v1::PoolInfo& pool : reply.pools()) keys.push_back(pool.key());
      EXPECT_EQ(reply.has_next(), pages < 2);
      request.set_after(reply.next());
    }
    EXPECT_EQ(keys, (std::vector<std::string>{"pool0", "pool1", "pool2", "pool3", "pool4"}));
  });
}

TEST_F(GrpcControl, RefusesKeysAndBoundsThatAreNone) {
  serve([&] {
    const auto from = stub();
    v1::ListRequest request;
    request.set_key("pool");
    v1::ListLeasesReply leases;
    grpc::Status status = list(*from, &Stub::ListLeases, request, leases);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
    EXPECT_EQ(status.error_message(), "no pool serves \"pool\"; did you mean \"pool0\"?");
    request.set_key("");
    request.set_limit(kMaxRowsPerPage + 1);
    status = list(*from, &Stub::ListLeases, request, leases);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    request.set_limit(1);
    request.set_after(~uint64_t{0});
    EXPECT_TRUE(list(*from, &Stub::ListLeases, request, leases).ok());
    EXPECT_FALSE(leases.has_next());
  });
}

TEST_F(GrpcControl, CallsAfterItsCloseAreRefusedInWords) {
  control_->close();
  serve([&] {
    const auto from = stub();
    v1::ListPoolsReply reply;
    const grpc::Status status = list(*from, &Stub::ListPools, {}, reply);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
    EXPECT_EQ(status.error_message(), "berthd is stopping");
  });
}

TEST_F(GrpcControl, AClientThatCallsWhileItEndsGetsAnAnswerOrAnEnd) {
  std::unique_ptr<Stub> from = stub();
  std::thread client([&] {
    for (;;) {
      v1::ListPoolsReply reply;
      if (!list(*from, &Stub::ListPools, {}, reply).ok()) return;
      EXPECT_EQ(reply.pools_size(), 5);
    }
  });
  loop::Timer stop(loop_, [&] { loop_.stop(); });
  stop.arm(loop_.now() + 20ms);
  loop_.run();
  control_.reset();
  client.join();
  EXPECT_FALSE(std::filesystem::exists(settings_.daemon.control_socket));
}

}  // namespace
}  // namespace berth::control
