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

Door::Door(loop::Loop& loop, UniqueFd listener, std::string path, uint32_t number,
           PoolDriver& driver, Sessions& sessions)
    : loop_(loop),
      listener_(std::move(listener)),
      path_(std::move(path)),
      file_(net::identify_file(path_)),
      number_(number),
      driver_(driver),
      sessions_(sessions),
      retry_(loop,
             [this] {
               watch_.watch({true, false});
             }),
      watch_(loop, listener_.get(), [this](loop::Ready) { accept(); }) {
  watch_.watch({true, false});
}

Door::~Door() {
  if (net::identify_file(path_) == file_) net::unlink_socket(path_);
}

void Door::accept() {
  // Asked first, since to reserve may cost somebody an idle connection.
  for (int i = 0; i < kMaxAcceptsPerTurn && net::has_caller(listener_.get()); ++i) {
    if (!driver_.reserve_slots(Sessions::kSlots)) {
      log().warn("{}: no file descriptor is left; who connects now has to wait", path_);
      short_of_slots_ = true;
      return pause();
    }
    net::Accepted accepted = net::accept_session(listener_.get());
    if (accepted.kind == net::Accepted::session) {
      sessions_.admit(std::move(accepted.fd), number_);
      continue;
    }
    driver_.release_slots(Sessions::kSlots);
    if (accepted.kind == net::Accepted::nothing) return;
    log().error("{}: accept: {}; tries again in {}", path_, std::strerror(accepted.error_number),
                format_duration(kRetryAfter));
    pause();
    return retry_.arm(loop_.now() + kRetryAfter);
  }
}

void Door::reopen() {
  if (!short_of_slots_ || !driver_.could_reserve(Sessions::kSlots)) return;
  short_of_slots_ = false;
  watch_.watch({true, false});
}

}  // namespace berth::broker
