#include "broker/idle_watch.h"

#include <sys/epoll.h>

#include <utility>

#include "base/log.h"

namespace berth::broker {
namespace {

using namespace std::chrono_literals;

// Half the second that DESIGN allows, since one may come just after the timer has fired.
constexpr Duration kArmAfter = 500ms;

}  // namespace

IdleWatch::IdleWatch(loop::Loop& loop, Upstreams& upstreams,
                     std::function<bool(ConnectionId)> is_idle,
                     std::function<void(ConnectionId)> lost)
    : loop_(loop),
      upstreams_(upstreams),
      is_idle_(std::move(is_idle)),
      watch_(loop, [lost = std::move(lost)](uint64_t tag,
                                            uint32_t) { lost(ConnectionId::from_value(tag)); }),
      timer_(loop, [this] { arm_all(); }) {}

void IdleWatch::add(ConnectionId id) {
  Upstream* upstream = upstreams_.find(id);
  if (upstream == nullptr || upstream->watch_pending) return;
  upstream->watch_pending = true;
  pending_.push_back(id);
  if (!timer_.armed()) timer_.arm(loop_.now() + kArmAfter);
}

void IdleWatch::remove(Upstream& upstream) {
  if (std::exchange(upstream.watched, false)) watch_.remove(upstream.fd.get());
}

void IdleWatch::arm_all() {
  for (const ConnectionId id : std::exchange(pending_, {})) {
    Upstream* upstream = upstreams_.find(id);
    if (upstream == nullptr) continue;
    upstream->watch_pending = false;
    if (upstream->watched || !is_idle_(id)) continue;
    // A greeting may wait on a connection that nobody has had yet.
    const uint32_t events = (upstream->handed_out ? EPOLLIN : 0u) | EPOLLRDHUP;
    upstream->watched = watch_.add(upstream->fd.get(), events, id.value());
    if (!upstream->watched) {
      log().warn("an idle connection is not watched: the kernel watches no more descriptors "
                 "(fs.epoll.max_user_watches)");
    }
  }
}

}  // namespace berth::broker
