#include "wire/http2_arena.h"

#include <cstdint>
#include <cstdlib>
#include <cstring>

namespace berth::wire {

Http2Arena::Http2Arena(size_t limit)
    : limit_(limit),
      functions_{
          .mem_user_data = this,
          .malloc = [](size_t size,
                       void* arena) { return static_cast<Http2Arena*>(arena)->allocate(size); },
          .free = [](void* bytes, void* arena) { static_cast<Http2Arena*>(arena)->release(bytes); },
          .calloc = [](size_t count, size_t size, void* arena) -> void* {
            void* bytes = static_cast<Http2Arena*>(arena)->allocate(count * size);
            return bytes != nullptr ? std::memset(bytes, 0, count * size) : nullptr;
          },
          .realloc =
              [](void* bytes, size_t size, void* arena) {
                return static_cast<Http2Arena*>(arena)->resize(bytes, size);
              },
      } {}

Http2Arena& Http2Arena::of_thread() {
  struct Owner {
    ~Owner() { arena.abandon(); }
    Http2Arena& arena = make(SIZE_MAX);
  };
  static thread_local Owner owner;
  return owner.arena;
}

void Http2Arena::abandon() {
  abandoned_ = true;
  if (bytes_ == 0) delete this;
}

Http2Arena::Block* Http2Arena::take_new(size_t size) {
  if (size > kMostKept) return static_cast<Block*>(std::malloc(size));
  if (fresh_bytes_ < size) {
    chunks_.push_back(std::make_unique_for_overwrite<char[]>(kChunk));
    fresh_ = chunks_.back().get();
    fresh_bytes_ = kChunk;
  }
  Block* block = reinterpret_cast<Block*>(fresh_);
  fresh_ += size;
  fresh_bytes_ -= size;
  return block;
}

inline Http2Arena::Block* Http2Arena::take(size_t size) {
  if (size > kMostKept || kept_[size / kStep] == nullptr) return take_new(size);
  Block* kept = kept_[size / kStep];
  kept_[size / kStep] = kept->next;
  return kept;
}

void* Http2Arena::allocate(size_t size) {
  const size_t whole = (sizeof(Block) + size + kStep - 1) / kStep * kStep;
  if (whole < size || whole > limit_ - bytes_) return nullptr;
  Block* block = take(whole);
  if (block == nullptr) return nullptr;
  block->size = whole;
  bytes_ += whole;
  return block + 1;
}

void Http2Arena::release(void* bytes) {
  if (bytes == nullptr) return;
  Block* block = static_cast<Block*>(bytes) - 1;
  bytes_ -= block->size;
  if (block->size > kMostKept) {
    std::free(block);
  } else {
    block->next = kept_[block->size / kStep];
    kept_[block->size / kStep] = block;
  }
  if (abandoned_ && bytes_ == 0) delete this;
}

void* Http2Arena::resize(void* bytes, size_t size) {
  if (bytes == nullptr) return allocate(size);
  const size_t before = (static_cast<Block*>(bytes) - 1)->size - sizeof(Block);
  if (size <= before) return bytes;
  void* larger = allocate(size);
  if (larger == nullptr) return nullptr;
  std::memcpy(larger, bytes, before);
  release(bytes);
  return larger;
}

}  // namespace berth::wire
