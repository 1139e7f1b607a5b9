#include "broker/long_messages.h"

#include <utility>

#include "base/limits.h"

namespace berth::broker {

void LongMessages::compute(uint64_t client, std::shared_ptr<wire::GrpcWork> work,
                           std::weak_ptr<const void> owner, std::function<void()> done) {
  std::deque<Waiting>& its = waiting_[client];
  if (its.empty()) turns_.push_back(client);
  its.push_back({std::move(work), std::move(owner), std::move(done)});
  begin_some();
}

LongMessages::Waiting LongMessages::take_next() {
  const uint64_t client = turns_.front();
  turns_.pop_front();
  const auto its = waiting_.find(client);
  Waiting next = std::move(its->second.front());
  its->second.pop_front();
  if (its->second.empty()) {
    waiting_.erase(its);
  } else {
    turns_.push_back(client);
  }
  return next;
}

void LongMessages::begin_some() {
  while (computing_ < kMaxWorkingRecoders && !turns_.empty()) {
    const Waiting next = take_next();
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
