#include "pool/idle_set.h"

#include <algorithm>
#include <utility>

namespace berth::pool {
namespace {

template <class AnyList>
void insert_by_age(AnyList& list, Connection& connection) {
  insert_in_order(list, connection, [&](const Connection& other) {
    return other.idle_since > connection.idle_since;
  });
}

bool is_among(Owner owner, const Entitled& owners) {
  return std::find(owners.begin(), owners.end(), owner) != owners.end();
}

template <class AnyList>
Connection* best_of(const AnyList& list, IdleOrder order, TimePoint proven) {
  const bool lifo = order == IdleOrder::lifo;
  Connection* best = lifo ? list.back() : list.front();
  while (best != nullptr && best->proven_until <= proven) {
    best = lifo ? AnyList::previous(*best) : AnyList::next(*best);
  }
  return best;
}

}  // namespace

void EvictionOrder::insert(Connection& connection) {
  insert_by_age(order_, connection);
}

void EvictionOrder::remove(Connection& connection, bool aside) {
  order_.remove(connection);
  if (aside) --aside_;
}

Connection* EvictionOrder::front() const {
  Connection* first = order_.front();
  while (first != nullptr && first->state != State::idle) first = Order::next(*first);
  return first;
}

void IdleSet::insert(Connection& connection, size_t min_idle) {
  insert_by_age(list_of(connection.owner), connection);
  if (connection.owner.nobody() && kept_ < min_idle) {
    keep(connection);
  } else {
    evictable_.insert(connection);
  }
}

Connection* IdleSet::remove(Connection& connection) {
  const bool aside = connection.owner_link.list == nullptr;
  if (!aside) list_of(connection.owner).remove(connection);
  if (!connection.kept) {
    evictable_.remove(connection, aside);
    return nullptr;
  }
  connection.kept = false;
  --kept_;
  if (aside) --kept_aside_;
  if (nobodys_.size() == kept_ - kept_aside_) return nullptr;
  for (Connection& other : nobodys_) {
    if (other.kept) continue;
    evictable_.remove(other, false);
    keep(other);
    return &other;
  }
  return nullptr;
}

void IdleSet::set_aside(Connection& connection) {
  list_of(connection.owner).remove(connection);
  if (connection.kept) {
    ++kept_aside_;
  } else {
    evictable_.set_aside();
  }
}

void IdleSet::take_back(Connection& connection, size_t min_idle) {
  insert_by_age(list_of(connection.owner), connection);
  if (connection.kept) {
    --kept_aside_;
    if (kept_ <= min_idle) return;
    connection.kept = false;  // a reload has lowered it meanwhile
    --kept_;
    evictable_.insert(connection);
    return;
  }
  evictable_.take_back();
  if (connection.owner.nobody() && kept_ < min_idle) {
    evictable_.remove(connection, false);
    keep(connection);
  }
}

bool IdleSet::may_have(Owner owner, Owner whose, const Entitled& earlier) {
  if (is_among(owner, earlier)) return false;
  return whose == owner || (whose.nobody() && earlier.empty());
}

Connection* IdleSet::best_own(Owner owner, IdleOrder order, const Entitled& earlier,
                              TimePoint proven) const {
  if (!may_have(owner, owner, earlier)) return nullptr;
  const OwnerList* own = find(owner);
  return own != nullptr ? best_of(*own, order, proven) : nullptr;
}

Connection* IdleSet::best_nobodys(Owner owner, IdleOrder order, const Entitled& earlier,
                                  TimePoint proven) const {
  return may_have(owner, Owner(), earlier) ? best_of(nobodys_, order, proven) : nullptr;
}

size_t IdleSet::available(Owner owner, const Entitled& earlier) const {
  if (is_among(owner, earlier)) return 0;
  const OwnerList* own = find(owner);
  return (own != nullptr ? own->size() : 0) + (earlier.empty() ? nobodys_.size() : 0);
}

IdleSet::OwnerList& IdleSet::list_of(Owner owner) {
  if (owner.nobody()) return nobodys_;
  if (recent_ != nullptr) {
    if (recent_owner_ == owner) return *recent_;
    if (recent_->empty()) by_owner_.erase(recent_owner_);
  }
  std::unique_ptr<OwnerList>& list = by_owner_[owner];
  if (list == nullptr) list = std::make_unique<OwnerList>();
  recent_owner_ = owner;
  recent_ = list.get();
  return *recent_;
}

const IdleSet::OwnerList* IdleSet::find(Owner owner) const {
  if (recent_ != nullptr && recent_owner_ == owner) return recent_;
  const auto at = by_owner_.find(owner);
  return at != by_owner_.end() ? at->second.get() : nullptr;
}

void IdleSet::keep(Connection& connection) {
  connection.kept = true;
  ++kept_;
}

}  // namespace berth::pool
