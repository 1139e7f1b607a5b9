// Calls: how the calls of a service reach the loop: who makes them, and how many may be under way.
//
// Any thread.
#pragma once

#include <absl/container/flat_hash_map.h>
#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <grpcpp/grpcpp.h>

#include <cstdint>
#include <functional>
#include <mutex>

#include "control/peers.h"
#include "loop/mailbox.h"

namespace berth::control {

// The codes of absl are gRPC's.
grpc::Status status_of(const absl::Status& status);

class Calls {
 public:
  // At most `most` are under way, and `per_user` of one user. Borrows mailbox and peers.
  Calls(loop::Mailbox& mailbox, const Peers& peers, size_t most, size_t per_user);

  // UNAUTHENTICATED: its connection has ended.
  absl::StatusOr<Peer> peer_of(const grpc::CallbackServerContext& context) const;

  // Counts a call of this user and posts its task. UNAVAILABLE: berthd is stopping.
  // RESOURCE_EXHAUSTED: too many are under way. Then it is not counted.
  absl::Status begin(uint32_t uid, std::function<void()> task);
  void end(uint32_t uid);
  // More of a call that has begun.
  [[nodiscard]] loop::Posted post(std::function<void()> task) {
    return mailbox_.post(std::move(task));
  }

 private:
  absl::Status count(uint32_t uid);

  loop::Mailbox& mailbox_;
  const Peers& peers_;
  const size_t most_;
  const size_t per_user_;
  std::mutex mutex_;  // guards the rest
  size_t under_way_ = 0;
  absl::flat_hash_map<uint32_t, size_t> of_user_;
};

}  // namespace berth::control
