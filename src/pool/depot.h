// Depot: all stream pools of the daemon, and what they compete for: the fd budget and the bound on
// idle connections.
//
// Loop thread only; pure: events in, actions out, no callbacks, no clock, no sockets. After each
// event the driver carries out the actions in order, then arms one timer with next_deadline() and
// calls advance() when it fires. An event that names a connection, lease or session which has
// ended meanwhile has no effect.
#pragma once

#include <absl/container/flat_hash_map.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/string_hash.h"
#include "pool/pool.h"

namespace berth::pool {

// Of one uid, over all its sessions (rule 21); 0 unlimited.
struct UserLimits {
  int leases = kUnlimited;
  int waiters = kUnlimited;
};

struct DepotSettings {
  uint32_t fd_limit = 1024;  // rlimit less the reserve
  int total_max_idle = kUnlimited;
  UserLimits user_limits = {};
  uint64_t seed = 1;  // of all jitter
};

class Depot {
 public:
  explicit Depot(DepotSettings settings);
  ~Depot();

  // --- pools ---
  // `policy.key` must be new.
  PoolId add_pool(TimePoint now, PoolPolicy policy, Actions& actions);
  // A pool that came from a dynamic key goes once it has been empty for a while, or when another
  // needs its place; see forget_empty().
  PoolId add_dynamic_pool(TimePoint now, PoolPolicy policy, Actions& actions);
  // Removes one empty dynamic pool. False if there is none.
  bool forget_empty(TimePoint now);
  size_t dynamic_pools() const { return dynamic_.size(); }
  template <class Visit>
  void for_each_dynamic_pool(Visit&& visit) const {
    for (const DynamicPool& pool : dynamic_) visit(*pools_[pool.id]);
  }
  std::optional<PoolId> find_pool(std::string_view key) const;
  // Rule 23. The key stays; who may not wait any more is refused. Returns whether the pool was
  // renewed.
  bool reconfigure_pool(TimePoint now, PoolId pool, PoolPolicy policy, Actions& actions);
  // Its key is free from now on; it goes once its last lease has come back.
  void remove_pool(TimePoint now, PoolId pool, Actions& actions);
  void set_total_max_idle(TimePoint now, int most, Actions& actions);
  // What is held or waits already may stay.
  void set_user_limits(UserLimits limits) { settings_.user_limits = limits; }
  const Pool& pool(PoolId id) const { return *pools_[id]; }
  // nullptr: it has gone.
  const Pool* try_pool(PoolId id) const {
    const std::unique_ptr<Pool>* found = pools_.find(id);
    return found != nullptr ? found->get() : nullptr;
  }
  // Rule A: why such a session may not lease of such a pool.
  static std::optional<Refusal> refusal_of_access(const SessionInfo& info,
                                                  const PoolPolicy& policy);
  // What a request of such a session would come to.
  Forecast forecast(TimePoint now, const SessionInfo& info, PoolId pool) const;
  // Sorted keys that this session may lease.
  std::vector<std::string_view> keys(SessionId session) const;

  // --- sessions and their requests ---
  SessionId open_session(const SessionInfo& info);
  // Withdraws its requests and discards its leases (rule 14).
  void end_session(TimePoint now, SessionId session, Actions& actions);
  // Exactly one Grant or Refuse answers, unless the session ends first. `request.request_id` must
  // not be one that waits.
  void request(TimePoint now, SessionId session, PoolId pool, const Request& request,
               Actions& actions);
  // A request that waits is refused with CANCELLED; one that was answered is not affected.
  void cancel(TimePoint now, SessionId session, uint64_t request_id, Actions& actions);
  // nullptr: no such lease of this session (rule 13).
  const Lease* lease_of(SessionId session, LeaseId lease) const;
  // False: no such lease of this session, and no other effect.
  bool release(TimePoint now, SessionId session, LeaseId lease, Condition condition,
               Actions& actions);
  // Whether a request of this id waits.
  bool waits(SessionId session, uint64_t request_id) const;

  // --- what came of actions ---
  void take_back(TimePoint now, const Grant& grant, ConnectionId failed, CloseReason reason,
                 Actions& actions);
  // Of a Grant whose ticket says so: it has arrived. Its leases are over, and nothing that befalls
  // the session concerns its connections any more.
  void detached(TimePoint now, const Grant& grant, Actions& actions);
  // Before dialed(): its leases are carried, whoever holds them.
  void carry(ConnectionId connection);
  void dialed(TimePoint now, ConnectionId connection, Actions& actions);
  void dial_failed(TimePoint now, ConnectionId connection, std::string_view error,
                   Actions& actions);
  // Of one that came back `unsent`: its bytes have left, or it was found dirty.
  void inspected(TimePoint now, ConnectionId connection, bool clean, Actions& actions);
  // Of Perform: the steps were gone through, but for a fault, `text` in words.
  void performed(TimePoint now, ConnectionId connection, std::optional<CloseReason> fault,
                 std::string_view text, Actions& actions);
  void lost(TimePoint now, ConnectionId connection, CloseReason reason, Actions& actions);
  // Its address is no longer one of its endpoint's (rule 20).
  void address_gone(TimePoint now, ConnectionId connection, Actions& actions);
  void closed(TimePoint now, ConnectionId connection, Actions& actions);

  // --- the administrator ---
  struct Renewed {
    size_t closed = 0;  // idle ones, now
    size_t marked = 0;  // leased ones, at release
  };
  Renewed renew(TimePoint now, PoolId pool, Actions& actions);
  // Rule 17. Nothing comes of it if that is how the pool is.
  void set_intake(TimePoint now, PoolId pool, Intake intake, Actions& actions);
  // Closes up to `most` idle connections; returns how many.
  size_t evict(TimePoint now, PoolId pool, size_t most, Actions& actions);
  struct Expired {
    PoolId pool;
    size_t closed;
  };
  // One tick over all pools (rule 16). Tells only of pools that closed some.
  std::vector<Expired> expire(TimePoint now, Actions& actions);
  // Its connection is closed when it comes back (rule 15). False: it would be anyway. Nothing: no
  // such lease.
  std::optional<bool> close_on_release(LeaseId lease);
  // False: no such lease.
  bool revoke(TimePoint now, LeaseId lease, Actions& actions,
              Revoke::Cause cause = Revoke::Cause::administrator);
  // Grants no more; leases still out after `timeout` are revoked (rule 19). Again: revokes at once.
  void shut_down(TimePoint now, Duration timeout, Actions& actions);
  bool stopping() const { return stopping_; }
  // After shut_down: nothing is left.
  bool drained() const { return stopping_ && shared_.connections.size() == 0; }

  // --- descriptors of others ---
  // The budget, for those who open descriptors beside the pools; give back with release_slots().
  bool reserve_slots(uint32_t count);
  // Whether they are free, or would be once idle connections are closed.
  bool could_reserve(uint32_t count) const {
    return shared_.slots.empty() && shared_.budget.free() + shared_.evictable.size() >= count;
  }
  void release_slots(TimePoint now, uint32_t count, Actions& actions);
  // Closes idle connections so that `count` slots may come free. False if there are none to close.
  bool make_room(TimePoint now, uint32_t count, Actions& actions);
  const FdBudget& budget() const { return shared_.budget; }

  // --- the journal ---
  Journal& journal() { return shared_.journal; }

  // --- time ---
  TimePoint next_deadline() const { return shared_.deadlines.next(); }
  void advance(TimePoint now, Actions& actions);

  // --- what is ---
  // nullptr: nobody of this uid is connected.
  const User* user(uint32_t uid) const {
    const auto at = users_.find(uid);
    return at != users_.end() ? at->second.get() : nullptr;
  }
  const Session* session(SessionId id) const { return sessions_.find(id); }
  const Connection* connection(ConnectionId id) const { return shared_.connections.find(id); }
  const Lease* lease(LeaseId id) const { return shared_.leases.find(id); }
  const Shared& shared() const { return shared_; }
  template <class Visit>
  void for_each_pool(Visit&& visit) const {
    pools_.for_each([&](PoolId, const std::unique_ptr<Pool>& pool) { visit(*pool); });
  }

 private:
  Pool& pool_of(const Connection& connection) { return *pools_[connection.pool]; }
  // Access, and what a lease of such a pool cannot be.
  static std::optional<Refusal> refusal_of_kind(const SessionInfo& info, const PoolPolicy& policy,
                                                bool detach);
  std::optional<Refusal> refusal_of_amount(const Session& session, uint32_t count) const;
  Waiter* waiting(SessionId session, uint64_t request_id) const;
  // After each event: slots to those who wait for them, evictions, total_max_idle.
  void settle(TimePoint now, Actions& actions);
  void forget_removed();
  // Takes it out of everything but dynamic_.
  void forget(PoolId id);
  void forget_unused(TimePoint now);
  bool settle_one(TimePoint now, Actions& actions);
  void evict_oldest(TimePoint now, CloseReason reason, Actions& actions);
  bool yield_latest(TimePoint now, Actions& actions);
  void revoke_all(TimePoint now, Actions& actions);
  void dispatch(TimePoint now, Deadline& due, Actions& actions);

  DepotSettings settings_;
  Shared shared_;
  Slab<SessionId, Session> sessions_;
  absl::flat_hash_map<uint32_t, std::unique_ptr<User>> users_;  // by uid
  Slab<PoolId, std::unique_ptr<Pool>> pools_;
  absl::flat_hash_map<std::string, PoolId, StringHash, std::equal_to<>> by_key_;
  struct DynamicPool {
    PoolId id;
    std::optional<uint64_t> empty_after;  // the arrival after which it was found empty
  };
  std::vector<DynamicPool> dynamic_;
  Deadline sweep_;               // of dynamic_; set while there are any
  std::vector<PoolId> removed_;  // their last leases are still out
  Deadline drain_;
  bool stopping_ = false;
};

}  // namespace berth::pool
