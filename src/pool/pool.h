// Pool: the policy of one key's connections: states, idle order, waiters, dials, ages.
//
// Pure: events in, actions out, `now` a parameter. Depot owns it, finds it, and has already decided
// rule A (may this session?). The one gate of the connection's states is move_to().
#pragma once

#include <absl/container/btree_set.h>

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/limits.h"
#include "base/random.h"
#include "pool/actions.h"
#include "pool/deadlines.h"
#include "pool/endpoints.h"
#include "pool/fd_budget.h"
#include "pool/forecast.h"
#include "pool/idle_set.h"
#include "pool/intake.h"
#include "pool/journal.h"
#include "pool/policy.h"
#include "pool/records.h"
#include "pool/slot_queue.h"

namespace berth::pool {

// What all pools of a depot share. Owned by the depot.
struct Shared {
  Shared(uint32_t fd_limit, uint64_t seed) : budget(fd_limit), random(seed) {}

  FdBudget budget;
  Random random;
  Deadlines deadlines;
  SlotQueue slots;
  EvictionOrder evictable;
  Slab<ConnectionId, Connection> connections;
  Slab<LeaseId, Lease> leases;
  Slab<WaiterId, Waiter> waiters;
  uint64_t arrivals = 0;
  absl::btree_set<PoolId> hungry;                    // pools that lack slots for their min_idle
  absl::btree_set<PoolId> lifted;                    // pools to wake: a backoff was lifted
  List<Waiter, &Waiter::collector_link> collectors;  // by arrival; at most one of each pool
  size_t idle = 0;                                   // connections in State::idle
  Journal journal;
  size_t closing = 0;  // connections in State::closing: slots that come back soon
};

struct Request {
  uint64_t request_id = 0;
  uint32_t count = 1;
  Duration timeout{};   // 0: takes what is idle, or is refused at once
  bool detach = false;  // for good: the connection is to leave the pool with the grant
};

// Whether berthd carries the bytes of such a session's leases.
bool is_carried(const SessionInfo& info, const PoolPolicy& policy);

class Pool {
 public:
  // Borrows `shared`.
  Pool(PoolId id, PoolPolicy policy, Shared& shared);
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  // --- events ---
  // Brings up min_idle.
  void open(TimePoint now, Actions& actions);
  void request(TimePoint now, Session& session, const Request& request, Actions& actions);
  // A request that is not let in.
  void turn_away(TimePoint now, SessionId session, uint64_t request_id, Refusal refusal,
                 Actions& actions);
  // The client withdraws its request: it is refused with CANCELLED.
  void cancel(TimePoint now, Waiter& waiter, Actions& actions);
  // The request's session has ended: it goes unanswered. Serves nobody; wake() does.
  void abandon(TimePoint now, Waiter& waiter) { dequeue(now, waiter); }
  void release(TimePoint now, Lease& lease, Condition condition, Actions& actions);
  // The session has ended, the lease is revoked, or its holder has the connection for good: it is
  // closed whatever its state.
  void end_lease(TimePoint now, Lease& lease, CloseReason reason, Actions& actions);
  // Grants of one message that could not be handed over. `failed` is the connection at fault. The
  // request waits again, in its old place, unless it is `barred` from this pool by now.
  void take_back(TimePoint now, const Grant& grant, Session& session, std::optional<Refusal> barred,
                 ConnectionId failed, CloseReason reason, Actions& actions);
  void dialed(TimePoint now, Connection& connection, Actions& actions);
  void dial_failed(TimePoint now, Connection& connection, std::string_view error, Actions& actions);
  // Its unsent bytes have left, or it was found dirty.
  void inspected(TimePoint now, Connection& connection, bool clean, Actions& actions);
  // Its steps were gone through, but for a fault. (pool_steps.cc)
  void performed(TimePoint now, Connection& connection, std::optional<CloseReason> fault,
                 std::string_view text, Actions& actions);
  // An idle or collected connection has become unusable.
  void lost(TimePoint now, Connection& connection, CloseReason reason, Actions& actions);
  // Its address is no longer one of its endpoint's: closed at once if idle, else when it comes
  // back.
  void address_gone(TimePoint now, Connection& connection, Actions& actions);
  void closed(TimePoint now, Connection& connection, Actions& actions);
  // Closes the idle connection for the good of another pool.
  void evict(TimePoint now, Connection& connection, CloseReason reason, Actions& actions);
  // Closes one that a batch has collected for the good of an earlier request of another pool.
  void yield(TimePoint now, Waiter& batch, Actions& actions);
  // A slot has come free, or requests were abandoned.
  void wake(TimePoint now, Actions& actions) { settle(now, actions); }
  // Refuses and closes all but the leases.
  void stop(TimePoint now, Actions& actions);

  // --- reload (pool_reload.cc, rule 23) ---
  // The settings change; the key does not. Other endpoints, or another `share`, renew the pool.
  // Returns whether they did.
  bool reconfigure(TimePoint now, PoolPolicy policy, Actions& actions);
  // It has left the configuration: refuses and closes all but the leases.
  void remove(TimePoint now, Actions& actions);
  // Who waits, but may not any more.
  void turn_out(TimePoint now, Waiter& waiter, Refusal refusal, Actions& actions);
  bool removed() const { return ending_ == CloseReason::removed; }

  // --- the administrator (pool_admin.cc) ---
  // Disabled: those who wait are refused too.
  void set_intake(TimePoint now, Intake intake, Actions& actions);
  // These three return how many they closed at once.
  size_t renew(TimePoint now, Actions& actions);
  // At most so many, idle longest first; those kept for min_idle too.
  size_t evict_idle(TimePoint now, size_t most, Actions& actions);
  // One tick: what was idle at the last one and ever since is closed, but none that is kept.
  size_t expire(TimePoint now, Actions& actions);
  // As renew() does to all: its connection is closed when it comes back. False: it would be anyway.
  bool close_on_release(Lease& lease);
  void revoke(TimePoint now, Lease& lease, Revoke::Cause cause, Actions& actions);
  void revoke_all(TimePoint now, Revoke::Cause cause, Actions& actions);

  // --- deadlines ---
  void connection_due(TimePoint now, Connection& connection, Actions& actions);
  void waiter_due(TimePoint now, Waiter& waiter, Actions& actions);
  void lease_due(TimePoint now, Lease& lease, Actions& actions);
  void due(TimePoint now, Actions& actions) { settle(now, actions); }

  // --- what is ---
  PoolId id() const { return id_; }
  const PoolPolicy& policy() const { return policy_; }
  size_t total() const { return total_; }
  size_t count(State state) const { return list(state).size(); }
  size_t waiting() const { return waiters_.size(); }
  size_t missing() const { return missing_; }
  size_t kept() const { return idle_.kept(); }
  Intake intake() const { return intake_; }
  const Counters& counters() const { return counters_; }
  const Endpoints& endpoints() const { return endpoints_; }
  bool wants_slot() const { return slot_arrival_ != 0; }
  // Nothing to remember: no connection, no waiter, no failure that still counts.
  bool empty(TimePoint now) const;
  // The arrival of the last request.
  uint64_t last_arrival() const { return last_arrival_; }
  Why why(TimePoint now) const;
  // Rule A aside. (pool_forecast.cc)
  Forecast forecast(TimePoint now, const SessionInfo& info) const;
  Owner owner_for(const SessionInfo& info) const;

  using StateList = List<Connection, &Connection::state_link>;
  using WaiterQueue = List<Waiter, &Waiter::queue_link>;
  const StateList& list(State state) const { return by_state_[static_cast<size_t>(state)]; }
  const WaiterQueue& waiters() const { return waiters_; }

 private:
  // One pass over the waiters, in the order of arrival (pool_serve.cc).
  struct Pass {
    // Claims up to `most` of what is being reset or checked for one who may have it.
    uint32_t claim(Owner owner, uint32_t most);

    absl::InlinedVector<std::pair<Owner, uint32_t>, 4> coming;  // not yet claimed
    size_t dials_left = 0;   // connecting, not yet counted for a waiter
    size_t closes_left = 0;  // closing, not yet counted for a waiter
    bool may_dial = true;    // false once one could not: a later one may not overtake
    bool batch_waits = false;
    bool again = false;  // what has come free, or is on its way now, may suit an earlier one
    Entitled earlier;    // owners of batches that wait behind the oldest batch
  };

  StateList& list(State state) { return by_state_[static_cast<size_t>(state)]; }

  // pool.cc
  // `task`: of State::resetting.
  void move_to(TimePoint now, Connection& connection, State state, Task task = Task::inspect);
  void leave_state(Connection& connection, bool stays_at_rest = false);
  void enter_state(Connection& connection, bool was_at_rest = false);
  TimePoint due_at(const Connection& connection) const;
  TimePoint idle_until(const Connection& connection) const;
  void close(TimePoint now, Connection& connection, CloseReason reason, Actions& actions,
             std::string_view text = {});
  void forget(Connection& connection);
  void note_failure(TimePoint now, const Connection& connection, std::string_view error);
  bool used_up(const Connection& connection) const {
    const uint64_t most = policy_.warm == Warm::single_use ? 1 : policy_.max_uses;
    return most != 0 && connection.uses >= most;
  }
  void learn(TimePoint now, uint32_t endpoint, Duration quiet);
  std::optional<CloseReason> unfit(TimePoint now, const Connection& connection) const;
  void close_all(TimePoint now, State state, CloseReason reason, Actions& actions);

  // pool_slots.cc
  void lend_slots(TimePoint now, Actions& actions);
  bool lend(TimePoint now, Waiter& waiter, Actions& actions);
  bool has_places(size_t count) const;
  Forecast forecast_slot() const;

  // pool_steps.cc
  void take_in(TimePoint now, Connection& connection, Actions& actions);
  void put_to_rest(TimePoint now, Connection& connection, Actions& actions);
  void used(TimePoint now, Connection& connection);
  void proven(TimePoint now, Connection& connection);
  void plan_check(Connection& connection);
  bool needs_check(TimePoint now, const Connection& connection) const {
    return now >= connection.proven_until && !policy_.check.empty();
  }
  void perform(TimePoint now, Connection& connection, Task task, Actions& actions);
  void check_all(TimePoint quiet_before, TimePoint now, uint32_t endpoint, Actions& actions);
  static CloseReason overdue(const Connection& connection);
  std::string overdue_dial(const Connection& connection) const;
  void note_coming(Pass& pass) const;
  void end_steps(TimePoint now, CloseReason reason, Actions& actions);

  // pool_serve.cc
  void settle(TimePoint now, Actions& actions);
  void meet_needs(TimePoint now, Actions& actions);
  // Returns how many dials are under way that no waiter needs.
  size_t serve(TimePoint now, Actions& actions);
  Pass serve_all(TimePoint now, Actions& actions);
  void serve_one(TimePoint now, Waiter& waiter, Pass& pass, Actions& actions);
  // Returns for how many of those that he lacks others are being reset or checked.
  uint32_t collect_idle(TimePoint now, Waiter& waiter, Pass& pass, Actions& actions);
  void close_aged(TimePoint now, Waiter& waiter, Actions& actions);
  void find_capacity(TimePoint now, const Waiter& waiter, uint32_t lacking, Pass& pass,
                     Actions& actions);
  bool make_place(TimePoint now, const Waiter& waiter, Pass& pass, Actions& actions);
  void limit_idle(TimePoint now, Actions& actions);
  void refill(TimePoint now, size_t spare_dials, Actions& actions);
  void start_dial(TimePoint now, uint32_t endpoint, Actions& actions);
  void seek_better(TimePoint now, Actions& actions);
  void return_to(TimePoint now, uint32_t endpoint, Actions& actions);
  Connection& add(TimePoint now, State state, uint32_t endpoint);
  void plan_retry(TimePoint now);
  std::optional<uint32_t> next_endpoint(TimePoint now) const {
    return endpoints_.next(now, policy_.balance);
  }
  bool can_dial(TimePoint now) const { return next_endpoint(now).has_value(); }
  // Whatever is dialled has failed last.
  bool probing() const { return !endpoints_.any_healthy(); }
  bool at_max() const;
  bool beyond_max() const;  // after a reload
  void want_slot(uint64_t arrival, uint32_t need = 1);
  bool refuses_at_once(TimePoint now) const;

  // pool_reload.cc
  std::string gone_text() const;
  std::string too_many_text(uint32_t count) const;
  void end(TimePoint now, CloseReason reason, Code code, Actions& actions);
  void close_used_up(TimePoint now, Actions& actions);
  void file_anew();
  void turn_out_the_impossible(TimePoint now, Actions& actions);
  void close_excess(TimePoint now, Actions& actions);

  // pool_admin.cc
  void watch_lease(Lease& lease);
  void note(TimePoint now, EventKind kind, uint64_t detail = 0, std::string_view text = {});
  void note_connection(TimePoint now, EventKind kind, const Connection& connection,
                       uint64_t detail = 0, std::string_view text = {});
  void note_lease(TimePoint now, EventKind kind, const Lease& lease, uint64_t detail = 0);
  void note_refusal(TimePoint now, SessionId session, Code code);
  void keep(Event event);
  void count_event(EventKind kind, uint64_t detail);

  // pool_forecast.cc
  const Connection* idle_for(TimePoint now, Owner owner, const Entitled& earlier) const;
  Pass pass_over_waiters(TimePoint now) const;
  Forecast forecast_capacity(TimePoint now, const Pass& pass) const;
  Forecast forecast_budget(Step step, bool may_take) const;

  // pool_grant.cc
  bool exceeds_max(uint32_t count) const {
    return policy_.max_connections != kUnlimited &&
           count > static_cast<uint32_t>(policy_.max_connections);
  }
  bool never_to_be_had(uint32_t count) const;
  std::optional<Refusal> refusal_to_wait(uint32_t count) const;
  std::optional<Refusal> refusal_at_once(TimePoint now, uint32_t count) const;
  bool grant_at_once(TimePoint now, Session& session, const Ticket& ticket, Actions& actions);
  Waiter& enqueue(Session& session, const Ticket& ticket, uint32_t count);
  void serve_new(TimePoint now, Waiter& waiter, Actions& actions);
  Connection* pick_idle(TimePoint now, Owner owner, const Entitled& earlier) const;
  Connection* best_idle(TimePoint now, Owner owner, const Entitled& earlier, Actions& actions);
  void collect(TimePoint now, Connection& connection, Waiter& waiter);
  // The caller moves the connection on.
  void uncollect(Connection& connection, Waiter& waiter);
  void put_back(TimePoint now, Waiter& waiter);
  void set_collecting(Waiter* waiter);
  void grant(TimePoint now, Waiter& waiter, Actions& actions);
  Granted make_lease(TimePoint now, Session& session, Owner owner, Connection& connection);
  // Takes the waiter out of every container; what it had collected is idle again.
  void dequeue(TimePoint now, Waiter& waiter);
  void refuse(TimePoint now, Waiter& waiter, Code code, Actions& actions);
  void refuse_all(TimePoint now, Code code, Actions& actions);
  void drop_lease(Lease& lease);
  static void undo_use(Connection& connection, const Granted& granted);

  const PoolId id_;
  PoolPolicy policy_;
  Shared& shared_;
  Endpoints endpoints_;
  std::array<StateList, kStates> by_state_;
  IdleSet idle_;
  WaiterQueue waiters_;
  Waiter* collecting_ = nullptr;  // the batch that holds collected ones, if one does
  Deadline deadline_;             // the next try after a backoff
  size_t total_ = 0;              // every connection until it is closed
  size_t missing_ = 0;            // connections that the waiters lack
  uint64_t epoch_ = 0;            // renew
  uint64_t slot_arrival_ = 0;     // not 0: in shared_.slots under this arrival
  uint64_t last_arrival_ = 0;
  Intake intake_ = Intake::open;
  Counters counters_;
  std::optional<CloseReason> ending_;  // shutdown or removed: nothing is granted any more
};

}  // namespace berth::pool
