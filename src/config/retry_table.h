// The setting `retry`: which calls a channel pool repeats.
#pragma once

#include "config/setting.h"
#include "pool/policy.h"

namespace berth::config {

// A table of attempts, codes by the names that gRPC has for them, and backoff. Leaves the size of
// the buffer, which is a setting of its own, as it is.
Kind<pool::ChannelSettings> retry_kind();

}  // namespace berth::config
