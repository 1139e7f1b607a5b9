// Socket activation: what systemd has opened for this process.
#pragma once

#include <absl/status/statusor.h>

#include "net/listeners.h"

namespace berth::daemon {

// The sockets that LISTEN_FDS and LISTEN_FDNAMES tell of, which it takes out of the environment.
// Once, before there are threads.
absl::StatusOr<net::Listeners> passed_sockets();

}  // namespace berth::daemon
