// LongMessages: has workers recode the messages of channel pools that would hold up the loop.
//
// Loop thread only. A few at a time and in turn, so that workers are left for handshakes and
// look-ups; what waits is bounded by what clients' recoders may hold (wire/grpc_recoder.h).
#pragma once

#include <deque>
#include <functional>
#include <memory>

#include "loop/loop.h"
#include "wire/grpc_recoder.h"

namespace berth::broker {

class LongMessages {
 public:
  explicit LongMessages(loop::Loop& loop) : loop_(loop) {}

  // Computes it, then calls `done`; neither once `owner` is gone.
  void compute(std::shared_ptr<wire::GrpcWork> work, std::weak_ptr<const void> owner,
               std::function<void()> done);

 private:
  struct Waiting {
    std::shared_ptr<wire::GrpcWork> work;
    std::weak_ptr<const void> owner;
    std::function<void()> done;
  };

  void begin_some();

  loop::Loop& loop_;
  std::deque<Waiting> waiting_;
  int computing_ = 0;
  std::shared_ptr<const bool> alive_ = std::make_shared<const bool>(true);
};

}  // namespace berth::broker
