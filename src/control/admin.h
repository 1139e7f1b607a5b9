// AdminService: berth.v1.Admin. Its handlers run on gRPC's threads, never wait, and meet the loop
// in the mailbox only: a task reads the view there, and the answer goes out from Answers' thread.
#pragma once

#include <grpcpp/grpcpp.h>

#include "berth/v1/admin.grpc.pb.h"
#include "control/answers.h"
#include "control/calls.h"
#include "control/peers.h"
#include "control/view.h"
#include "loop/mailbox.h"

namespace berth::control {

class AdminService final : public v1::Admin::CallbackService {
 public:
  // Borrows all. The mailbox must be closed before this ends.
  AdminService(loop::Mailbox& mailbox, const Peers& peers, const View& view, Answers& answers);

  using Context = grpc::CallbackServerContext;
  using Reactor = grpc::ServerUnaryReactor;
  Reactor* Status(Context* context, const v1::StatusRequest* request,
                  v1::StatusReply* reply) override {
    return answer(context, request, reply);
  }
  Reactor* ListPools(Context* context, const v1::ListRequest* request,
                     v1::ListPoolsReply* reply) override {
    return answer(context, request, reply);
  }
  Reactor* ListConnections(Context* context, const v1::ListRequest* request,
                           v1::ListConnectionsReply* reply) override {
    return answer(context, request, reply);
  }
  Reactor* ListLeases(Context* context, const v1::ListRequest* request,
                      v1::ListLeasesReply* reply) override {
    return answer(context, request, reply);
  }
  Reactor* ListSessions(Context* context, const v1::ListRequest* request,
                        v1::ListSessionsReply* reply) override {
    return answer(context, request, reply);
  }
  Reactor* ListWaiters(Context* context, const v1::ListRequest* request,
                       v1::ListWaitersReply* reply) override {
    return answer(context, request, reply);
  }

 private:
  template <class Request, class Reply>
  Reactor* answer(Context* context, const Request* request, Reply* reply);
  // Who calls, if he may.
  absl::StatusOr<Peer> administrator(const Context& context) const;

  Calls calls_;
  const Peers& peers_;
  const View& view_;
  Answers& answers_;
};

}  // namespace berth::control
