// What waits on one HTTP/2 connection: the bytes of each stream that may not be sent yet, and those
// that are framed. Large pieces go from the one to the other without being copied. Loop thread
// only.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace berth::wire {

// Bytes with a count of those who refer to some of them.
struct Http2Bytes {
  static Http2Bytes* make(size_t capacity);
  void share() { ++shares; }
  void release();

  size_t room() const { return capacity - end; }
  size_t append(std::string_view bytes);  // as many as there is room for
  char* text() { return reinterpret_cast<char*>(this + 1); }

  uint32_t shares;
  uint32_t capacity;
  uint32_t begin;  // those before it have gone
  uint32_t end;
  Http2Bytes* next;  // of a queue
};

class Http2Output {
 public:
  Http2Output() = default;
  ~Http2Output() { clear(); }
  Http2Output(const Http2Output&) = delete;
  Http2Output& operator=(const Http2Output&) = delete;

  void append(std::string_view bytes);
  // `bytes` are some of `owner`'s.
  void append_shared(Http2Bytes& owner, std::string_view bytes);
  void sent(size_t size);
  void clear();

  std::span<const iovec> pieces() const { return std::span(pieces_).subspan(first_); }
  size_t size() const { return static_cast<size_t>(appended_ - sent_); }
  // Of all times.
  uint64_t appended() const { return appended_; }
  uint64_t sent() const { return sent_; }

 private:
  void add_piece(Http2Bytes& owner, char* at, size_t size);

  std::vector<iovec> pieces_;
  std::vector<Http2Bytes*> owners_;  // of each piece; one share each
  size_t first_ = 0;                 // those before it are sent
  Http2Bytes* open_ = nullptr;       // the last piece's, if it can take more
  uint64_t appended_ = 0;
  uint64_t sent_ = 0;
};

class Http2Queue {
 public:
  Http2Queue() = default;
  ~Http2Queue() { clear(); }
  Http2Queue(const Http2Queue&) = delete;
  Http2Queue& operator=(const Http2Queue&) = delete;

  void push(std::string_view bytes);
  // Moves the first `size` bytes.
  void move_to(Http2Output& output, size_t size);
  void clear();
  size_t size() const { return size_; }

 private:
  void pop_front();

  Http2Bytes* front_ = nullptr;
  Http2Bytes* back_ = nullptr;
  size_t size_ = 0;
};

}  // namespace berth::wire
