// ActionQueue: what decisions tell their driver to do, in order. `Action` is a variant of small
// named structs.
#pragma once

#include <cstddef>
#include <span>
#include <utility>
#include <vector>

namespace berth {

// The actions of one event after another, first in, first out. Keeps its memory.
template <class Action>
class ActionQueue {
 public:
  template <class A>
  void add(A action) {
    queue_.emplace_back(std::in_place_type<A>, std::move(action));
  }

  bool empty() const { return next_ == queue_.size(); }

  // Requires: not empty.
  Action take() {
    Action action = std::move(queue_[next_++]);
    if (empty()) clear();
    return action;
  }

  void clear() {
    queue_.clear();
    next_ = 0;
  }

  // Those not yet taken.
  std::span<const Action> pending() const { return std::span(queue_).subspan(next_); }

 private:
  std::vector<Action> queue_;
  size_t next_ = 0;
};

}  // namespace berth
