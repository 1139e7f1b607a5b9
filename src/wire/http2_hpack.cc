#include "wire/http2_hpack.h"

#include <nghttp2/nghttp2.h>

#include "base/check.h"
#include "base/limits.h"

namespace berth::wire {
namespace {

constexpr size_t kTableBytes = 4096;  // RFC 7541, section 4.2; RFC 9113, section 6.5.2

uint8_t* bytes_of(std::string_view text) {
  return const_cast<uint8_t*>(reinterpret_cast<const uint8_t*>(text.data()));
}

std::string_view text_of(const uint8_t* bytes, size_t size) {
  return {reinterpret_cast<const char*>(bytes), size};
}

// What one block is encoded from and to.
struct Scratch {
  std::vector<nghttp2_nv> pairs;
  std::unique_ptr<uint8_t[]> bytes;
  size_t size = 0;

  static Scratch& of_thread() {
    static thread_local Scratch scratch;
    return scratch;
  }
  void reserve(size_t least) {
    if (least <= size) return;
    bytes = std::make_unique_for_overwrite<uint8_t[]>(least);
    size = least;
  }
};

}  // namespace

// ---- encoder ----

HpackEncoder::HpackEncoder(Http2Arena& arena) {
  const int result = nghttp2_hd_deflate_new2(&deflater_, kTableBytes, arena.functions());
  BERTH_CHECK(result == 0, "an arena has room for an encoder");
}

HpackEncoder::~HpackEncoder() {
  nghttp2_hd_deflate_del(deflater_);
}

bool HpackEncoder::set_table_size(uint32_t bytes) {
  return nghttp2_hd_deflate_change_table_size(deflater_, bytes) == 0;
}

std::optional<std::string_view> HpackEncoder::encode(const Http2Headers& headers) {
  Scratch& scratch = Scratch::of_thread();
  scratch.pairs.clear();
  for (const Http2Field& field : headers.fields()) {
    const auto flags =
        static_cast<uint8_t>(field.never_index ? NGHTTP2_NV_FLAG_NO_INDEX : NGHTTP2_NV_FLAG_NONE);
    scratch.pairs.push_back({bytes_of(field.name), bytes_of(field.value), field.name.size(),
                             field.value.size(), flags});
  }
  const size_t most =
      nghttp2_hd_deflate_bound(deflater_, scratch.pairs.data(), scratch.pairs.size());
  if (most > kMaxHttp2HeaderBytes) return std::nullopt;
  scratch.reserve(most);
  const ssize_t size = nghttp2_hd_deflate_hd(deflater_, scratch.bytes.get(), most,
                                             scratch.pairs.data(), scratch.pairs.size());
  if (size < 0) return std::nullopt;
  return text_of(scratch.bytes.get(), static_cast<size_t>(size));
}

// ---- decoder ----

HpackDecoder::HpackDecoder(Http2Arena& arena) {
  const int result = nghttp2_hd_inflate_new2(&inflater_, arena.functions());
  BERTH_CHECK(result == 0, "an arena has room for a decoder");
}

HpackDecoder::~HpackDecoder() {
  nghttp2_hd_inflate_del(inflater_);
}

HpackDecoder::Result HpackDecoder::decode(std::string_view bytes, bool last,
                                          absl::FunctionRef<void(const Http2Field&)> each_field) {
  for (;;) {
    nghttp2_nv pair;
    int flags = 0;
    const ssize_t taken = nghttp2_hd_inflate_hd2(inflater_, &pair, &flags, bytes_of(bytes),
                                                 bytes.size(), last ? 1 : 0);
    if (taken < 0) return taken == NGHTTP2_ERR_NOMEM ? Result::no_memory : Result::broken;
    bytes.remove_prefix(static_cast<size_t>(taken));
    if ((flags & NGHTTP2_HD_INFLATE_EMIT) != 0) {
      each_field({text_of(pair.name, pair.namelen), text_of(pair.value, pair.valuelen),
                  (pair.flags & NGHTTP2_NV_FLAG_NO_INDEX) != 0});
    } else if ((flags & NGHTTP2_HD_INFLATE_FINAL) != 0) {
      nghttp2_hd_inflate_end_headers(inflater_);
      return Result::good;
    } else if (bytes.empty()) {
      return Result::good;
    }
  }
}

}  // namespace berth::wire
