#include "wire/http2_headers.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

#include "wire/http2_arena.h"

namespace berth::wire {
namespace {

// Most lists fit, so that few are moved while they grow.
constexpr size_t kUsualFields = 10;
// Of texts.
constexpr size_t kUsualBytes = 320;

std::string_view copy_to(char* at, std::string_view text) {
  std::memcpy(at, text.data(), text.size());
  return {at, text.size()};
}

bool is_pseudo(std::string_view name) {
  return !name.empty() && name[0] == ':';
}

}  // namespace

// Followed by its bytes. What is shared by several lists is not added to.
struct Http2Headers::Chunk {
  Chunk* before;
  size_t shares;
  size_t capacity;
  size_t used;

  [[gnu::noinline]] static Chunk* make(size_t capacity, Chunk* before) {
    void* memory = Http2Arena::of_thread().allocate(sizeof(Chunk) + capacity);
    return new (memory) Chunk{before, 1, capacity, 0};
  }
  size_t room() const { return shares == 1 ? capacity - used : 0; }
  char* take(size_t size) {
    char* at = reinterpret_cast<char*>(this + 1) + used;
    used += size;
    return at;
  }
};

template <class T>
T* Http2Allocator<T>::allocate(size_t count) {
  return static_cast<T*>(Http2Arena::of_thread().allocate(count * sizeof(T)));
}

template <class T>
void Http2Allocator<T>::deallocate(T* items, size_t) noexcept {
  Http2Arena::of_thread().release(items);
}

template struct Http2Allocator<char>;
template struct Http2Allocator<Http2Field>;

Http2Headers::Http2Headers(Http2Headers&& other) noexcept
    : fields_(std::move(other.fields_)), chunks_(std::exchange(other.chunks_, nullptr)) {}

Http2Headers& Http2Headers::operator=(Http2Headers&& other) noexcept {
  if (this != &other) {
    clear();
    fields_.swap(other.fields_);
    chunks_ = std::exchange(other.chunks_, nullptr);
  }
  return *this;
}

Http2Headers Http2Headers::copy() const {
  Http2Headers other;
  other.fields_ = fields_;
  other.chunks_ = chunks_;
  if (chunks_ != nullptr) ++chunks_->shares;
  return other;
}

inline char* Http2Headers::room_for(size_t size) {
  if (chunks_ == nullptr || chunks_->room() < size) [[unlikely]] {
    chunks_ = Chunk::make(std::max(size, kUsualBytes), chunks_);
  }
  return chunks_->take(size);
}

Http2Field& Http2Headers::place_among_pseudo() {
  const auto regular = std::find_if(fields_.begin(), fields_.end(),
                                    [](const Http2Field& it) { return !is_pseudo(it.name); });
  return *fields_.emplace(regular);
}

void Http2Headers::add(std::string_view name, std::string_view value, bool never_index, Text text) {
  if (text == Text::copied) {
    char* at = room_for(name.size() + value.size());
    name = copy_to(at, name);
    value = copy_to(at + name.size(), value);
  }
  if (fields_.empty()) fields_.reserve(kUsualFields);
  const bool is_last = !is_pseudo(name) || fields_.empty() || is_pseudo(fields_.back().name);
  Http2Field& field = is_last ? fields_.emplace_back() : place_among_pseudo();
  field.name = name;
  field.value = value;
  field.never_index = never_index;
}

void Http2Headers::set(std::string_view name, std::string_view value, Text text) {
  for (Http2Field& field : fields_) {
    if (field.name != name) continue;
    field.value = text == Text::copied ? copy_to(room_for(value.size()), value) : value;
    return;
  }
  add(name, value, false, text);
}

void Http2Headers::remove(std::string_view name) {
  std::erase_if(fields_, [name](const Http2Field& field) { return field.name == name; });
}

// A stream that stays open may hold a cleared list: its memory goes, too.
void Http2Headers::clear() {
  if (fields_.capacity() != 0) decltype(fields_)().swap(fields_);
  while (chunks_ != nullptr && --chunks_->shares == 0) {
    Http2Arena::of_thread().release(std::exchange(chunks_, chunks_->before));
  }
  chunks_ = nullptr;
}

const Http2Field* Http2Headers::find(std::string_view name) const {
  for (const Http2Field& field : fields_) {
    if (field.name == name) return &field;
  }
  return nullptr;
}

size_t Http2Headers::bytes() const {
  size_t sum = 0;
  for (const Http2Field& field : fields_) sum += field.name.size() + field.value.size() + 32;
  return sum;
}

}  // namespace berth::wire
