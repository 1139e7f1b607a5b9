// Http2Arena: the memory of one connection: its streams, and nghttp2's compressors. Blocks of a size
// are kept for the next of that size, so that little time is spent on it; and a connection has a
// bound. One thread only.
#pragma once

#include <nghttp2/nghttp2.h>

#include <array>
#include <cstddef>
#include <memory>
#include <vector>

namespace berth::wire {

class Http2Arena {
 public:
  // Holds no more than `limit` bytes: then there are no more blocks.
  static Http2Arena& make(size_t limit) { return *new Http2Arena(limit); }
  // Without a bound, of what comes and goes with each message.
  static Http2Arena& of_thread();
  // Its owner's last word.
  void abandon();
  Http2Arena(const Http2Arena&) = delete;
  Http2Arena& operator=(const Http2Arena&) = delete;

  // Valid as long as the arena.
  nghttp2_mem* functions() { return &functions_; }
  // nullptr: the bound is reached.
  void* allocate(size_t size);
  void release(void* bytes);
  void* resize(void* bytes, size_t size);

  // Of blocks in use.
  size_t bytes() const { return bytes_; }

 private:
  struct alignas(16) Block {
    size_t size;  // with itself
    Block* next;  // of those that are kept
  };
  static constexpr size_t kStep = 16;
#ifdef __SANITIZE_ADDRESS__
  static constexpr size_t kMostKept = 0;  // so that no use of a freed block goes unnoticed
#else
  static constexpr size_t kMostKept = 2048;
#endif
  static constexpr size_t kChunk = 16 * 1024;

  explicit Http2Arena(size_t limit);
  ~Http2Arena() = default;
  Block* take(size_t size);
  Block* take_new(size_t size);

  const size_t limit_;
  nghttp2_mem functions_;
  bool abandoned_ = false;
  size_t bytes_ = 0;
  char* fresh_ = nullptr;
  size_t fresh_bytes_ = 0;
  std::array<Block*, kMostKept / kStep + 1> kept_{};
  std::vector<std::unique_ptr<char[]>> chunks_;
};

}  // namespace berth::wire
