#include "broker/long_messages.h"

#include <utility>

#include "base/limits.h"

namespace berth::broker {

void LongMessages::compute(std::shared_ptr<wire::GrpcWork> work, std::weak_ptr<const void> owner,
                           std::function<void()> done) {
  waiting_.push_back({std::move(work), std::move(owner), std::move(done)});
  begin_some();
}

void LongMessages::begin_some() {
  while (computing_ < kMaxWorkingRecoders && !waiting_.empty()) {
    const Waiting next = std::move(waiting_.front());
    waiting_.pop_front();
    if (next.owner.expired()) continue;
    ++computing_;
    loop_.run_on_worker(
        [work = next.work] { work->compute(); },
        [this, alive = std::weak_ptr<const bool>(alive_), owner = next.owner, done = next.done] {
          if (alive.expired()) return;
          --computing_;
          if (!owner.expired()) done();
          begin_some();
        });
  }
}

}  // namespace berth::broker
