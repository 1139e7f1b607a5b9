// Http2Headers: the fields of one header block, in order. Loop thread only.
//
// Names are in lower case (RFC 9113, section 8.2); pseudo-header fields stand first (section 8.3).
// Copied texts stand in chunks, so that a usual block takes two allocations; copies of the list
// share them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace berth::wire {

// Of the thread's own memory (wire/http2_arena.h): lists come and go with each message.
template <class T>
struct Http2Allocator {
  using value_type = T;
  Http2Allocator() = default;
  template <class Other>
  explicit Http2Allocator(const Http2Allocator<Other>&) {}
  T* allocate(size_t count);
  void deallocate(T* items, size_t count) noexcept;
  friend bool operator==(const Http2Allocator&, const Http2Allocator&) = default;
};

struct Http2Field {
  std::string_view name;
  std::string_view value;
  // A secret: no table of a compressor may hold it (RFC 7541, section 7.1.3).
  bool never_index = false;
};

class Http2Headers {
 public:
  // Whether the list takes a copy of a text, or its caller keeps it until the list is gone: at the
  // latest when the stream it was given to is closed.
  enum class Text { copied, outlives };

  Http2Headers() = default;
  ~Http2Headers() { clear(); }
  Http2Headers(Http2Headers&& other) noexcept;
  Http2Headers& operator=(Http2Headers&& other) noexcept;
  // For another attempt. Texts that outlive this list have to outlive the copy, too.
  Http2Headers copy() const;

  // At the end; a pseudo-header field behind the others of its kind.
  void add(std::string_view name, std::string_view value, bool never_index = false,
           Text text = Text::copied);
  // Gives the first of that name that value, or adds it.
  void set(std::string_view name, std::string_view value, Text text = Text::copied);
  // All of that name.
  void remove(std::string_view name);
  void clear();

  // nullptr: there is none. Valid until the list changes.
  const Http2Field* find(std::string_view name) const;
  std::span<const Http2Field> fields() const { return fields_; }
  bool empty() const { return fields_.empty(); }
  // As SETTINGS_MAX_HEADER_LIST_SIZE counts: 32 beyond each name and value (RFC 9113, section
  // 6.5.2).
  size_t bytes() const;

 private:
  struct Chunk;

  char* room_for(size_t size);
  Http2Field& place_among_pseudo();

  std::vector<Http2Field, Http2Allocator<Http2Field>> fields_;
  Chunk* chunks_ = nullptr;  // the one that is being filled, and those before
};

}  // namespace berth::wire
