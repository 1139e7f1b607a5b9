// List: an intrusive doubly linked list of records that it does not own.
//
// `link` names the ListLink member that this list uses, so that a record can stand in several
// lists of different kinds at once. All operations are O(1). A record must be unlinked before it
// is freed; linking a linked record is a broken invariant.
#pragma once

#include <cstddef>
#include <iterator>

#include "base/check.h"

namespace berth {

template <class T>
struct ListLink {
  T* prev = nullptr;
  T* next = nullptr;
  const void* list = nullptr;  // the list it stands in, so that a wrong unlink dies loudly
};

template <class T, ListLink<T> T::*link>
class List {
 public:
  List() = default;
  List(const List&) = delete;
  List& operator=(const List&) = delete;

  bool empty() const { return size_ == 0; }
  size_t size() const { return size_; }
  T* front() const { return front_; }
  T* back() const { return back_; }
  static T* next(const T& item) { return (item.*link).next; }
  static T* previous(const T& item) { return (item.*link).prev; }
  bool contains(const T& item) const { return (item.*link).list == this; }

  void push_back(T& item) { insert_before(nullptr, item); }

  // Inserts `item` before `place`; at the back if `place` is nullptr.
  void insert_before(T* place, T& item) {
    ListLink<T>& l = item.*link;
    BERTH_CHECK(l.list == nullptr, "a record stands in one list of a kind");
    l.list = this;
    l.next = place;
    l.prev = place != nullptr ? (place->*link).prev : back_;
    (l.prev != nullptr ? (l.prev->*link).next : front_) = &item;
    (place != nullptr ? (place->*link).prev : back_) = &item;
    ++size_;
  }

  void remove(T& item) {
    ListLink<T>& l = item.*link;
    BERTH_CHECK(l.list == this, "a record is removed from the list it stands in");
    (l.prev != nullptr ? (l.prev->*link).next : front_) = l.next;
    (l.next != nullptr ? (l.next->*link).prev : back_) = l.prev;
    l = {};
    --size_;
  }

  class Iterator {
   public:
    explicit Iterator(T* item) : item_(item) {}
    T& operator*() const { return *item_; }
    Iterator& operator++() {
      item_ = (item_->*link).next;
      return *this;
    }
    friend bool operator==(Iterator, Iterator) = default;

   private:
    T* item_;
  };
  // Iteration must not unlink the current record; take next() first for that.
  Iterator begin() const { return Iterator(front_); }
  Iterator end() const { return Iterator(nullptr); }

 private:
  T* front_ = nullptr;
  T* back_ = nullptr;
  size_t size_ = 0;
};

// Inserts `item` behind the last one that it need not precede. Nearly always that is the back.
template <class T, ListLink<T> T::*link, class Precedes>
void insert_in_order(List<T, link>& list, T& item, Precedes&& precedes) {
  T* place = nullptr;
  for (T* at = list.back(); at != nullptr && precedes(*at); at = list.previous(*at)) place = at;
  list.insert_before(place, item);
}

}  // namespace berth
