// HPACK (RFC 7541), by nghttp2: the two compressors of a connection, one for each direction.
//
// Every block has to go through its compressor, in the order of the frames, or the tables of both
// ends part. Memory is an arena's, which outlives them; one thread only.
#pragma once

#include <absl/functional/function_ref.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "wire/http2_arena.h"
#include "wire/http2_headers.h"

struct nghttp2_hd_deflater;
struct nghttp2_hd_inflater;

namespace berth::wire {

class HpackEncoder {
 public:
  explicit HpackEncoder(Http2Arena& arena);
  ~HpackEncoder();
  HpackEncoder(const HpackEncoder&) = delete;
  HpackEncoder& operator=(const HpackEncoder&) = delete;

  // The peer's SETTINGS_HEADER_TABLE_SIZE, of which the default is used at the most. False: there
  // is no memory.
  [[nodiscard]] bool set_table_size(uint32_t bytes);
  // Valid until the next one, of any encoder. nullopt: it would have more than
  // kMaxHttp2HeaderBytes; or there is no memory.
  std::optional<std::string_view> encode(const Http2Headers& headers);

 private:
  nghttp2_hd_deflater* deflater_ = nullptr;
};

class HpackDecoder {
 public:
  explicit HpackDecoder(Http2Arena& arena);
  ~HpackDecoder();
  HpackDecoder(const HpackDecoder&) = delete;
  HpackDecoder& operator=(const HpackDecoder&) = delete;

  enum class Result { good, broken, no_memory };
  // Bytes of a block, cut anywhere; `last`: it ends with them. The texts of a field are valid
  // during the call.
  Result decode(std::string_view bytes, bool last,
                absl::FunctionRef<void(const Http2Field&)> each_field);

 private:
  nghttp2_hd_inflater* inflater_ = nullptr;
};

}  // namespace berth::wire
