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
                           Answers& answers)
    : mailbox_(mailbox), peers_(peers), view_(view), answers_(answers) {}

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

// `context`, `request` and `reply` stay until Finish().
template <class Request, class Reply>
AdminService::Reactor* AdminService::answer(Context* context, const Request* request,
                                            Reply* reply) {
  Reactor* reactor = context->DefaultReactor();
  grpc::Status status = permission(*context);
  if (status.ok()) {
    status = post([=, this] {
      // Who has given up meanwhile costs the loop nothing.
      const absl::Status shown =
          context->IsCancelled() ? absl::CancelledError() : view_.show(*request, *reply);
      answers_.add([=, this] {
        name_commands_in(*reply);
        --calls_;
        reactor->Finish(status_of(shown));
      });
    });
  }
  if (!status.ok()) reactor->Finish(status);
  return reactor;
}

}  // namespace berth::control
