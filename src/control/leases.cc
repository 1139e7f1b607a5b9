#include "control/leases.h"

#include <atomic>
#include <memory>
#include <utility>

#include "base/check.h"
#include "base/limits.h"
#include "broker/token.h"

namespace berth::control {
namespace {

constexpr const char* kSessionName = "berth-session";

absl::StatusOr<broker::Token> token_of(const grpc::CallbackServerContext& context) {
  const auto [first, last] = context.client_metadata().equal_range(kSessionName);
  if (first == last) {
    return absl::UnauthenticatedError(
        "the metadata has no berth-session, which names the session that is to receive the "
        "connections: the token of its Welcome, in hexadecimal digits");
  }
  if (std::next(first) != last) return absl::UnauthenticatedError("berth-session is there twice");
  const grpc::string_ref text = first->second;
  if (const auto token = broker::token_from_hex({text.data(), text.size()})) return *token;
  return absl::UnauthenticatedError("berth-session is not of 32 hexadecimal digits");
}

// Bounded as on a session, in the same words.
absl::StatusOr<wire::LeaseRequest> request_of(const v1::LeaseRequest& request) {
  v1::ClientFrame frame;
  *frame.mutable_lease() = request;
  auto decoded = wire::decode_client_frame(frame.SerializeAsString());
  if (const auto* wrong = std::get_if<wire::DecodeError>(&decoded)) {
    return absl::InvalidArgumentError(wrong->message);
  }
  return std::get<wire::LeaseRequest>(std::get<wire::ClientFrame>(std::move(decoded)));
}

grpc::Status status_of(const v1::Refusal& refusal) {
  const grpc::StatusCode code = status_code_of(static_cast<Code>(refusal.code()));
  v1::StatusDetails details;
  details.set_code(code);
  details.set_message(refusal.message());
  details.add_details()->PackFrom(refusal);
  return {code, refusal.message(), details.SerializeAsString()};
}

void fill(v1::Grant& reply, v1::ServerFrame& frame) {
  reply.Swap(frame.mutable_grant());
}
void fill(v1::Released& reply, v1::ServerFrame& frame) {
  reply.Swap(frame.mutable_released());
}
void fill(v1::KeyList& reply, v1::ServerFrame& frame) {
  reply.Swap(frame.mutable_key_list());
}

template <class Reply>
grpc::Status fill(Reply& reply, const LeaseDesk::Answer& answer) {
  if (!answer.ok()) return control::status_of(answer.status());
  std::string bytes;
  wire::encode(*answer, bytes);
  v1::ServerFrame frame;
  if (!frame.ParseFromString(bytes)) return {grpc::StatusCode::INTERNAL, "a frame is malformed"};
  if (frame.has_refusal()) return status_of(frame.refusal());
  fill(reply, frame);
  return grpc::Status::OK;
}

grpc::ServerUnaryReactor* refuse(grpc::CallbackServerContext* context, const absl::Status& status) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(control::status_of(status));
  return reactor;
}

}  // namespace

grpc::StatusCode status_code_of(Code code) {
  switch (code) {
    case Code::kOk: return grpc::StatusCode::OK;
    case Code::kInvalid: return grpc::StatusCode::INVALID_ARGUMENT;
    case Code::kVersion: return grpc::StatusCode::FAILED_PRECONDITION;
    case Code::kNoSuchKey:
    case Code::kNoSuchLease: return grpc::StatusCode::NOT_FOUND;
    case Code::kNotPermitted: return grpc::StatusCode::PERMISSION_DENIED;
    case Code::kTimedOut: return grpc::StatusCode::DEADLINE_EXCEEDED;
    case Code::kQueueFull:
    case Code::kTooManySessions: return grpc::StatusCode::RESOURCE_EXHAUSTED;
    case Code::kUpstreamDown:
    case Code::kShuttingDown:
    case Code::kDisabled: return grpc::StatusCode::UNAVAILABLE;
    case Code::kCancelled: return grpc::StatusCode::CANCELLED;
    case Code::kRevoked: return grpc::StatusCode::ABORTED;
    case Code::kInternal: return grpc::StatusCode::INTERNAL;
  }
  return grpc::StatusCode::INTERNAL;
}

// One call of Lease, held by gRPC until OnDone() and by whatever is still to come of it: tasks in
// the mailbox, the session's Answered, the answer.
class LeasesService::LeaseCall final : public Reactor,
                                       public std::enable_shared_from_this<LeaseCall> {
 public:
  LeaseCall(LeasesService& service, const Caller& caller, wire::LeaseRequest request,
            v1::Grant* reply)
      : service_(service), caller_(caller), request_(std::move(request)), reply_(reply) {}

  absl::Status begin() {
    absl::Status begun =
        service_.waiting_.begin(caller_.uid, [self = shared_from_this()] { self->ask(); });
    if (begun.ok()) self_ = shared_from_this();
    return begun;
  }

  // By the client, its deadline or the loss of its connection; never after OnDone().
  void OnCancel() override {
    cancelled_ = true;
    if (!post([self = shared_from_this()] { self->withdraw(); })) {
      answer(absl::UnavailableError("berthd is stopping"));
    }
  }

  void OnDone() override {
    const std::shared_ptr<LeaseCall> self = std::move(self_);
    // The last task of this call, behind that of OnCancel().
    if (cancelled_ && post([self] { self->take_back(); })) return;
    service_.waiting_.end(caller_.uid);
  }

 private:
  // False: the loop takes no more.
  bool post(std::function<void()> task) {
    const loop::Posted posted = service_.waiting_.post(std::move(task));
    BERTH_CHECK(posted != loop::Posted::full, "the mailbox has room for all tasks of all calls");
    return posted == loop::Posted::yes;
  }

  // --- on the loop ---

  void ask() {
    if (cancelled_) return answer(absl::CancelledError("the call was cancelled"));
    service_.desk_.lease(caller_, request_, [self = shared_from_this()](LeaseDesk::Answer answer) {
      self->answer(std::move(answer));
    });
  }

  void withdraw() {
    if (!answered_) service_.desk_.withdraw(caller_, request_.request_id);
  }

  void take_back() {
    service_.desk_.revoke(granted_);
    service_.waiting_.end(caller_.uid);
  }

  // Also on gRPC's threads, once the loop is closed.
  void answer(LeaseDesk::Answer answer) {
    if (answered_.exchange(true)) return;
    if (answer.ok()) {
      if (const auto* grant = std::get_if<wire::Grant>(&*answer)) granted_ = *grant;
    }
    service_.answers_.add([self = shared_from_this(), answer = std::move(answer)] {
      self->Finish(fill(*self->reply_, answer));
    });
  }

  LeasesService& service_;
  const Caller caller_;
  const wire::LeaseRequest request_;
  v1::Grant* const reply_;           // stays until Finish()
  std::shared_ptr<LeaseCall> self_;  // until OnDone()
  std::atomic<bool> cancelled_ = false;
  std::atomic<bool> answered_ = false;
  wire::Grant granted_;  // written before Finish(), read after it
};

LeasesService::LeasesService(loop::Mailbox& mailbox, const Peers& peers, LeaseDesk& desk,
                             Answers& answers)
    : waiting_(mailbox, peers, kMaxLeaseCalls, kMaxLeaseCallsPerUser),
      brief_(mailbox, peers, kMaxLeaseCalls, kMaxLeaseCallsPerUser),
      desk_(desk),
      answers_(answers) {}

absl::StatusOr<Caller> LeasesService::caller_of(const Context& context) const {
  const absl::StatusOr<Peer> peer = brief_.peer_of(context);
  if (!peer.ok()) return peer.status();
  const absl::StatusOr<broker::Token> token = token_of(context);
  if (!token.ok()) return token.status();
  return Caller{peer->uid, *token};
}

absl::StatusOr<std::shared_ptr<LeasesService::LeaseCall>> LeasesService::begin(
    const Context& context, const v1::LeaseRequest& request, v1::Grant* reply) {
  const absl::StatusOr<Caller> caller = caller_of(context);
  if (!caller.ok()) return caller.status();
  absl::StatusOr<wire::LeaseRequest> asked = request_of(request);
  if (!asked.ok()) return asked.status();
  auto call = std::make_shared<LeaseCall>(*this, *caller, *std::move(asked), reply);
  if (absl::Status begun = call->begin(); !begun.ok()) return begun;
  return call;
}

LeasesService::Reactor* LeasesService::Lease(Context* context, const v1::LeaseRequest* request,
                                             v1::Grant* reply) {
  const auto call = begin(*context, *request, reply);
  if (call.ok()) return call->get();
  return refuse(context, call.status());
}

// `ask` runs on the loop: Caller -> Answer. `context` and `reply` stay until Finish().
template <class Reply, class Ask>
LeasesService::Reactor* LeasesService::answer(Context* context, Reply* reply, Ask ask) {
  const absl::StatusOr<Caller> caller = caller_of(*context);
  if (!caller.ok()) return refuse(context, caller.status());
  Reactor* reactor = context->DefaultReactor();
  const absl::Status begun = brief_.begin(caller->uid, [=, this, caller = *caller] {
    answers_.add([=, this, answer = ask(caller)] {
      brief_.end(caller.uid);
      reactor->Finish(fill(*reply, answer));
    });
  });
  if (!begun.ok()) reactor->Finish(control::status_of(begun));
  return reactor;
}

LeasesService::Reactor* LeasesService::Release(Context* context, const v1::Release* request,
                                               v1::Released* reply) {
  const Outcome outcome = request->outcome() == v1::REUSE ? Outcome::kReuse : Outcome::kDiscard;
  const wire::Release release{request->lease_id(), outcome, request->request_id()};
  return answer(context, reply,
                [this, release](const Caller& caller) { return desk_.release(caller, release); });
}

LeasesService::Reactor* LeasesService::ListKeys(Context* context, const v1::ListKeys* request,
                                                v1::KeyList* reply) {
  const wire::ListKeys list{request->request_id(), request->after()};
  return answer(context, reply,
                [this, list](const Caller& caller) { return desk_.list_keys(caller, list); });
}

}  // namespace berth::control
