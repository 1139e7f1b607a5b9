#include "wire/gzip.h"

#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>
#include <array>

#include "base/check.h"

namespace berth::wire {
namespace {

// The largest window, and 16 for a header of gzip's in place of zlib's.
constexpr int kWindow = MAX_WBITS + 16;
constexpr int kMemory = 8;  // zlib's default
// The loop's time is dearer than the wire's: the default level takes three times as long for some
// percent.
constexpr int kLevel = Z_BEST_SPEED;
constexpr size_t kPiece = 16 * 1024;  // decoded at a time

// Making one anew costs more than a short message does.
class Deflater {
 public:
  Deflater() {
    const int made =
        deflateInit2(&stream_, kLevel, Z_DEFLATED, kWindow, kMemory, Z_DEFAULT_STRATEGY);
    BERTH_CHECK(made == Z_OK, "there is memory for a compressor");
  }
  ~Deflater() { deflateEnd(&stream_); }
  Deflater(const Deflater&) = delete;
  Deflater& operator=(const Deflater&) = delete;

  z_stream& restart() {
    deflateReset(&stream_);
    return stream_;
  }

 private:
  z_stream stream_{};
};

class Inflater {
 public:
  Inflater() {
    BERTH_CHECK(inflateInit2(&stream_, kWindow) == Z_OK, "there is memory for a decompressor");
  }
  ~Inflater() { inflateEnd(&stream_); }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;

  z_stream& restart() {
    inflateReset(&stream_);
    return stream_;
  }

 private:
  z_stream stream_{};
};

void set_input(z_stream& stream, std::string_view bytes) {
  stream.next_in = const_cast<Bytef*>(reinterpret_cast<const Bytef*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
}

void set_output(z_stream& stream, char* at, size_t size) {
  stream.next_out = reinterpret_cast<Bytef*>(at);
  stream.avail_out = static_cast<uInt>(size);
}

absl::Status broken(std::string_view why) {
  return absl::InternalError(fmt::format("its gzip data are broken: {}", why));
}

}  // namespace

bool append_gzip(std::string_view data, size_t most, std::string& out) {
  thread_local Deflater deflater;
  z_stream& stream = deflater.restart();
  const size_t begin = out.size();
  out.resize(begin + most);
  set_input(stream, data);
  set_output(stream, out.data() + begin, most);
  const bool fits = deflate(&stream, Z_FINISH) == Z_STREAM_END;
  out.resize(begin + (fits ? most - stream.avail_out : 0));
  return fits;
}

absl::Status read_gzip(std::string_view member, size_t most, std::string& out) {
  thread_local Inflater inflater;
  z_stream& stream = inflater.restart();
  set_input(stream, member);
  std::array<char, kPiece> piece;
  for (size_t total = 0;;) {
    set_output(stream, piece.data(), piece.size());
    const int result = inflate(&stream, Z_NO_FLUSH);
    const size_t size = piece.size() - stream.avail_out;
    total += size;
    if (total > most) {
      return absl::ResourceExhaustedError(
          fmt::format("it is more than {} bytes when decoded", most));
    }
    out.append(piece.data(), size);
    if (result == Z_STREAM_END) break;
    if (result == Z_BUF_ERROR) return broken("they are cut off");
    if (result != Z_OK) return broken(stream.msg != nullptr ? stream.msg : "no gzip");
  }
  return stream.avail_in == 0 ? absl::OkStatus() : broken("something follows their end");
}

}  // namespace berth::wire
