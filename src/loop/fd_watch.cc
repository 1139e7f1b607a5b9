#include "loop/fd_watch.h"

#include <utility>

#include "loop/handle.h"

namespace berth::loop {

using PollHandle = Handle<uv_poll_t, std::function<void(Ready)>>;

struct FdWatch::Impl {
  explicit Impl(std::function<void(Ready)> callback) : handle(std::move(callback)) {}
  PollHandle handle;
};

namespace {

void polled(uv_poll_t* handle, int status, int events) {
  const bool failed = status != 0;
  PollHandle::call(handle, Ready{failed || (events & (UV_READABLE | UV_DISCONNECT)) != 0,
                                 failed || (events & UV_WRITABLE) != 0});
}

}  // namespace

FdWatch::FdWatch(Loop& loop, int fd, std::function<void(Ready)> callback)
    : impl_(std::make_unique<Impl>(std::move(callback))) {
  must(uv_poll_init(loop.raw(), impl_->handle.get(), fd), "an open descriptor can be watched");
}

FdWatch::~FdWatch() = default;

void FdWatch::watch(Ready wanted) {
  if (wanted.readable == wanted_.readable && wanted.writable == wanted_.writable) return;
  wanted_ = wanted;
  const int events =
      (wanted.readable ? UV_READABLE | UV_DISCONNECT : 0) | (wanted.writable ? UV_WRITABLE : 0);
  const int result = events == 0 ? uv_poll_stop(impl_->handle.get())
                                 : uv_poll_start(impl_->handle.get(), events, polled);
  must(result, "a watch that is not closing can be changed");
}

}  // namespace berth::loop
