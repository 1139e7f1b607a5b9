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

}  // namespace

void IdleSet::insert(Connection& connection, size_t min_idle) {
  insert_by_age(list_of(connection.owner), connection);
  if (connection.owner.nobody() && kept_ < min_idle) {
    keep(connection);
  } else {
    insert_by_age(evictable_, connection);
  }
}

Connection* IdleSet::remove(Connection& connection) {
  OwnerList& list = list_of(connection.owner);
  list.remove(connection);
  if (!connection.kept) {
    evictable_.remove(connection);
    return nullptr;
  }
  connection.kept = false;
  --kept_;
  if (nobodys_.size() == kept_) return nullptr;
  for (Connection& other : nobodys_) {
    if (other.kept) continue;
    evictable_.remove(other);
    keep(other);
    return &other;
  }
  return nullptr;
}

Connection* IdleSet::best(Owner owner, IdleOrder order, const Entitled& earlier) const {
  const auto end_of = [order](const OwnerList& list) {
    return order == IdleOrder::lifo ? list.back() : list.front();
  };
  if (is_among(owner, earlier)) return nullptr;
  if (const OwnerList* own = find(owner); own != nullptr && !own->empty()) return end_of(*own);
  return earlier.empty() ? end_of(nobodys_) : nullptr;
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
