#include "loop/watch_set.h"

#include <sys/epoll.h>

#include <array>
#include <utility>

#include "base/check.h"

namespace berth::loop {
namespace {

// Those left come in the next turn, before any that have been told already. A set whose events take
// long, as those of relays in bulk do, so keeps the rest of the loop waiting for a millisecond or
// two at most.
constexpr int kEventsPerTurn = 32;

int make_epoll() {
  const int fd = epoll_create1(EPOLL_CLOEXEC);
  BERTH_CHECK(fd >= 0, "an epoll set can be made at start");
  return fd;
}

}  // namespace

WatchSet::WatchSet(Loop& loop, std::function<void(uint64_t, uint32_t)> callback)
    : callback_(std::move(callback)),
      epoll_(make_epoll()),
      watch_(loop, epoll_.get(), [this](Ready) { drain(); }) {
  watch_.watch({true, false});
}

bool WatchSet::add(int fd, uint32_t events, uint64_t tag) {
  return control(EPOLL_CTL_ADD, fd, events, tag);
}

bool WatchSet::modify(int fd, uint32_t events, uint64_t tag) {
  return control(EPOLL_CTL_MOD, fd, events, tag);
}

bool WatchSet::control(int operation, int fd, uint32_t events, uint64_t tag) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = tag;
  return epoll_ctl(epoll_.get(), operation, fd, &event) == 0;
}

void WatchSet::remove(int fd) {
  const int result = epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
  BERTH_CHECK(result == 0, "a watched descriptor is open when its watch ends");
}

void WatchSet::drain() {
  std::array<epoll_event, kEventsPerTurn> events;
  const int count = epoll_wait(epoll_.get(), events.data(), kEventsPerTurn, 0);
  for (int i = 0; i < count; ++i) {
    const epoll_event& event = events[static_cast<size_t>(i)];
    callback_(event.data.u64, event.events);
  }
}

}  // namespace berth::loop
