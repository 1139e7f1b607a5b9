// IdleSet: the idle connections of one pool, found by who may have them.
//
// Each idle connection stands in the list of its owner (nobody's, if it was never granted), longest
// idle first. Up to min_idle of nobody's are kept: neither evicted nor idled out (rules 5, 7, F).
// All others also stand in the depot's list of what may be evicted. One that is set aside, since it
// is being checked, can still be kept or evicted, but not had.
#pragma once

#include <absl/container/flat_hash_map.h>
#include <absl/container/inlined_vector.h>

#include <memory>
#include <utility>

#include "pool/policy.h"
#include "pool/records.h"

namespace berth::pool {

// Over all pools, idle longest first. Who is set aside keeps his place, but is not evicted.
class EvictionOrder {
 public:
  using Order = List<Connection, &Connection::age_link>;

  void insert(Connection& connection);
  void remove(Connection& connection, bool aside);
  void set_aside() { ++aside_; }
  void take_back() { --aside_; }

  bool empty() const { return size() == 0; }
  size_t size() const { return order_.size() - aside_; }
  // nullptr: none.
  Connection* front() const;
  const Order& order() const { return order_; }

 private:
  Order order_;
  size_t aside_ = 0;
};

// Owners whose earlier requests wait, so that a later request may not take what is theirs.
using Entitled = absl::InlinedVector<Owner, 4>;

class IdleSet {
 public:
  // Borrows `evictable`.
  explicit IdleSet(EvictionOrder& evictable) : evictable_(evictable) {}

  // Requires: connection.idle_since is set.
  void insert(Connection& connection, size_t min_idle);
  // Also of one that is set aside. Returns one that is kept from now on in the removed one's place,
  // or nullptr.
  Connection* remove(Connection& connection);
  void set_aside(Connection& connection);
  void take_back(Connection& connection, size_t min_idle);

  // The best of his own, and of nobody's, that none of `earlier` is entitled to, and that is
  // proven beyond `proven`. nullptr: none.
  Connection* best_own(Owner owner, IdleOrder order, const Entitled& earlier,
                       TimePoint proven = TimePoint::min()) const;
  Connection* best_nobodys(Owner owner, IdleOrder order, const Entitled& earlier,
                           TimePoint proven = TimePoint::min()) const;

  // Whether one of `whose` might be among those.
  static bool may_have(Owner owner, Owner whose, const Entitled& earlier);

  // How many they would find, one after another.
  size_t available(Owner owner, const Entitled& earlier) const;

  size_t kept() const { return kept_; }
  // Who has idle ones.
  size_t owners() const {
    const bool idle = recent_ == nullptr || !recent_->empty();
    return by_owner_.size() - (idle ? 0 : 1);
  }

 private:
  using OwnerList = List<Connection, &Connection::owner_link>;

  OwnerList& list_of(Owner owner);
  const OwnerList* find(Owner owner) const;
  void keep(Connection& connection);

  EvictionOrder& evictable_;
  OwnerList nobodys_;
  // An empty list is erased, but for the recent one: owners must not outlive their connections.
  absl::flat_hash_map<Owner, std::unique_ptr<OwnerList>> by_owner_;
  // The list that was asked for last: most often it is asked for next.
  Owner recent_owner_;
  OwnerList* recent_ = nullptr;
  size_t kept_ = 0;
  size_t kept_aside_ = 0;  // of them
};

}  // namespace berth::pool
