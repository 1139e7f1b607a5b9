// Snappy's framing format (framing_format.txt of google/snappy): what gRPC's encoding "snappy" puts
// into a message. A message is a whole stream: its identifier, then chunks of at most 64 KiB of
// data, each compressed or not, with a masked CRC-32C of the data. Pure.
#pragma once

#include <absl/status/status.h>

#include <cstddef>
#include <string>
#include <string_view>

namespace berth::wire {

// Appends the stream of `data` to `out`. It is hardly longer than the data, whatever they are.
void append_snappy_frames(std::string_view data, std::string& out);

// Appends the data of the stream to `out`; padding and what may be skipped is, and a stream without
// a byte has none. ResourceExhausted: they are more than `most` bytes. Internal: it is no such
// stream, in words. After either, `out` may have some of them.
absl::Status read_snappy_frames(std::string_view stream, size_t most, std::string& out);

}  // namespace berth::wire
