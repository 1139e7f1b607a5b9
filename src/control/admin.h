// AdminService: berth.v1.Admin. Its handlers run on gRPC's threads, never wait, and meet the loop
// in the mailbox only: a task reads the view or carries out the order there, and the answer goes
// out from Answers' thread.
#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <memory>

#include "berth/v1/admin.grpc.pb.h"
#include "control/answers.h"
#include "control/calls.h"
#include "control/orders.h"
#include "control/peers.h"
#include "control/view.h"
#include "control/watchers.h"
#include "loop/mailbox.h"

namespace berth::control {

class AdminService final : public v1::Admin::CallbackService {
 public:
  // Borrows all. The mailbox must be closed before this ends.
  AdminService(loop::Mailbox& mailbox, const Peers& peers, const View& view, Orders& orders,
               Watchers& watchers, Answers& answers);

  using Context = grpc::CallbackServerContext;
  using Reactor = grpc::ServerUnaryReactor;
  using EventReactor = grpc::ServerWriteReactor<v1::Event>;

  Reactor* Status(Context* context, const v1::StatusRequest* request,
                  v1::StatusReply* reply) override {
    return show(context, request, reply);
  }
  Reactor* ListPools(Context* context, const v1::ListRequest* request,
                     v1::ListPoolsReply* reply) override {
    return show(context, request, reply);
  }
  Reactor* ListConnections(Context* context, const v1::ListRequest* request,
                           v1::ListConnectionsReply* reply) override {
    return show(context, request, reply);
  }
  Reactor* ListLeases(Context* context, const v1::ListRequest* request,
                      v1::ListLeasesReply* reply) override {
    return show(context, request, reply);
  }
  Reactor* ListSessions(Context* context, const v1::ListRequest* request,
                        v1::ListSessionsReply* reply) override {
    return show(context, request, reply);
  }
  Reactor* ListWaiters(Context* context, const v1::ListRequest* request,
                       v1::ListWaitersReply* reply) override {
    return show(context, request, reply);
  }
  Reactor* Explain(Context* context, const v1::ExplainRequest* request,
                   v1::ExplainReply* reply) override;
  EventReactor* WatchEvents(Context* context, const v1::WatchRequest* request) override;

  Reactor* Renew(Context* context, const v1::KeyRequest* request, v1::RenewReply* reply) override {
    return carry_out(context, request, reply);
  }
  Reactor* Evict(Context* context, const v1::EvictRequest* request,
                 v1::EvictReply* reply) override {
    return carry_out(context, request, reply);
  }
  Reactor* Expire(Context* context, const v1::ExpireRequest* request,
                  v1::ExpireReply* reply) override {
    return carry_out(context, request, reply);
  }
  Reactor* CloseOnRelease(Context* context, const v1::CloseOnReleaseRequest* request,
                          v1::CloseOnReleaseReply* reply) override {
    return carry_out(context, request, reply);
  }
  Reactor* Revoke(Context* context, const v1::RevokeRequest* request,
                  v1::RevokeReply* reply) override {
    return carry_out(context, request, reply);
  }
  Reactor* Kill(Context* context, const v1::KillRequest* request, v1::KillReply* reply) override {
    return carry_out(context, request, reply);
  }
  Reactor* SetIntake(Context* context, const v1::SetIntakeRequest* request,
                     v1::SetIntakeReply* reply) override {
    return carry_out(context, request, reply);
  }
  Reactor* Drain(Context* context, const v1::KeyRequest* request, v1::DrainReply* reply) override {
    return carry_out_late(context, request, reply);
  }
  Reactor* Reload(Context* context, const v1::ReloadRequest* request,
                  v1::ReloadReply* reply) override {
    return carry_out_late(context, request, reply);
  }
  Reactor* SetLogLevel(Context* context, const v1::SetLogLevelRequest* request,
                       v1::SetLogLevelReply* reply) override {
    return carry_out(context, request, reply);
  }
  Reactor* Shutdown(Context* context, const v1::ShutdownRequest* request,
                    v1::ShutdownReply* reply) override {
    return carry_out_late(context, request, reply);
  }

 private:
  template <class Request, class Reply>
  Reactor* show(Context* context, const Request* request, Reply* reply);
  template <class Request, class Reply>
  Reactor* carry_out(Context* context, const Request* request, Reply* reply);
  template <class Request, class Reply>
  Reactor* carry_out_late(Context* context, const Request* request, Reply* reply);
  // `handle(done)` runs on the loop. The call is one of `calls` until it is answered.
  template <class Reply, class Handle>
  Reactor* answer(Calls& calls, Context* context, Reply* reply, Handle handle);
  // Who calls, if he may.
  absl::StatusOr<Peer> administrator(const Context& context) const;

  Calls calls_;
  Calls late_;
  const Peers& peers_;
  const View& view_;
  Orders& orders_;
  Watchers& watchers_;
  Answers& answers_;
  // That have not ended yet. Shared with the streams, the last of which may outlive the service.
  const std::shared_ptr<std::atomic<size_t>> watches_ = std::make_shared<std::atomic<size_t>>(0);
};

}  // namespace berth::control
