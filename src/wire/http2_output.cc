#include "wire/http2_output.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

#include "base/check.h"
#include "wire/http2_arena.h"

namespace berth::wire {
namespace {

constexpr size_t kFlatBytes = 16 * 1024;
// Where a stream is blocked, small pieces share a block, so that each costs no more than its bytes.
constexpr size_t kQueueBytes = 2 * 1024;
// Below it, copying costs less than a piece of its own.
constexpr size_t kLeastShared = 2 * 1024;

}  // namespace

Http2Bytes* Http2Bytes::make(size_t capacity) {
  void* memory = Http2Arena::of_thread().allocate(sizeof(Http2Bytes) + capacity);
  BERTH_CHECK(memory != nullptr, "there is memory");
  return new (memory) Http2Bytes{1, static_cast<uint32_t>(capacity), 0, 0, nullptr};
}

void Http2Bytes::release() {
  if (--shares == 0) Http2Arena::of_thread().release(this);
}

size_t Http2Bytes::append(std::string_view bytes) {
  const size_t taken = std::min(bytes.size(), room());
  if (taken == 0) return 0;  // of no bytes there need be no address, which memcpy(3) wants
  std::memcpy(text() + end, bytes.data(), taken);
  end += static_cast<uint32_t>(taken);
  return taken;
}

// ---- output ----

void Http2Output::add_piece(Http2Bytes& owner, char* at, size_t size) {
  owner.share();
  owners_.push_back(&owner);
  pieces_.push_back({at, size});
}

void Http2Output::append(std::string_view bytes) {
  appended_ += bytes.size();
  while (!bytes.empty()) {
    if (open_ == nullptr || open_->room() == 0) {
      if (open_ != nullptr) open_->release();
      open_ = Http2Bytes::make(kFlatBytes);
    }
    char* at = open_->text() + open_->end;
    const size_t taken = open_->append(bytes);
    bytes.remove_prefix(taken);
    if (first_ < pieces_.size() && owners_.back() == open_) {
      pieces_.back().iov_len += taken;
    } else {
      add_piece(*open_, at, taken);
    }
  }
}

void Http2Output::append_shared(Http2Bytes& owner, std::string_view bytes) {
  if (bytes.size() < kLeastShared) {
    append(bytes);
    return;
  }
  appended_ += bytes.size();
  add_piece(owner, const_cast<char*>(bytes.data()), bytes.size());
}

void Http2Output::sent(size_t size) {
  BERTH_CHECK(size <= this->size(), "no more is sent than there was");
  sent_ += size;
  if (appended_ == sent_) {
    clear();
    return;
  }
  while (size > 0) {
    iovec& piece = pieces_[first_];
    const size_t part = std::min(size, piece.iov_len);
    piece = {static_cast<char*>(piece.iov_base) + part, piece.iov_len - part};
    size -= part;
    if (piece.iov_len == 0) owners_[first_++]->release();
  }
  if (first_ < pieces_.size() / 2) return;
  pieces_.erase(pieces_.begin(), pieces_.begin() + static_cast<ptrdiff_t>(first_));
  owners_.erase(owners_.begin(), owners_.begin() + static_cast<ptrdiff_t>(first_));
  first_ = 0;
}

void Http2Output::clear() {
  for (size_t i = first_; i < owners_.size(); ++i) owners_[i]->release();
  owners_.clear();
  pieces_.clear();
  first_ = 0;
  if (open_ != nullptr) open_->release();
  open_ = nullptr;
  sent_ = appended_;
}

// ---- queue ----

void Http2Queue::push(std::string_view bytes) {
  size_ += bytes.size();
  if (back_ != nullptr) bytes.remove_prefix(back_->append(bytes));
  if (bytes.empty()) return;
  Http2Bytes* block =
      Http2Bytes::make(back_ == nullptr ? bytes.size() : std::max(bytes.size(), kQueueBytes));
  block->append(bytes);
  (back_ != nullptr ? back_->next : front_) = block;
  back_ = block;
}

void Http2Queue::move_to(Http2Output& output, size_t size) {
  BERTH_CHECK(size <= size_, "no more is moved than there is");
  size_ -= size;
  while (size > 0) {
    const size_t part = std::min<size_t>(size, front_->end - front_->begin);
    output.append_shared(*front_, {front_->text() + front_->begin, part});
    front_->begin += static_cast<uint32_t>(part);
    size -= part;
    if (front_->begin == front_->end) pop_front();
  }
}

void Http2Queue::pop_front() {
  Http2Bytes* block = front_;
  front_ = block->next;
  if (front_ == nullptr) back_ = nullptr;
  block->release();
}

void Http2Queue::clear() {
  while (front_ != nullptr) pop_front();
  size_ = 0;
}

}  // namespace berth::wire
