// Compresses and decompresses one message of gRPC. Pure; `compression` is not none.
#pragma once

#include <absl/status/status.h>

#include <cstddef>
#include <string>
#include <string_view>

#include "base/compression.h"

namespace berth::wire {

// Appends the compressed message to `out`. false: it would not be shorter; `out` is as it was.
bool append_compressed(Compression compression, std::string_view message, std::string& out);

// Appends the message that `data` are when decompressed. ResourceExhausted: it is longer than
// `most`; Internal: they are broken; both in words that say what "it" is like.
absl::Status append_decompressed(Compression compression, std::string_view data, size_t most,
                                 std::string& out);

}  // namespace berth::wire
