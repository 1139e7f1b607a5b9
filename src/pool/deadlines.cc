#include "pool/deadlines.h"

#include <utility>

namespace berth::pool {

void Deadlines::set(Deadline& deadline, TimePoint when) {
  if (deadline.when == when) return;
  if (deadline.place != Deadline::kUnset) remove(deadline.place);
  deadline.when = when;
  if (when == kNever) return;
  heap_.push_back({});
  place(heap_.size() - 1, {when, order_++, &deadline});
  sift_up(heap_.size() - 1);
}

Deadline* Deadlines::pop_due(TimePoint now) {
  if (heap_.empty() || heap_.front().when > now) return nullptr;
  Deadline* due = heap_.front().deadline;
  set(*due, kNever);
  return due;
}

void Deadlines::place(size_t at, const Entry& entry) {
  heap_[at] = entry;
  entry.deadline->place = static_cast<uint32_t>(at);
}

void Deadlines::sift_up(size_t at) {
  const Entry entry = heap_[at];
  while (at > 0) {
    const size_t parent = (at - 1) / 2;
    if (!entry.before(heap_[parent])) break;
    place(at, heap_[parent]);
    at = parent;
  }
  place(at, entry);
}

void Deadlines::sift_down(size_t at) {
  const Entry entry = heap_[at];
  while (true) {
    size_t child = 2 * at + 1;
    if (child >= heap_.size()) break;
    if (child + 1 < heap_.size() && heap_[child + 1].before(heap_[child])) ++child;
    if (!heap_[child].before(entry)) break;
    place(at, heap_[child]);
    at = child;
  }
  place(at, entry);
}

void Deadlines::remove(size_t at) {
  heap_[at].deadline->place = Deadline::kUnset;
  const Entry last = heap_.back();
  heap_.pop_back();
  if (at == heap_.size()) return;
  place(at, last);
  sift_up(at);
  sift_down(last.deadline->place);
}

}  // namespace berth::pool
