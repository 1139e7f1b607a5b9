// PoolDriver: carries out what the depot decides, on real sockets, and reports what came of it.
//
// Loop thread only. Owns the depot and every pooled socket. Each call passes one event to the
// depot and then carries out its actions, and those that follow from them, before it returns.
#pragma once

#include <absl/container/inlined_vector.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "broker/channels.h"
#include "broker/commands.h"
#include "broker/dialer.h"
#include "broker/dialogues.h"
#include "broker/farewells.h"
#include "broker/idle_watch.h"
#include "broker/lookups.h"
#include "broker/relays.h"
#include "broker/resolver.h"
#include "broker/upstreams.h"
#include "loop/loop.h"
#include "loop/timer.h"
#include "net/ktls.h"
#include "net/socket_state.h"
#include "pool/depot.h"
#include "wire/proxy_handshake.h"
#include "wire/step_run.h"
#include "wire/tls_source.h"

namespace berth::broker {

// Who receives what the depot grants and refuses: a session. The driver never ends it from within
// these calls.
class Recipient {
 public:
  // Takes the grant's descriptors, in the order of its leases. False if they cannot be taken now:
  // the recipient keeps a copy of the grant and calls PoolDriver::hand_over() again.
  virtual bool take(const pool::Grant& grant, std::span<const int> fds) = 0;
  virtual void refused(uint64_t request_id, const pool::Refusal& refusal) = 0;
  virtual void revoked(LeaseId lease, pool::Revoke::Cause cause) = 0;

  // --- of carried leases ---
  // The program's end, with its slot of the fd budget, for a lease that is about to be taken.
  // Nothing: the driver makes a pair of sockets, one of which is granted.
  virtual UniqueFd own_end() { return {}; }
  // There is no descriptor to be had for that: as if take() had answered false.
  virtual void put_off(const pool::Grant& grant) = 0;
  // Nobody holds the program's end any more. To be released, as before.
  virtual void program_gone(LeaseId) {}

 protected:
  ~Recipient() = default;
};

class PoolDriver {
 public:
  // `pin`: whether TCP sockets are pinned to their peers.
  PoolDriver(loop::Loop& loop, const pool::DepotSettings& settings, bool pin);
  ~PoolDriver();

  PoolId add_pool(pool::PoolPolicy policy, bool dynamic);
  // Rule 23; see Depot.
  bool reconfigure_pool(PoolId pool, pool::PoolPolicy policy);
  void remove_pool(PoolId pool);
  void set_total_max_idle(int most);
  void set_total_stream_buffer(size_t bytes) { channels_.set_most_held(bytes); }
  void set_user_limits(pool::UserLimits limits) { depot_.set_user_limits(limits); }
  // Makes room for one more dynamic pool. False if every one is in use.
  bool forget_empty_pool() { return depot_.forget_empty(loop_.now()); }

  // --- sessions ---
  // Borrows `recipient` until end_session().
  SessionId open_session(const pool::SessionInfo& info, Recipient& recipient);
  void end_session(SessionId session);
  void request(SessionId session, PoolId pool, const pool::Request& request);
  void cancel(SessionId session, uint64_t request_id);
  // False: no such lease of this session.
  bool release(SessionId session, LeaseId lease, Outcome outcome);
  // Checks the grant's connections and offers them to the recipient again.
  void hand_over(const pool::Grant& grant);

  // To be called before frames are read, and once those are dealt with. Whatever a session has
  // asked for in the frames of one moment, it had asked for before any inspection of that moment:
  // such a connection need not be looked at again before it is granted.
  void new_moment() { ++moment_; }

  // --- descriptors of others (rule 22) ---
  // Reserves slots, closing idle connections if need be. False: none to be had now.
  bool reserve_slots(uint32_t count);
  void release_slots(uint32_t count);
  // Whether reserve_slots() would succeed.
  bool could_reserve(uint32_t count) const { return depot_.could_reserve(count); }

  // --- the administrator ---
  pool::Depot::Renewed renew(PoolId pool);
  void set_intake(PoolId pool, pool::Intake intake);
  size_t evict(PoolId pool, size_t most);
  std::vector<pool::Depot::Expired> expire();
  std::optional<bool> close_on_release(LeaseId lease) { return depot_.close_on_release(lease); }
  // In two stages (DESIGN section 4, point 7). False: no such lease.
  bool revoke(LeaseId lease, pool::Revoke::Cause cause = pool::Revoke::Cause::administrator);
  // Who is told what happens in the pools, in order, after each event (pool/journal.h), and in
  // channels at the end of the turn; of grants, releases, refusals and connects only while
  // follow_all() is on.
  using Follower = std::function<void(const pool::Event&)>;
  void follow(Follower follower) { follower_ = std::move(follower); }
  void follow_all(bool all) {
    depot_.journal().listen(all);
    channels_.listen(all);
  }

  // --- the end ---
  // Ends leases after `timeout`; `done` is called once nothing is left. Again: at once.
  void shut_down(Duration timeout, std::function<void()> done);
  // Closes that failed since start.
  uint64_t failed_closes() const { return failed_closes_; }

  const pool::Depot& depot() const { return depot_; }
  const channel::Hub& channels() const { return channels_.hub(); }

  // To be called at the end of each turn, before sessions and clients that are over are ended.
  void end_channels() { channels_.end_turn(); }

  // To be called at the end of each turn: sets the timer to the next deadline. Programs that wait
  // for their turn start in the next one.
  void end_turn() {
    commands_.end_turn();
    channels_.end_turn();
    publish_channels();
    if (const uint32_t slots = relays_.take_freed_slots(); slots > 0) release_slots(slots);
    timer_.arm(depot_.next_deadline());
  }

 private:
  // How soon unsent bytes are looked at again: doubling, since most are gone within a round trip.
  static constexpr Duration kFirstWait = std::chrono::milliseconds(1);
  // A connection whose last bytes the kernel has still to send, before it can be judged.
  struct Settling {
    ConnectionId id;
    Duration wait;
  };
  struct Attached {
    SessionId session;
    Recipient* recipient = nullptr;
  };
  // A revoked connection that is shut down: its peers are reset in the end.
  struct Revoked {
    std::unique_ptr<Upstream> upstream;
    TimePoint reset_at;
  };
  using Fds = absl::InlinedVector<int, 4>;
  // Of a carried lease.
  struct Ends {
    UniqueFd program;  // where bytes are carried from and to
    UniqueFd granted;  // what the session gets; invalid: it has its end already
  };

  void pump();
  void carry_out(const pool::Dial& action);
  void carry_out(const pool::Perform& action);
  void carry_out(const pool::Grant& action) { hand_over(action); }
  void carry_out(const pool::Refuse& action);
  void carry_out(const pool::Close& action);
  void carry_out(const pool::Revoke& action);

  void try_hand_over(const pool::Grant& grant);
  bool all_live(const pool::Grant& grant) const;
  void hand_over_direct(const pool::Grant& grant, Recipient& to);

  // driver_carried.cc
  void hand_over_carried(const pool::Grant& grant, Recipient& to);
  void hand_over_channel(const pool::Grant& grant, Recipient& to);
  bool make_ends(const pool::Grant& grant, Recipient& to, std::vector<Ends>& ends);
  // What the program's end was like; `clean` if nothing was carried.
  pool::Condition end_relay(ConnectionId id);
  // What it had said is still to be sent on.
  pool::Condition discard(ConnectionId id);
  void program_gone(ConnectionId id);

  void address_gone(ConnectionId id);
  void dialed(ConnectionId id, absl::StatusOr<Dialed> result);
  void dial_failed(ConnectionId id, const std::string& error);

  // driver_steps.cc
  // What a pool's policy says of its servers, compiled; nullptr: nothing.
  struct Programs {
    PoolId pool;
    std::shared_ptr<const net::DialOptions> options;
    std::shared_ptr<const net::DialOptions> unpinned;  // for a proxy; dialed() pins it for good
    std::shared_ptr<const wire::ProxyAccess> proxy;
    std::shared_ptr<wire::TlsSource> tls;
    std::shared_ptr<const std::vector<Stage>> opening;
    std::optional<Stage> relogin;
    std::shared_ptr<const wire::StepProgram> reset, check;
  };
  void compile(PoolId id);
  const Programs& programs_of(PoolId id) const { return programs_[id.index()]; }
  // nullptr: there are no bytes to be exchanged.
  std::shared_ptr<wire::Exchange> exchange_of(const pool::Connection& connection,
                                              const Stage& stage);
  // Returns whether there are some, or a program for it.
  bool begin(ConnectionId id, const Stage& stage);
  // The next stage of a new connection; ready if there is none.
  void open(ConnectionId id);
  bool run_login(ConnectionId id, Talk talk);
  std::string flaw_after_login(ConnectionId id);
  Commands::Job job(const pool::Connection& connection, const Command& command) const;
  void talked(ConnectionId id, Talk talk, const std::string& why);
  void ready(ConnectionId id);
  void failed(ConnectionId id, Talk talk, const std::string& why);

  // driver_tls.cc
  const net::KtlsSupport& ktls();
  std::shared_ptr<wire::TlsSource> tls_of(const pool::PoolPolicy& policy,
                                          std::shared_ptr<wire::TlsSource> former);
  std::shared_ptr<wire::Exchange> begin_handshake(const pool::Connection& connection);
  absl::Status begin_records(ConnectionId id);
  void tell_of_files(ConnectionId id);
  absl::StatusOr<bool> give_to_kernel(Upstream& upstream, const wire::TlsEngine& engine);
  std::string why_not_kernels(const wire::TlsEngine& engine);
  bool take_leave(Upstream& upstream);
  pool::Condition inspect_records(ConnectionId id, Upstream& upstream);

  // driver_sockets.cc
  pool::Condition inspect(ConnectionId id);
  void look_after(ConnectionId id, Duration next_wait = kFirstWait);
  void inspect_settling();
  void stirred(ConnectionId id);
  std::optional<CloseReason> prepare(Upstream& upstream, const pool::Granted& granted,
                                     bool may_hold_greeting, net::Heir heir);
  std::unique_ptr<Upstream> take_upstream(ConnectionId id);
  void close_upstream(std::unique_ptr<Upstream> upstream, const char* key);
  void let_go(std::unique_ptr<Upstream> upstream, const char* key);
  void note_close(const absl::Status& closed, const char* key);
  bool keep_for_reset(std::unique_ptr<Upstream>& upstream);
  void reset_revoked();
  void publish();
  void publish_channels();
  void warn_of(const pool::Event& event);
  Recipient* recipient(SessionId id) const;
  const Proxy* proxy_of(ConnectionId id) const;
  const char* key_of(ConnectionId id) const;

  loop::Loop& loop_;
  const bool pin_;
  pool::Depot depot_;
  pool::Actions actions_;   // decided
  pool::Actions carrying_;  // being carried out
  bool pumping_ = false;
  Upstreams upstreams_;
  Lookups lookups_;
  Resolver resolver_;
  Dialer dialer_;
  std::vector<Programs> programs_;  // by the index of their pools' ids
  Dialogues dialogues_;
  Commands commands_;
  IdleWatch idle_watch_;
  Relays relays_;
  Channels channels_;
  loop::Timer timer_;
  std::vector<Settling> settling_;
  loop::Timer settling_timer_;
  std::vector<Attached> recipients_;  // by the index of their sessions' ids
  std::function<void()> drained_;
  std::deque<Revoked> revoked_;
  loop::Timer revoked_timer_;
  Farewells farewells_;
  Follower follower_;
  std::vector<pool::Event> events_;       // being published
  std::optional<net::KtlsSupport> ktls_;  // once a pool has asked for TLS
  uint64_t failed_closes_ = 0;
  uint64_t moment_ = 1;
};

}  // namespace berth::broker
