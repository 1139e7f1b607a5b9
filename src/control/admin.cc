#include "control/admin.h"

#include <fmt/format.h>
#include <unistd.h>

#include <utility>

#include "base/limits.h"
#include "net/process.h"

namespace berth::control {
namespace {

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
    : calls_(mailbox, peers, kMaxControlCalls, kMaxControlCalls),
      peers_(peers),
      view_(view),
      answers_(answers) {}

absl::StatusOr<Peer> AdminService::administrator(const Context& context) const {
  absl::StatusOr<Peer> peer = calls_.peer_of(context);
  if (!peer.ok() || peers_.is_admin(peer->uid)) return peer;
  return absl::PermissionDeniedError(
      fmt::format("uid {} is no administrator of this berthd; root, uid {} as which it runs, "
                  "and the users in `admins` in the table [daemon] of its berthd.toml are",
                  peer->uid, geteuid()));
}

// `context`, `request` and `reply` stay until Finish().
template <class Request, class Reply>
AdminService::Reactor* AdminService::answer(Context* context, const Request* request,
                                            Reply* reply) {
  Reactor* reactor = context->DefaultReactor();
  const absl::StatusOr<Peer> peer = administrator(*context);
  absl::Status status = peer.status();
  if (status.ok()) {
    const uint32_t uid = peer->uid;
    status = calls_.begin(uid, [=, this] {
      // Who has given up meanwhile costs the loop nothing.
      const absl::Status shown =
          context->IsCancelled() ? absl::CancelledError() : view_.show(*request, *reply);
      answers_.add([=, this] {
        name_commands_in(*reply);
        calls_.end(uid);
        reactor->Finish(status_of(shown));
      });
    });
  }
  if (!status.ok()) reactor->Finish(status_of(status));
  return reactor;
}

}  // namespace berth::control
