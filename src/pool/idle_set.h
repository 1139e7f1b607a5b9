// IdleSet: the idle connections of one pool, found by who may have them.
//
// Each idle connection stands in the list of its owner (nobody's, if it was never granted), longest
// idle first. Up to min_idle of nobody's are kept: neither evicted nor idled out (rules 5, 7, F).
// All others also stand in the depot's list of what may be evicted.
#pragma once

#include <absl/container/flat_hash_map.h>
#include <absl/container/inlined_vector.h>

#include <memory>
#include <utility>

#include "pool/policy.h"
#include "pool/records.h"

namespace berth::pool {

// Over all pools, idle longest first.
using EvictionOrder = List<Connection, &Connection::age_link>;

// Owners whose earlier requests wait, so that a later request may not take what is theirs.
using Entitled = absl::InlinedVector<Owner, 4>;

class IdleSet {
 public:
  // Borrows `evictable`.
  explicit IdleSet(EvictionOrder& evictable) : evictable_(evictable) {}

  // Requires: connection.idle_since is set.
  void insert(Connection& connection, size_t min_idle);
  // Returns one that is kept from now on in the removed one's place, or nullptr.
  Connection* remove(Connection& connection);

  // The best connection for `owner` that none of `earlier` is entitled to: his own first, then
  // nobody's, so that the ready reserve lasts. nullptr if there is none.
  Connection* best(Owner owner, IdleOrder order, const Entitled& earlier) const;

  // How many best() would find, one after another.
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
};

}  // namespace berth::pool
