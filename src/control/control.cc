#include "control/control.h"

#include <sys/socket.h>

#include <utility>

#include "base/limits.h"

namespace berth::control {
namespace {

constexpr int kBacklog = 128;

}  // namespace

Control::Control(loop::Loop& loop, broker::Broker& broker, const config::DaemonSettings& settings,
                 uint32_t fd_limit, std::string version)
    : loop_(loop),
      broker_(broker),
      path_(settings.control_socket),
      mode_(settings.control_socket_mode),
      fd_limit_(fd_limit),
      mailbox_(loop, kMaxControlCalls),
      view_(loop, broker, std::move(version), [this] { return gate_->connections(); }),
      server_(mailbox_, peers_, view_) {
  peers_.set_admins(settings.admins);
}

Control::~Control() {
  close();
}

absl::Status Control::open(net::Listeners& listeners) {
  absl::StatusOr<net::Listener> listener =
      listeners.open({"control", SOCK_STREAM, path_, mode_, kBacklog});
  if (!listener.ok()) return listener.status();
  if (!broker_.driver().reserve_slots(1)) {
    return absl::ResourceExhaustedError("no file descriptor is left for " + listener->path());
  }
  gate_ = std::make_unique<Gate>(loop_, *std::move(listener), fd_limit_, broker_.driver(), peers_,
                                 [this](int fd) { server_.adopt(fd); });
  return absl::OkStatus();
}

}  // namespace berth::control
