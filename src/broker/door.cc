#include "broker/door.h"

#include <cstring>
#include <utility>

#include "base/limits.h"
#include "base/log.h"

namespace berth::broker {
namespace {

using namespace std::chrono_literals;

// When the kernel itself is short of descriptors or memory, against which no budget helps.
constexpr Duration kRetryAfter = 1s;

}  // namespace

Door::Door(loop::Loop& loop, net::Listener listener, uint32_t slots, PoolDriver& driver,
           Admit admit)
    : loop_(loop),
      listener_(std::move(listener)),
      slots_(slots),
      driver_(driver),
      admit_(std::move(admit)),
      retry_(loop,
             [this] {
               watch_.watch({true, false});
             }),
      watch_(loop, listener_.fd(), [this](loop::Ready) { accept(); }) {
  watch_.watch({true, false});
}

void Door::accept() {
  // Asked first, since to reserve may cost somebody an idle connection.
  for (int i = 0; i < kMaxAcceptsPerTurn && net::has_caller(listener_.fd()); ++i) {
    if (!driver_.reserve_slots(slots_)) {
      log().warn("{}: no file descriptor is left; who connects now has to wait", listener_.path());
      short_of_slots_ = true;
      return pause();
    }
    net::Accepted accepted = net::accept_session(listener_.fd());
    if (accepted.kind == net::Accepted::session) {
      admit_(std::move(accepted.fd));
      continue;
    }
    driver_.release_slots(slots_);
    if (accepted.kind == net::Accepted::nothing) return;
    log().error("{}: accept: {}; tries again in {}", listener_.path(),
                std::strerror(accepted.error_number), format_duration(kRetryAfter));
    pause();
    return retry_.arm(loop_.now() + kRetryAfter);
  }
}

void Door::reopen() {
  if (!short_of_slots_ || !driver_.could_reserve(slots_)) return;
  short_of_slots_ = false;
  watch_.watch({true, false});
}

}  // namespace berth::broker
