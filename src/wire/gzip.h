// One message of gRPC's encoding "gzip": a member of RFC 1952, by zlib. Pure; each thread keeps the
// memory of its last compressor and decompressor, 300 KB together.
#pragma once

#include <absl/status/status.h>

#include <cstddef>
#include <string>
#include <string_view>

namespace berth::wire {

// Appends the member of `data` to `out`, unless it would be longer than `most`: then false, and
// `out` is as it was.
bool append_gzip(std::string_view data, size_t most, std::string& out);

// Appends the data of the member to `out`. ResourceExhausted: they are more than `most` bytes.
// Internal: it is no such member, in words. After either, `out` may have some of them.
absl::Status read_gzip(std::string_view member, size_t most, std::string& out);

}  // namespace berth::wire
