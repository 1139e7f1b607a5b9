// berth.v1.Leases in one process: a gRPC client on threads of its own, the loop driven here.
#include "control/leases.h"

#include <grpcpp/create_channel_posix.h>
#include <grpcpp/grpcpp.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "control/control.h"
#include "unit/broker/in_process.h"

namespace berth::control {
namespace {

using namespace std::chrono_literals;

// "INVALID_ARGUMENT", as the table of session.proto has it.
std::string name_of(grpc::StatusCode code) {
  switch (code) {
    case grpc::StatusCode::INVALID_ARGUMENT: return "INVALID_ARGUMENT";
    case grpc::StatusCode::FAILED_PRECONDITION: return "FAILED_PRECONDITION";
    case grpc::StatusCode::NOT_FOUND: return "NOT_FOUND";
    case grpc::StatusCode::PERMISSION_DENIED: return "PERMISSION_DENIED";
    case grpc::StatusCode::DEADLINE_EXCEEDED: return "DEADLINE_EXCEEDED";
    case grpc::StatusCode::RESOURCE_EXHAUSTED: return "RESOURCE_EXHAUSTED";
    case grpc::StatusCode::UNAVAILABLE: return "UNAVAILABLE";
    case grpc::StatusCode::CANCELLED: return "CANCELLED";
    case grpc::StatusCode::ABORTED: return "ABORTED";
    case grpc::StatusCode::INTERNAL: return "INTERNAL";
    default: return "?";
  }
}

TEST(LeasesProto, HasTheStatusOfEachCode) {
  const auto root = std::filesystem::absolute(__FILE__).parent_path() / "../../..";
  std::ifstream proto(root / "proto/berth/v1/session.proto");
  size_t found = 0;
  for (std::string line; std::getline(proto, line);) {
    std::istringstream words(line);
    std::string slashes, name, error, status;
    uint32_t number = 0, exit = 0;
    if (!(words >> slashes >> name >> number >> error >> exit >> status)) continue;
    if (slashes != "//" || number >= kCodes) continue;
    EXPECT_EQ(name, code_name(Code{number}));
    EXPECT_EQ(status, name_of(status_code_of(Code{number}))) << name;
    ++found;
  }
  EXPECT_EQ(found, kCodes - 1) << "all but OK";
}

// --- Calls ---

class GrpcCalls : public testing::Test {
 protected:
  loop::Loop loop_;
  loop::Mailbox mailbox_{loop_, 4};
  Peers peers_;
};

TEST_F(GrpcCalls, AreBoundedInAllAndForEachUser) {
  Calls calls(mailbox_, peers_, 3, 2);
  EXPECT_TRUE(calls.begin(1, [] {}).ok());
  EXPECT_TRUE(calls.begin(1, [] {}).ok());
  const absl::Status of_user = calls.begin(1, [] {});
  EXPECT_EQ(of_user, absl::ResourceExhaustedError(
                         "2 calls of uid 1 wait for berthd already; try again later"));
  EXPECT_TRUE(calls.begin(2, [] {}).ok());
  EXPECT_EQ(calls.begin(3, [] {}),
            absl::ResourceExhaustedError("3 calls wait for berthd already; try again later"));
  calls.end(1);
  EXPECT_TRUE(calls.begin(1, [] {}).ok());
}

TEST_F(GrpcCalls, ThatFindNoPlaceInTheMailboxAreNotCounted) {
  Calls calls(mailbox_, peers_, 100, 100);
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(calls.begin(1, [] {}).ok());
  for (int i = 0; i < 200; ++i) {
    EXPECT_TRUE(absl::IsResourceExhausted(calls.begin(1, [] {})));
  }
  mailbox_.close();
  for (int i = 0; i < 200; ++i) {
    EXPECT_EQ(calls.begin(1, [] {}), absl::UnavailableError("berthd is stopping"));
  }
}

// --- the service ---

class GrpcLeases : public broker::BrokerTest {
 protected:
  GrpcLeases() { settings_.daemon.control_socket = folder_ + "/control.sock"; }
  ~GrpcLeases() override { control_.reset(); }

  void start() {
    broker::BrokerTest::start();
    control_ = std::make_unique<Control>(loop_, *broker_, DaemonOrders{}, 1000, "1.2.3");
    ASSERT_TRUE(control_->open(listeners_).ok());
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    settings_.daemon.control_socket.copy(address.sun_path, sizeof address.sun_path - 1);
    UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    ASSERT_EQ(0, connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address));
    stub_ = v1::Leases::NewStub(grpc::CreateInsecureChannelFromFd("berthd", fd.release()));
  }

  // A call of Lease on a thread of its own.
  struct Call {
    grpc::ClientContext context;
    v1::LeaseRequest request;
    v1::Grant reply;
    grpc::Status status;
    std::atomic<bool> done = false;
    std::thread thread;
    ~Call() { join(); }
    void join() {
      if (thread.joinable()) thread.join();
    }
  };
  std::unique_ptr<Call> call(const wire::Welcome& welcome, uint64_t request_id) {
    auto call = std::make_unique<Call>();
    std::string hex;
    for (const char byte : welcome.token) {
      const auto value = static_cast<unsigned char>(byte);
      hex += "0123456789abcdef"[value >> 4];
      hex += "0123456789abcdef"[value & 15];
    }
    call->context.AddMetadata("berth-session", hex);
    call->context.set_deadline(std::chrono::system_clock::now() + 20s);
    call->request.set_request_id(request_id);
    call->request.set_key("up");
    call->thread = std::thread([this, each = call.get()] {
      each->status = stub_->Lease(&each->context, each->request, &each->reply);
      each->done = true;
    });
    return call;
  }

  std::unique_ptr<Control> control_;
  std::unique_ptr<v1::Leases::Stub> stub_;
};

TEST_F(GrpcLeases, TheReplyRepeatsTheGrant) {
  start();
  broker::Client client(settings_.daemon.lease_socket);
  const auto asked = call(greet(client), 7);
  std::vector<UniqueFd> fds;
  const auto grant = expect<wire::Grant>(client, &fds);
  run_until([&] { return asked->done.load(); });
  ASSERT_TRUE(asked->status.ok()) << asked->status.error_message();
  EXPECT_EQ(asked->reply.request_id(), 7u);
  ASSERT_EQ(asked->reply.leases_size(), 1);
  EXPECT_EQ(asked->reply.leases(0).lease_id(), grant.leases[0].lease_id);
  EXPECT_EQ(fds.size(), 1u);
}

TEST_F(GrpcLeases, ARefusalIsADetailOfTheStatus) {
  policy().allow_uids = {};
  start();
  broker::Client client(settings_.daemon.lease_socket);
  const auto asked = call(greet(client), 7);
  run_until([&] { return asked->done.load(); });
  EXPECT_EQ(asked->status.error_code(), grpc::StatusCode::PERMISSION_DENIED);
  v1::StatusDetails details;
  ASSERT_TRUE(details.ParseFromString(asked->status.error_details()));
  v1::Refusal refusal;
  ASSERT_TRUE(details.details_size() == 1 && details.details(0).UnpackTo(&refusal));
  EXPECT_EQ(refusal.code(), v1::NOT_PERMITTED);
  EXPECT_EQ(refusal.message(), asked->status.error_message());
}

TEST_F(GrpcLeases, ACancelledCallIsWithdrawn) {
  policy().max_connections = 1;
  start();
  broker::Client client(settings_.daemon.lease_socket);
  const wire::Welcome welcome = greet(client);
  lease(client);
  const auto asked = call(welcome, 7);
  run_until([&] { return pool().waiters().size() == 1; });
  asked->context.TryCancel();
  run_until([&] { return asked->done && pool().waiters().empty(); });
  EXPECT_EQ(asked->status.error_code(), grpc::StatusCode::CANCELLED);
}

TEST_F(GrpcLeases, ACallThatWaitsWhenTheControlPlaneEndsIsEndedAndItsSessionLivesOn) {
  policy().max_connections = 1;
  start();
  broker::Client client(settings_.daemon.lease_socket);
  const wire::Welcome welcome = greet(client);
  const wire::Grant held = lease(client);
  const auto asked = call(welcome, 7);
  run_until([&] { return pool().waiters().size() == 1; });
  control_.reset();
  asked->join();
  EXPECT_EQ(asked->status.error_code(), grpc::StatusCode::UNAVAILABLE);
  // What nobody takes any more is the session's, and goes with it.
  client.send(wire::Release{held.leases[0].lease_id, Outcome::kReuse, 0});
  EXPECT_EQ(expect<wire::Grant>(client).request_id, 7u);
}

TEST_F(GrpcLeases, ACallAfterTheCloseIsRefusedInWords) {
  start();
  broker::Client client(settings_.daemon.lease_socket);
  const wire::Welcome welcome = greet(client);
  control_->close();
  const auto asked = call(welcome, 7);
  run_until([&] { return asked->done.load(); });
  EXPECT_EQ(asked->status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(asked->status.error_message(), "berthd is stopping");
}

}  // namespace
}  // namespace berth::control
