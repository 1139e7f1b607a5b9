// The log: asynchronous, so that a stalled journal stalls nobody. Lines that find the queue full
// push out the oldest, which are counted.
//
// start_log() and stop_log() run on the main thread, once each; log() may be used from any thread
// between them. Before start_log(), lines go to stderr directly.
#pragma once

#include <spdlog/logger.h>

#include <cstdint>
#include <string_view>

namespace berth {

// Level: "trace", "debug", "info", "warn", "error" or "off".
bool is_log_level(std::string_view level);

void start_log(std::string_view level);
void stop_log();
// Any thread, between the two.
void set_log_level(std::string_view level);

spdlog::logger& log();

// Lines lost since start_log() because the queue was full.
uint64_t lost_log_lines();

}  // namespace berth
