// What berthctl prints of channel pools, whose columns are others than those of stream pools.
#pragma once

#include <cstddef>
#include <string>

#include "berth/v1/admin.pb.h"

namespace berth::ctl {

// In lines of at most `width` columns, as Table has it. Empty: there is nothing of the kind.
std::string channels_text(const v1::ListConnectionsReply& reply, size_t width);
// The pools, then their addresses.
std::string channel_pools_text(const v1::ListPoolsReply& reply, size_t width);
// "draining:goaway": with the reason, if there is one. Of any connection.
std::string state_of(const v1::ConnectionInfo& row);
// "2: 1 ready, 1 draining"
std::string counts(const v1::ChannelCounts& counts);

}  // namespace berth::ctl
