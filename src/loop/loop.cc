#include "loop/loop.h"

#include <utility>
#include <vector>

#include "loop/handle.h"

namespace berth::loop {

struct Loop::Handles {
  explicit Handles(std::function<void()> callback) : end_of_turn(std::move(callback)) {}

  Handle<uv_prepare_t, std::function<void()>> end_of_turn;
};

namespace {

struct Work {
  int& working;
  uv_work_t request{};
  std::function<void()> work;
  std::function<void()> done;
};

// Work that still runs (a name look-up that hangs) reports to its loop, and so keeps it for as long
// as there is the process, which is about to end.
std::vector<std::unique_ptr<uv_loop_s>>& outlived() {
  static auto* const loops = new std::vector<std::unique_ptr<uv_loop_s>>;
  return *loops;
}

void end_of_turn(uv_prepare_t* handle) {
  Handle<uv_prepare_t, std::function<void()>>::call(handle);
}

}  // namespace

Loop::Loop() : loop_(std::make_unique<uv_loop_s>()) {
  must(uv_loop_init(loop_.get()), "a loop can be made at start");
}

Loop::~Loop() {
  handles_.reset();
  while (uv_run(loop_.get(), UV_RUN_NOWAIT) != 0 && !only_work_is_left()) {
  }
  if (uv_loop_close(loop_.get()) == UV_EBUSY) outlived().push_back(std::move(loop_));
}

bool Loop::only_work_is_left() const {
  bool handles = false;
  uv_walk(
      loop_.get(), [](uv_handle_t*, void* found) { *static_cast<bool*>(found) = true; }, &handles);
  return !handles;
}

void Loop::run() {
  uv_run(loop_.get(), UV_RUN_DEFAULT);
}
void Loop::stop() {
  uv_stop(loop_.get());
}

TimePoint Loop::now() const {
  return TimePoint(std::chrono::milliseconds(uv_now(loop_.get())));
}

void Loop::at_end_of_turn(std::function<void()> callback) {
  handles_ = std::make_unique<Handles>(std::move(callback));
  uv_prepare_t* handle = handles_->end_of_turn.get();
  must(uv_prepare_init(loop_.get(), handle), "a prepare handle can always be made");
  must(uv_prepare_start(handle, end_of_turn), "a prepare handle can always be started");
  uv_unref(reinterpret_cast<uv_handle_t*>(handle));
}

void Loop::run_on_worker(std::function<void()> work, std::function<void()> done) {
  auto* job = new Work{working_, {}, std::move(work), std::move(done)};
  job->request.data = job;
  const auto run = [](uv_work_t* request) { static_cast<Work*>(request->data)->work(); };
  const auto finish = [](uv_work_t* request, int) {
    const std::unique_ptr<Work> finished(static_cast<Work*>(request->data));
    --finished->working;
    finished->done();
  };
  ++working_;
  must(uv_queue_work(loop_.get(), &job->request, run, finish), "work can always be queued");
}

}  // namespace berth::loop
