#include "control/admin.h"

#include <fmt/format.h>
#include <unistd.h>

#include <utility>

#include "base/limits.h"
#include "base/status_text.h"
#include "net/process.h"

namespace berth::control {
namespace {

// The codes of absl are gRPC's.
grpc::Status status_of(const absl::Status& status) {
  return {static_cast<grpc::StatusCode>(status.code()), text_of(status)};
}

absl::Status absl_status(const grpc::Status& status) {
  return {static_cast<absl::StatusCode>(status.error_code()), status.error_message()};
}

// Names for people, from /proc: on no thread that anybody waits for.
template <class Rows>
void name_commands(Rows& rows) {
  for (auto& row : rows) {
    if (row.pid() != 0) row.set_command(net::command_of(static_cast<int32_t>(row.pid())));
  }
}

template <class Reply>
void name_commands_in(Reply&) {}
template <>
void name_commands_in(v1::ListLeasesReply& reply) {
  name_commands(*reply.mutable_leases());
}
template <>
void name_commands_in(v1::ListSessionsReply& reply) {
  name_commands(*reply.mutable_sessions());
}
template <>
void name_commands_in(v1::ListWaitersReply& reply) {
  name_commands(*reply.mutable_waiters());
}

}  // namespace

AdminService::AdminService(loop::Mailbox& mailbox, const Peers& peers, const View& view,
                           Orders& orders, Watchers& watchers, Answers& answers)
    : mailbox_(mailbox),
      peers_(peers),
      view_(view),
      orders_(orders),
      watchers_(watchers),
      answers_(answers) {}

grpc::Status AdminService::permission(const Context& context) const {
  const std::optional<Peer> peer = peers_.find(context.peer());
  if (!peer) return {grpc::StatusCode::UNAUTHENTICATED, "the connection has ended"};
  if (peers_.is_admin(peer->uid)) return grpc::Status::OK;
  return {grpc::StatusCode::PERMISSION_DENIED,
          fmt::format("uid {} is no administrator of this berthd; root, uid {} as which it runs, "
                      "and the users in `admins` in the table [daemon] of its berthd.toml are",
                      peer->uid, geteuid())};
}

grpc::Status AdminService::post(std::function<void()> task) {
  if (calls_.fetch_add(1) < kMaxControlCalls) {
    switch (mailbox_.post(std::move(task))) {
      case loop::Posted::yes: return grpc::Status::OK;
      case loop::Posted::full: break;
      case loop::Posted::closed:
        --calls_;
        return {grpc::StatusCode::UNAVAILABLE, "berthd is stopping"};
    }
  }
  --calls_;
  return {grpc::StatusCode::RESOURCE_EXHAUSTED,
          fmt::format("{} calls wait for berthd already; try again later", kMaxControlCalls)};
}

// `context` and `reply` stay until Finish(), and so does the request.
template <class Reply, class Handle>
AdminService::Reactor* AdminService::answer(Context* context, Reply* reply, Handle handle) {
  Reactor* reactor = context->DefaultReactor();
  grpc::Status status = permission(*context);
  if (status.ok()) {
    status = post([=, this] {
      const Done done = [=, this](const absl::Status& shown) {
        answers_.add([=, this] {
          name_commands_in(*reply);
          --calls_;
          reactor->Finish(status_of(shown));
        });
      };
      // Who has given up meanwhile costs the loop nothing.
      if (context->IsCancelled()) return done(absl::CancelledError());
      handle(done);
    });
  }
  if (!status.ok()) reactor->Finish(status);
  return reactor;
}

template <class Request, class Reply>
AdminService::Reactor* AdminService::show(Context* context, const Request* request, Reply* reply) {
  return answer(context, reply,
                [=, this](const Done& done) { done(view_.show(*request, *reply)); });
}

template <class Request, class Reply>
AdminService::Reactor* AdminService::carry_out(Context* context, const Request* request,
                                               Reply* reply) {
  return answer(context, reply,
                [=, this](const Done& done) { orders_.carry_out(*request, *reply, done); });
}

AdminService::Reactor* AdminService::Explain(Context* context, const v1::ExplainRequest* request,
                                             v1::ExplainReply* reply) {
  const std::optional<Peer> caller = peers_.find(context->peer());
  const uint32_t uid = request->has_uid() || !caller ? request->uid() : caller->uid;
  return answer(context, reply,
                [=, this](const Done& done) { done(view_.show(*request, uid, *reply)); });
}

// --- streams ---

namespace {

// A stream of events. Owns itself until OnDone().
class EventStream final : public AdminService::EventReactor, public Watch::Sink {
 public:
  EventStream(const v1::WatchRequest& request, Answers& answers,
              std::shared_ptr<std::atomic<size_t>> streams)
      : watch_(std::make_shared<Watch>(request, *this, answers)), streams_(std::move(streams)) {
    ++*streams_;
  }

  const std::shared_ptr<Watch>& watch() const { return watch_; }

  void send_start() override { StartSendInitialMetadata(); }
  void send(const v1::Event& event) override { StartWrite(&event); }
  void finish(const absl::Status& status) override { Finish(status_of(status)); }

 private:
  ~EventStream() { --*streams_; }

  void OnSendInitialMetadataDone(bool ok) override { watch_->sent(ok); }
  void OnWriteDone(bool ok) override { watch_->sent(ok); }
  void OnCancel() override { watch_->cancelled(); }
  void OnDone() override { delete this; }

  const std::shared_ptr<Watch> watch_;
  const std::shared_ptr<std::atomic<size_t>> streams_;
};

}  // namespace

AdminService::EventReactor* AdminService::WatchEvents(Context* context,
                                                      const v1::WatchRequest* request) {
  auto* stream = new EventStream(*request, answers_, watches_);
  absl::Status status = absl_status(permission(*context));
  if (status.ok() && *watches_ > kMaxWatches) {
    status = absl::ResourceExhaustedError(
        fmt::format("{} programs watch already; try again later", kMaxWatches));
  }
  if (status.ok()) {
    status = absl_status(post([this, watch = stream->watch()] {
      --calls_;
      watchers_.add(watch);
    }));
  }
  if (!status.ok()) stream->watch()->end(status);
  return stream;
}

}  // namespace berth::control
