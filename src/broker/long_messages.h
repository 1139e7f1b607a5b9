// LongMessages: has workers recode the messages of channel pools that would hold up the loop.
//
// Loop thread only. A few at a time, so that workers are left for handshakes and look-ups; clients
// take turns, so that none waits for all that another has. What waits is bounded by what clients'
// recoders may hold (wire/grpc_recoder.h).
#pragma once

#include <absl/container/flat_hash_map.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>

#include "loop/loop.h"
#include "wire/grpc_recoder.h"

namespace berth::broker {

class LongMessages {
 public:
  explicit LongMessages(loop::Loop& loop) : loop_(loop) {}

  // Computes it for that client, by its number; then calls `done`. Neither once `owner` is gone.
  void compute(uint64_t client, std::shared_ptr<wire::GrpcWork> work,
               std::weak_ptr<const void> owner, std::function<void()> done);

 private:
  struct Waiting {
    std::shared_ptr<wire::GrpcWork> work;
    std::weak_ptr<const void> owner;
    std::function<void()> done;
  };

  Waiting take_next();
  void begin_some();

  loop::Loop& loop_;
  absl::flat_hash_map<uint64_t, std::deque<Waiting>> waiting_;  // by client
  std::deque<uint64_t> turns_;                                  // of those with something there
  int computing_ = 0;
  std::shared_ptr<const bool> alive_ = std::make_shared<const bool>(true);
};

}  // namespace berth::broker
