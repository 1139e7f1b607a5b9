#include "daemon/notifier.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "base/log.h"
#include "base/poll_one.h"
#include "base/status_text.h"
#include "base/unique_fd.h"
#include "daemon/status_line.h"

namespace berth::daemon {
namespace {

using namespace std::chrono_literals;

// For what follows the drain: revoked connections are reset after a second, then all is closed.
constexpr Duration kStopMargin = 10s;

constexpr uint64_t kLongestPauseUs = 86'400'000'000;  // a day
constexpr Duration kRetryAfter = 100ms;
// Of them the last ones count.
constexpr size_t kMaxUnsent = 16;

int64_t microseconds(Duration duration) {
  return std::chrono::duration_cast<std::chrono::microseconds>(duration).count();
}

// Not the loop's time, which may be that of a moment before the reload was asked for.
int64_t monotonic_now() {
  return microseconds(std::chrono::steady_clock::now().time_since_epoch());
}

// Whether sd_notify(3) would wait, since too much waits to be read already.
bool is_full(std::string_view address) {
  sockaddr_un there{};
  there.sun_family = AF_UNIX;
  if (address.size() >= sizeof there.sun_path) return false;
  address.copy(there.sun_path, address.size());
  if (address.starts_with('@')) there.sun_path[0] = '\0';
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + address.size());
  const UniqueFd fd(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&there), length) != 0) return false;
  return poll_one(fd.get(), POLLOUT) == 0;
}

}  // namespace

Notifier::Notifier(loop::Loop& loop, std::function<Overview()> overview)
    : loop_(loop),
      overview_(std::move(overview)),
      address_(std::getenv("NOTIFY_SOCKET")),
      retry_(loop, [this] { send_unsent(); }) {
  if (address_ != nullptr) start_watchdog();
}

void Notifier::start_watchdog() {
  uint64_t interval_us = 0;
  const int enabled = sd_watchdog_enabled(/*unset_environment=*/1, &interval_us);
  if (enabled < 0) log().warn("the watchdog is off: WATCHDOG_USEC: {}", std::strerror(-enabled));
  if (enabled <= 0) return;
  const uint64_t half_us = std::clamp<uint64_t>(interval_us / 2, 1'000, kLongestPauseUs);
  watchdog_interval_ = std::chrono::microseconds(half_us);
  watchdog_.emplace(loop_, [this] { feed_watchdog(); });
  watchdog_->arm(loop_.now() + watchdog_interval_);
}

void Notifier::feed_watchdog() {
  if (unsent_.empty()) tell("WATCHDOG=1", status());
  watchdog_->arm(loop_.now() + watchdog_interval_);
}

void Notifier::ready() {
  tell("READY=1", status());
}

void Notifier::reload_begins() {
  if (stopping_) return;
  tell(fmt::format("RELOADING=1\nMONOTONIC_USEC={}", monotonic_now()), "reads its configuration");
}

void Notifier::reload_ended(const absl::Status& outcome) {
  if (stopping_) return;
  note_ = outcome.ok() ? "" : "; the last reload failed: " + text_of(outcome);
  ready();
}

void Notifier::stopping(Duration timeout) {
  stopping_ = true;
  note_ = fmt::format("; stops, and waits up to {} for leases", format_duration(timeout));
  tell(fmt::format("STOPPING=1\nEXTEND_TIMEOUT_USEC={}", microseconds(timeout + kStopMargin)),
       words_of(overview_()) + note_);
}

// Counts that nothing would bring up to date are not told.
std::string Notifier::status() const {
  Overview overview = overview_();
  if (!watchdog_) overview = {.pools = overview.pools};
  return words_of(overview) + note_;
}

// The status goes along if it has changed.
void Notifier::tell(std::string_view state, std::string status) {
  if (address_ == nullptr) return;
  status = status_line(status);
  std::string message(state);
  if (status != status_) message += "\nSTATUS=" + status;
  status_ = std::move(status);
  unsent_.push_back(std::move(message));
  if (unsent_.size() > kMaxUnsent) unsent_.pop_front();
  send_unsent();
}

void Notifier::send_unsent() {
  for (; !unsent_.empty(); unsent_.pop_front()) {
    if (is_full(address_)) return retry_.arm(loop_.now() + kRetryAfter);
    send(unsent_.front());
  }
}

void Notifier::send(const std::string& message) {
  const int sent = sd_notify(/*unset_environment=*/0, message.c_str());
  if (sent >= 0 || std::exchange(failure_logged_, true)) return;
  log().warn("systemd cannot be told how berthd is: NOTIFY_SOCKET={}: {}", address_,
             std::strerror(-sent));
}

}  // namespace berth::daemon
