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

// A line of the access log (channel pools), between start_log() and stop_log(), on the loop's
// thread: an object of JSON of the time and `fields`, whatever the level. It has a queue of its
// own, lest it push out what else there is to say.
void log_access(std::string_view fields);

// Lines lost since start_log() because a queue was full.
uint64_t lost_log_lines();

}  // namespace berth
