#include "daemon/activation.h"

#include <absl/status/status.h>
#include <systemd/sd-daemon.h>

#include <cstdlib>
#include <utility>
#include <vector>

namespace berth::daemon {

absl::StatusOr<net::Listeners> passed_sockets() {
  char** names = nullptr;
  const int count = sd_listen_fds_with_names(/*unset_environment=*/1, &names);
  if (count < 0) {
    return absl::ErrnoToStatus(-count, "LISTEN_FDS, LISTEN_FDNAMES: what was passed is not there");
  }
  std::vector<net::PassedSocket> passed;
  for (int i = 0; i < count; ++i) {
    passed.push_back({names[i], UniqueFd(SD_LISTEN_FDS_START + i)});
    std::free(names[i]);
  }
  std::free(names);
  return net::Listeners(std::move(passed));
}

}  // namespace berth::daemon
