#include "loop/signal_watch.h"

#include <utility>

#include "loop/handle.h"

namespace berth::loop {

using SignalHandle = Handle<uv_signal_t, std::function<void()>>;

struct SignalWatch::Impl {
  explicit Impl(std::function<void()> callback) : handle(std::move(callback)) {}
  SignalHandle handle;
};

namespace {

void raised(uv_signal_t* handle, int) {
  SignalHandle::call(handle);
}

}  // namespace

SignalWatch::SignalWatch(Loop& loop, int signal, std::function<void()> callback)
    : impl_(std::make_unique<Impl>(std::move(callback))) {
  must(uv_signal_init(loop.raw(), impl_->handle.get()), "a signal watch can be made");
  must(uv_signal_start(impl_->handle.get(), raised, signal), "the signal can be watched");
  uv_unref(reinterpret_cast<uv_handle_t*>(impl_->handle.get()));
}

SignalWatch::~SignalWatch() = default;

}  // namespace berth::loop
