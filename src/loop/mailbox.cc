#include "loop/mailbox.h"

#include <deque>
#include <mutex>
#include <utility>

#include "loop/handle.h"

namespace berth::loop {
namespace {

constexpr size_t kTasksPerTurn = 8;

using Task = std::function<void()>;
using AsyncHandle = Handle<uv_async_t, std::function<void()>>;

void woken(uv_async_t* handle) {
  AsyncHandle::call(handle);
}

}  // namespace

struct Mailbox::Impl {
  Impl(Loop& loop, size_t most) : capacity(most), handle([this] { run_some(); }) {
    must(uv_async_init(loop.raw(), handle.get(), woken), "a mailbox can be made at start");
    uv_unref(reinterpret_cast<uv_handle_t*>(handle.get()));
  }

  void wake() { must(uv_async_send(handle.get()), "an open mailbox can be woken"); }

  // False if there is none.
  bool run_one() {
    Task task;
    {
      const std::lock_guard lock(mutex);
      if (tasks.empty()) return false;
      task = std::move(tasks.front());
      tasks.pop_front();
    }
    task();
    return true;
  }

  void run_some() {
    for (size_t i = 0; i < kTasksPerTurn; ++i) {
      if (!run_one()) return;
    }
    wake();
  }

  const size_t capacity;
  std::mutex mutex;  // guards the next two
  std::deque<Task> tasks;
  bool closed = false;
  AsyncHandle handle;
};

Mailbox::Mailbox(Loop& loop, size_t capacity) : impl_(std::make_unique<Impl>(loop, capacity)) {}

Mailbox::~Mailbox() {
  close();
}

Posted Mailbox::post(std::function<void()>&& task) {
  const std::lock_guard lock(impl_->mutex);
  if (impl_->closed) return Posted::closed;
  if (impl_->tasks.size() >= impl_->capacity) return Posted::full;
  impl_->tasks.push_back(std::move(task));
  // Under the lock: once closed, the handle may end.
  if (impl_->tasks.size() == 1) impl_->wake();
  return Posted::yes;
}

void Mailbox::close() {
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->closed = true;
  }
  while (impl_->run_one()) {
  }
}

}  // namespace berth::loop
