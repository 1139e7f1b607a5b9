// Handle: owns one libuv handle. libuv frees a handle some turns after it was closed, so it lives
// on the heap and outlives its owner until then. Private to this folder.
#pragma once

#include <uv.h>

#include <functional>
#include <memory>

#include "base/check.h"

namespace berth::loop {

template <class UvHandle, class Callback>
class Handle {
 public:
  explicit Handle(Callback callback) : cell_(new Cell{{}, std::move(callback)}) {
    cell_->handle.data = cell_;
  }
  ~Handle() {
    uv_close(reinterpret_cast<uv_handle_t*>(&cell_->handle),
             [](uv_handle_t* handle) { delete static_cast<Cell*>(handle->data); });
  }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;

  UvHandle* get() { return &cell_->handle; }

  // Calls back without touching the cell afterwards, which the callback may have ended.
  template <class... Args>
  static void call(UvHandle* handle, Args... args) {
    static_cast<Cell*>(handle->data)->callback(args...);
  }

 private:
  struct Cell {
    UvHandle handle;
    Callback callback;
  };

  Cell* cell_;
};

inline void must(int result, const char* what) {
  BERTH_CHECK(result == 0, what);
}

}  // namespace berth::loop
