// probe_tls(): whether the files that a pool's TLS settings name can be used.
#pragma once

#include "base/tls.h"
#include "config/load.h"

namespace berth::daemon {

// Blocking. Any thread.
config::TlsProbe probe_tls(const TlsSettings& settings);

}  // namespace berth::daemon
