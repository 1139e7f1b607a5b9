// The policy of a channel pool, as its settings say.
#pragma once

#include "channel/policy.h"
#include "pool/policy.h"

namespace berth::channel {

// Requires: settings.carries_channels().
ChannelPolicy policy_of(const pool::PoolPolicy& settings);

}  // namespace berth::channel
