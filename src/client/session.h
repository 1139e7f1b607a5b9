// Session: one connection to berthd, shared by the threads of the process that opened it.
//
// Any thread. Owns the session's socket, the requests under way, the leases and the events that
// nobody has fetched yet. Callers that wait share one reader: the first of them receives for all
// and hands each its answer; when it has its own, another takes over. Sending needs no lock (a
// SEQPACKET send is atomic), so a thread that waits never blocks one that releases.
//
// Every call reports its failure as a value. std::bad_alloc alone may escape, and leaves the
// session usable or ended, never half changed.
#pragma once

#include <sys/types.h>

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "base/list.h"
#include "base/unique_fd.h"
#include "berth/berth.h"
#include "failure.h"
#include "packet.h"
#include "wire/session_frames.h"

namespace berth::client {

// As the caller knows it: what is detached is no lease.
inline uint64_t number_of(const wire::GrantedLease& lease) {
  return lease.detached ? 0 : lease.lease_id;
}

// What happened, for berth_next_event(). Owns the descriptors until they are fetched.
struct Event {
  berth_event_kind kind = BERTH_EVENT_CLOSED;
  uint64_t request_id = 0;
  uint64_t lease_id = 0;
  std::optional<Failure> failure;
  std::vector<wire::GrantedLease> leases;
  std::vector<UniqueFd> fds;
};

class Session {
 public:
  using Result = std::optional<Failure>;  // nothing: it went well

  static std::variant<std::unique_ptr<Session>, Failure> open(const char* path,
                                                              std::string_view name);
  Session(UniqueFd socket, wire::Welcome welcome, Packet packet);
  ~Session();
  // Ends the session in the process that opened it; in any other it only closes that process's
  // copy of the socket.
  static void close(Session* session);

  int fd() const { return socket_.get(); }
  uint64_t id() const { return welcome_.session_id; }

  // Waiting calls. `request.request_id` is set here; `out` has room for `request.count` grants.
  Result lease(wire::LeaseRequest request, berth_grant* out);
  std::variant<wire::KeyList, Failure> keys(std::string_view after);

  // Closes the grant's descriptor and sends the release; clears the grant.
  Result release(berth_grant& grant, wire::Outcome outcome);

  // Calls that do not wait. Each gives its request id.
  std::variant<uint64_t, Failure> submit(wire::LeaseRequest request);
  std::variant<uint64_t, Failure> submit_release(berth_grant& grant, wire::Outcome outcome);
  Result cancel(uint64_t request_id);
  // std::nullopt: none now.
  std::variant<std::optional<Event>, Failure> next_event();

 private:
  using Lock = std::unique_lock<std::mutex>;

  // A caller that waits; lives on its stack.
  struct Call {
    berth_grant* grants = nullptr;
    wire::KeyList* keys = nullptr;
    bool answered = false;
    Result failure;
    std::condition_variable wake;
    ListLink<Call> link;
  };
  enum class Form { waited, submitted, submitted_release, abandoned };
  struct Request {
    Form form = Form::abandoned;
    uint32_t count = 0;    // connections it asks for
    bool detach = false;   // for good
    Call* call = nullptr;  // of a waited one, until its answer
  };
  struct Lease {
    Result revoked;
  };
  // A request on its way out: the id it asks under, and its frame.
  struct Asked {
    uint64_t id = 0;
    std::string frame;
  };

  // session.cc: what callers do.
  Result refuse_other_process() const;
  template <class Message>
  Asked ask(Message message, Request request);
  Result transact(Lock& lock, const Asked& asked, Call& call, Deadline deadline);
  Result give_up(Lock& lock, uint64_t id, Call& call);
  std::variant<uint64_t, Failure> send_at_once(const Asked& asked);
  std::optional<Lease> take_lease(uint64_t id);
  Result after_failed_release(int error);
  std::optional<Event> take_event();

  // dispatch.cc: reading, and what arrives. The lock is held, but not while waiting.
  bool await(Lock& lock, Call& call, Deadline deadline);
  Arrival read_once(Lock& lock, Deadline deadline);
  void pass_on_reading();
  void accept(Arrival arrival);
  void on(const wire::Welcome& welcome);
  void on(const wire::Goodbye& goodbye);
  void on(const wire::Grant& grant);
  void on(wire::Refusal& refusal);
  void on(wire::Released& released);
  void on(const wire::Revoked& revoked);
  void on(wire::KeyList& list);
  const Request* find_request(uint64_t id);
  Request take_request(uint64_t id);
  void deliver(const wire::Grant& grant, Request request);
  void fail(uint64_t id, Request request, Failure failure);
  static void answer(Call& call);
  static Event revoked_event(const std::pair<const uint64_t, Lease>& entry);
  void keep_events();
  void return_untouched(const wire::Grant& grant);
  void send_untouched(Lock& lock);
  void end(Failure failure);
  void end_as_nonsense(std::string_view what);

  const UniqueFd socket_;
  const wire::Welcome welcome_;
  const pid_t opener_;

  std::mutex mutex_;      // guards all below; never held while waiting for the socket
  bool reading_ = false;  // a caller receives for all, without the lock; packet_ is its own
  Packet packet_;
  uint64_t next_request_id_ = 1;
  std::unordered_map<uint64_t, Request> requests_;
  List<Call, &Call::link> waiting_;  // calls inside await()
  std::unordered_map<uint64_t, Lease> leases_;
  std::vector<uint64_t> untouched_;  // leases to give back that no caller received
  std::deque<Event> events_;
  bool polled_ = false;  // the non-waiting form is in use, so that events are kept
  Result ended_;
  bool end_fetched_ = false;
};

}  // namespace berth::client
