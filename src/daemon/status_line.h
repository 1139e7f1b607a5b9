// The line about berthd that `systemctl status` shows.
#pragma once

#include <string>
#include <string_view>

namespace berth::daemon {

// What systemd takes for a status: one line of UTF-8, at most kMaxMessageBytes long.
std::string status_line(std::string_view text);

}  // namespace berth::daemon
