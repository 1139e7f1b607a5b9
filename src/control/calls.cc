#include "control/calls.h"

#include <fmt/format.h>

#include <utility>

#include "base/status_text.h"

namespace berth::control {

grpc::Status status_of(const absl::Status& status) {
  return {static_cast<grpc::StatusCode>(status.code()), text_of(status)};
}

Calls::Calls(loop::Mailbox& mailbox, const Peers& peers, size_t most, size_t per_user)
    : mailbox_(mailbox), peers_(peers), most_(most), per_user_(per_user) {}

absl::StatusOr<Peer> Calls::peer_of(const grpc::CallbackServerContext& context) const {
  const std::optional<Peer> peer = peers_.find(context.peer());
  if (!peer) return absl::UnauthenticatedError("the connection has ended");
  return *peer;
}

absl::Status Calls::begin(uint32_t uid, std::function<void()> task) {
  if (absl::Status counted = count(uid); !counted.ok()) return counted;
  const loop::Posted posted = post(std::move(task));
  if (posted == loop::Posted::yes) return absl::OkStatus();
  end(uid);
  return posted == loop::Posted::closed
             ? absl::UnavailableError("berthd is stopping")
             : absl::ResourceExhaustedError("too many calls wait for berthd; try again later");
}

absl::Status Calls::count(uint32_t uid) {
  const std::lock_guard lock(mutex_);
  size_t& of_user = of_user_[uid];
  if (under_way_ >= most_ || of_user >= per_user_) {
    const std::string text =
        under_way_ >= most_
            ? fmt::format("{} calls wait for berthd already; try again later", under_way_)
            : fmt::format("{} calls of uid {} wait for berthd already; try again later", of_user,
                          uid);
    if (of_user == 0) of_user_.erase(uid);
    return absl::ResourceExhaustedError(text);
  }
  ++under_way_;
  ++of_user;
  return absl::OkStatus();
}

void Calls::end(uint32_t uid) {
  const std::lock_guard lock(mutex_);
  --under_way_;
  const auto user = of_user_.find(uid);
  if (--user->second == 0) of_user_.erase(user);
}

}  // namespace berth::control
