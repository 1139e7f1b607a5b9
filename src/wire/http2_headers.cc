#include "wire/http2_headers.h"

#include <nghttp2/nghttp2.h>

#include <algorithm>
#include <cstring>

#include "wire/http2_arena.h"

namespace berth::wire {
namespace {

// Most lists fit, so that few are moved while they grow.
constexpr size_t kUsualFields = 16;

std::string_view duplicate(std::string_view text) {
  if (text.empty()) return {};
  char* own = static_cast<char*>(Http2Arena::of_thread().allocate(text.size()));
  std::memcpy(own, text.data(), text.size());
  return {own, text.size()};
}

void drop(std::string_view text, bool owned) {
  if (owned) Http2Arena::of_thread().release(const_cast<char*>(text.data()));
}

void drop(nghttp2_rcbuf* shared) {
  if (shared != nullptr) nghttp2_rcbuf_decref(shared);
}

bool is_pseudo(std::string_view name) {
  return !name.empty() && name[0] == ':';
}

}  // namespace

template <class T>
T* Http2Allocator<T>::allocate(size_t count) {
  return static_cast<T*>(Http2Arena::of_thread().allocate(count * sizeof(T)));
}

template <class T>
void Http2Allocator<T>::deallocate(T* items, size_t) noexcept {
  Http2Arena::of_thread().release(items);
}

template struct Http2Allocator<char>;
template struct Http2Allocator<Http2Headers::Entry>;

Http2Headers& Http2Headers::operator=(Http2Headers&& other) noexcept {
  if (this != &other) {
    clear();
    entries_.swap(other.entries_);
  }
  return *this;
}

Http2Headers Http2Headers::copy() const {
  Http2Headers other;
  other.entries_ = entries_;
  for (Entry& entry : other.entries_) {
    if (entry.shared_name_ != nullptr) nghttp2_rcbuf_incref(entry.shared_name_);
    if (entry.shared_value_ != nullptr) nghttp2_rcbuf_incref(entry.shared_value_);
    if (entry.owns_name_) entry.name = duplicate(entry.name);
    if (entry.owns_value_) entry.value = duplicate(entry.value);
  }
  return other;
}

Http2Headers::Entry& Http2Headers::make_entry(std::string_view name) {
  if (entries_.empty()) entries_.reserve(kUsualFields);
  if (!is_pseudo(name)) return entries_.emplace_back();
  const auto regular = std::find_if(entries_.begin(), entries_.end(),
                                    [](const Entry& entry) { return !is_pseudo(entry.name); });
  return *entries_.emplace(regular);
}

void Http2Headers::add(std::string_view name, std::string_view value, bool never_index, Text text) {
  Entry& entry = make_entry(name);
  entry.never_index = never_index;
  entry.owns_name_ = entry.owns_value_ = text == Text::copied;
  entry.name = entry.owns_name_ ? duplicate(name) : name;
  entry.value = entry.owns_value_ ? duplicate(value) : value;
}

void Http2Headers::add_shared(nghttp2_rcbuf* name, nghttp2_rcbuf* value, const Http2Field& texts) {
  if (entries_.empty()) entries_.reserve(kUsualFields);
  Entry& entry = entries_.emplace_back();
  nghttp2_rcbuf_incref(name);
  nghttp2_rcbuf_incref(value);
  static_cast<Http2Field&>(entry) = texts;
  entry.shared_name_ = name;
  entry.shared_value_ = value;
}

void Http2Headers::set(std::string_view name, std::string_view value, Text text) {
  for (Entry& entry : entries_) {
    if (entry.name != name) continue;
    const std::string_view taken = text == Text::copied ? duplicate(value) : value;
    release_value(entry);
    entry.value = taken;
    entry.owns_value_ = text == Text::copied;
    return;
  }
  add(name, value, false, text);
}

void Http2Headers::remove(std::string_view name) {
  std::erase_if(entries_, [name](Entry& entry) {
    if (entry.name != name) return false;
    release(entry);
    return true;
  });
}

// A stream that stays open may hold a cleared list: its memory goes, too.
void Http2Headers::clear() {
  if (entries_.capacity() == 0) return;
  for (Entry& entry : entries_) release(entry);
  decltype(entries_)().swap(entries_);
}

const Http2Field* Http2Headers::find(std::string_view name) const {
  for (const Entry& entry : entries_) {
    if (entry.name == name) return &entry;
  }
  return nullptr;
}

size_t Http2Headers::bytes() const {
  size_t sum = 0;
  for (const Entry& entry : entries_) sum += entry.name.size() + entry.value.size() + 32;
  return sum;
}

void Http2Headers::release_value(Entry& entry) {
  drop(entry.value, entry.owns_value_);
  drop(entry.shared_value_);
  entry.shared_value_ = nullptr;
}

void Http2Headers::release(Entry& entry) {
  release_value(entry);
  drop(entry.name, entry.owns_name_);
  drop(entry.shared_name_);
}

}  // namespace berth::wire
