#include "wire/compression.h"

#include "wire/gzip.h"
#include "wire/snappy_frames.h"

namespace berth::wire {
namespace {

// Either encoding adds 18 bytes, so that next to nothing below this gains.
constexpr size_t kLeastBytes = 32;

}  // namespace

bool append_compressed(Compression compression, std::string_view message, std::string& out) {
  if (message.size() < kLeastBytes) return false;
  if (compression == Compression::gzip) return append_gzip(message, message.size() - 1, out);
  const size_t begin = out.size();
  append_snappy_frames(message, out);
  if (out.size() - begin < message.size()) return true;
  out.resize(begin);
  return false;
}

absl::Status append_decompressed(Compression compression, std::string_view data, size_t most,
                                 std::string& out) {
  return compression == Compression::gzip ? read_gzip(data, most, out)
                                          : read_snappy_frames(data, most, out);
}

}  // namespace berth::wire
