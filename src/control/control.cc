#include "control/control.h"

#include <utility>

#include "base/limits.h"
#include "base/log.h"
#include "control/leases.h"
#include "net/listen.h"

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
      lease_mailbox_(loop, LeasesService::kMostTasks),
      view_(loop, broker, std::move(version), [this] { return gate_->connections(); }),
      desk_(broker),
      server_(mailbox_, view_, lease_mailbox_, desk_, peers_) {
  peers_.set_admins(settings.admins);
}

Control::~Control() {
  close();
}

void Control::close() {
  mailbox_.close();
  lease_mailbox_.close();
}

absl::Status Control::open() {
  absl::StatusOr<UniqueFd> listener = net::listen_stream(path_, mode_, kBacklog);
  if (!listener.ok()) return listener.status();
  if (!broker_.driver().reserve_slots(1)) {
    return absl::ResourceExhaustedError("no file descriptor is left for " + path_);
  }
  gate_ = std::make_unique<Gate>(loop_, std::move(*listener), path_, fd_limit_, broker_.driver(),
                                 peers_, [this](int fd) { server_.adopt(fd); });
  log().info("control: listens on {}", path_);
  return absl::OkStatus();
}

}  // namespace berth::control
