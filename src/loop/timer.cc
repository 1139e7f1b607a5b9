#include "loop/timer.h"

#include <algorithm>
#include <utility>

#include "loop/handle.h"

namespace berth::loop {

using TimerHandle = Handle<uv_timer_t, std::function<void()>>;

struct Timer::Impl {
  explicit Impl(std::function<void()> callback) : handle(std::move(callback)) {}
  TimerHandle handle;
};

namespace {

void fired(uv_timer_t* handle) {
  TimerHandle::call(handle);
}

uint64_t whole_ms(Duration duration) {
  const auto ms = std::chrono::ceil<std::chrono::milliseconds>(duration).count();
  return static_cast<uint64_t>(std::max<int64_t>(0, ms));
}

}  // namespace

Timer::Timer(Loop& loop, std::function<void()> callback)
    : loop_(loop), impl_(std::make_unique<Impl>([this, callback = std::move(callback)] {
        when_ = kNever;
        callback();
      })) {
  must(uv_timer_init(loop.raw(), impl_->handle.get()), "a timer can always be made");
}

Timer::~Timer() = default;

void Timer::arm(TimePoint when) {
  if (when == when_) return;
  when_ = when;
  if (when == kNever) {
    uv_timer_stop(impl_->handle.get());
    return;
  }
  must(uv_timer_start(impl_->handle.get(), fired, whole_ms(when - loop_.now()), 0),
       "a timer that is not closing can be started");
}

}  // namespace berth::loop
