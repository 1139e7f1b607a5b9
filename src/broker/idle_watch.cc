#include "broker/idle_watch.h"

#include <sys/epoll.h>

#include <utility>

#include "base/log.h"

namespace berth::broker {
namespace {

using namespace std::chrono_literals;

// A watch is due once a connection has been idle for this long, and it is looked for as often, so
// that the second which DESIGN allows is kept.
constexpr Duration kInterval = 500ms;

}  // namespace

IdleWatch::IdleWatch(loop::Loop& loop, Upstreams& upstreams, IdleSince idle_since,
                     std::function<void(ConnectionId)> stirred)
    : loop_(loop),
      upstreams_(upstreams),
      idle_since_(std::move(idle_since)),
      watch_(loop, [stirred = std::move(stirred)](
                       uint64_t tag, uint32_t) { stirred(ConnectionId::from_value(tag)); }),
      timer_(loop, [this] { look(); }) {}

void IdleWatch::add(ConnectionId id) {
  Upstream* upstream = upstreams_.find(id);
  if (upstream == nullptr || upstream->watch_pending) return;
  upstream->watch_pending = true;
  pending_.push_back(id);
  if (!timer_.armed()) timer_.arm(loop_.now() + kInterval);
}

void IdleWatch::remove(Upstream& upstream) {
  if (std::exchange(upstream.watched, false)) watch_.remove(upstream.fd.get());
}

void IdleWatch::look() {
  std::erase_if(pending_, [this](ConnectionId id) { return !look_at(id); });
  if (!pending_.empty()) timer_.arm(loop_.now() + kInterval);
}

bool IdleWatch::look_at(ConnectionId id) {
  Upstream* upstream = upstreams_.find(id);
  if (upstream == nullptr) return false;
  const std::optional<TimePoint> since = idle_since_(id);
  if (since && !upstream->watched && loop_.now() - *since < kInterval) return true;
  upstream->watch_pending = false;
  if (!since || upstream->watched) return false;
  // A greeting may wait on a connection that nobody has had yet.
  const uint32_t events = (upstream->used ? EPOLLIN : 0u) | EPOLLRDHUP;
  upstream->watched = watch_.add(upstream->fd.get(), events, id.value());
  if (!upstream->watched) {
    log().warn(
        "an idle connection is not watched: the kernel watches no more descriptors "
        "(fs.epoll.max_user_watches)");
  }
  return false;
}

}  // namespace berth::broker
