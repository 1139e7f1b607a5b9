// LeasesService: berth.v1.Leases. Its handlers run on gRPC's threads, never wait, and meet the loop
// in the mailbox only: a task asks the desk there, and the answer goes out from Answers' thread.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>

#include "base/code.h"
#include "base/limits.h"
#include "berth/v1/leases.grpc.pb.h"
#include "control/answers.h"
#include "control/calls.h"
#include "control/lease_desk.h"

namespace berth::control {

// As in the table of session.proto.
grpc::StatusCode status_code_of(Code code);

class LeasesService final : public v1::Leases::CallbackService {
 public:
  // Tasks of these calls that may wait in the mailbox: a call of Lease has two at most, the others
  // have one.
  static constexpr size_t kMostTasks = 3 * kMaxLeaseCalls;

  // Borrows all. The mailbox is this service's alone, takes kMostTasks, and must be closed before
  // this ends.
  LeasesService(loop::Mailbox& mailbox, const Peers& peers, LeaseDesk& desk, Answers& answers);

  using Context = grpc::CallbackServerContext;
  using Reactor = grpc::ServerUnaryReactor;
  Reactor* Lease(Context* context, const v1::LeaseRequest* request, v1::Grant* reply) override;
  Reactor* Release(Context* context, const v1::Release* request, v1::Released* reply) override;
  Reactor* ListKeys(Context* context, const v1::ListKeys* request, v1::KeyList* reply) override;

 private:
  class LeaseCall;

  absl::StatusOr<Caller> caller_of(const Context& context) const;
  absl::StatusOr<std::shared_ptr<LeaseCall>> begin(const Context& context,
                                                   const v1::LeaseRequest& request,
                                                   v1::Grant* reply);
  template <class Reply, class Ask>
  Reactor* answer(Context* context, Reply* reply, Ask ask);

  Calls waiting_;  // of Lease
  Calls brief_;    // of the others, which may end the waiting
  LeaseDesk& desk_;
  Answers& answers_;
};

}  // namespace berth::control
