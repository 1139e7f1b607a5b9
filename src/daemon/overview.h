// Overview: what there is, counted, for the line that `systemctl status` shows.
#pragma once

#include <cstddef>
#include <string>

#include "broker/broker.h"

namespace berth::daemon {

struct Overview {
  size_t pools = 0;
  size_t sessions = 0;
  size_t leases = 0;
  size_t waiters = 0;
};

Overview overview_of(const broker::Broker& broker);

// "3 pools, 12 sessions, 40 leases, 1 request waits"; of pools always, of others if there are any.
std::string words_of(const Overview& overview);

}  // namespace berth::daemon
