#include "control/control.h"

#include <sys/socket.h>

#include <utility>

#include "base/limits.h"
#include "control/leases.h"

namespace berth::control {
namespace {

constexpr int kBacklog = 128;

}  // namespace

Control::Control(loop::Loop& loop, broker::Broker& broker, DaemonOrders orders, uint32_t fd_limit,
                 std::string version)
    : loop_(loop),
      broker_(broker),
      path_(broker.settings().control_socket),
      mode_(broker.settings().control_socket_mode),
      fd_limit_(fd_limit),
      mailbox_(loop, kMaxControlCalls),
      lease_mailbox_(loop, LeasesService::kMostTasks),
      view_(loop, broker, std::move(version),
            [this] {
              return View::Clients{gate_->connections(), watchers_.count()};
            }),
      orders_(loop, broker, view_, std::move(orders)),
      watchers_(broker, view_),
      desk_(broker),
      server_({mailbox_, view_, orders_, watchers_, lease_mailbox_, desk_, answers_, peers_}) {
  const auto take_admins = [this] { peers_.set_admins(broker_.settings().admins); };
  take_admins();
  broker_.at_reload(take_admins);
}

Control::~Control() {
  close();
  broker_.at_reload(nullptr);
}

void Control::close() {
  mailbox_.close();
  lease_mailbox_.close();
  orders_.finish();
  watchers_.end_all();
}

absl::Status Control::open(net::Listeners& listeners) {
  absl::StatusOr<net::Listener> listener =
      listeners.open({"control", SOCK_STREAM, {path_, mode_}, kBacklog});
  if (!listener.ok()) return listener.status();
  if (!broker_.driver().reserve_slots(1)) {
    return absl::ResourceExhaustedError("no file descriptor is left for " + listener->path());
  }
  gate_ = std::make_unique<Gate>(loop_, *std::move(listener), fd_limit_, broker_.driver(), peers_,
                                 [this](int fd) { server_.adopt(fd); });
  return absl::OkStatus();
}

}  // namespace berth::control
