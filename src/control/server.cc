#include "control/server.h"

#include <grpc/support/log.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/resource_quota.h>
#include <grpcpp/server_posix.h>

#include <chrono>

#include "base/check.h"
#include "base/limits.h"
#include "base/log.h"
#include "control/admin.h"
#include "control/leases.h"

namespace berth::control {
namespace {

// Only reflection has calls that hold a thread, and only as many clients as these can use it at
// once; one thread more waits for calls.
constexpr int kMaxThreads = 8;
// What gRPC may hold for calls and connections before it sheds them.
constexpr size_t kMaxMemoryBytes = 64 << 20;
// A connection without a call for so long only holds descriptors; clients connect again unasked.
constexpr int kMaxIdleMs = 10 * 60 * 1000;
// For answers that are on their way. Streams that a client keeps open end by force then.
constexpr auto kShutdownWithin = std::chrono::milliseconds(200);

void log_line(gpr_log_func_args* line) {
  if (line->severity == GPR_LOG_SEVERITY_ERROR) log().warn("gRPC: {}", line->message);
}

void drop_line(gpr_log_func_args*) {}

void set_up_once() {
  gpr_set_log_verbosity(GPR_LOG_SEVERITY_ERROR);
  gpr_set_log_function(log_line);
  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
}

}  // namespace

struct Server::Impl {
  explicit Impl(const Behind& b)
      : admin(b.mailbox, b.peers, b.view, b.orders, b.watchers, b.answers),
        leases(b.lease_mailbox, b.peers, b.desk, b.answers) {}

  AdminService admin;
  LeasesService leases;
  std::unique_ptr<grpc::Server> server;
};

Server::Server(const Behind& behind) {
  set_up_once();
  impl_ = std::make_unique<Impl>(behind);
  grpc::ResourceQuota quota("control socket");
  quota.SetMaxThreads(kMaxThreads).Resize(kMaxMemoryBytes);
  grpc::ServerBuilder builder;
  using Option = grpc::ServerBuilder::SyncServerOption;
  builder.SetResourceQuota(quota)
      .SetSyncServerOption(Option::NUM_CQS, 1)
      .SetSyncServerOption(Option::MIN_POLLERS, 1)
      .SetSyncServerOption(Option::MAX_POLLERS, 2)
      .SetMaxReceiveMessageSize(kMaxControlMessageBytes)
      .AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kMaxCallsPerConnection)
      .AddChannelArgument(GRPC_ARG_MAX_CONNECTION_IDLE_MS, kMaxIdleMs)
      .RegisterService(&impl_->admin)
      .RegisterService(&impl_->leases);
  impl_->server = builder.BuildAndStart();
  BERTH_CHECK(impl_->server != nullptr, "a server that listens nowhere can be started");
}

Server::~Server() {
  impl_->server->Shutdown(std::chrono::system_clock::now() + kShutdownWithin);
  impl_->server->Wait();
  impl_->server.reset();
  gpr_set_log_function(drop_line);
}

void Server::adopt(int fd) {
  grpc::AddInsecureChannelFromFd(impl_->server.get(), fd);
}

void Server::say_stopping() {
  impl_->server->GetHealthCheckService()->SetServingStatus(false);
}

}  // namespace berth::control
