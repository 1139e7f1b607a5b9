// Session: one local process's connection to a lease socket: frames in, frames and descriptors
// out. Its end ends its leases.
//
// Loop thread only. Owned by Sessions, which ends it in a later step, never from within a call.
#pragma once

#include <absl/container/flat_hash_map.h>
#include <absl/status/statusor.h>

#include <deque>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <variant>

#include "broker/driver.h"
#include "broker/keys.h"
#include "broker/token.h"
#include "loop/fd_watch.h"
#include "net/pass_fd.h"
#include "net/peer.h"
#include "wire/session_frames.h"

namespace berth::broker {

class Session;

// What a session needs of its surroundings, and tells them.
class SessionHost {
 public:
  virtual PoolDriver& driver() = 0;
  virtual Keys& keys() = 0;
  virtual net::FrameReader& frames() = 0;
  virtual std::string& encode_buffer() = 0;
  // It has said Hello: from now on its token names it.
  virtual void greeted(Session& session) = 0;
  // The session is over: to be ended once the current call has returned.
  virtual void ended(Session& session) = 0;
  // The kernel takes no more descriptors in flight just now: flush() is to be called again soon.
  virtual void flush_later(Session& session) = 0;
  // It asked for a key that it may not have.
  virtual void denied(const pool::SessionInfo& who, std::string_view key, std::string_view why) = 0;

 protected:
  ~SessionHost() = default;
};

class Session final : public Recipient {
 public:
  // `number` names it to the host.
  Session(loop::Loop& loop, uint64_t number, UniqueFd fd, net::PeerIdentity peer,
          pool::SessionInfo info, SessionHost& host);
  // Discards its leases and withdraws its requests.
  ~Session();

  // --- what reaches it by another way than its socket ---
  // Takes the answer in place of the session's frame: a Grant, whose own frame has then gone out
  // with the descriptors, or a Refusal. A status: the session has ended. Called once; it does not
  // call the session.
  using Answered = std::function<void(absl::StatusOr<wire::ServerFrame>)>;
  // An id that is in use is refused, and disturbs nothing.
  void lease(const wire::LeaseRequest& request, Answered answered);
  // Requires: it came by lease() and has no answer yet, and the session is not over. Refuses it,
  // even if it is granted already and only the frame waits to be sent.
  void withdraw(uint64_t request_id);
  // False: no such lease of this session.
  bool release(const wire::Release& release);
  wire::KeyList list_keys(const wire::ListKeys& list) const;

  // Says why, and is over.
  void say_goodbye(Code code, std::string message);
  void end(std::string_view why);
  void flush();
  // Its opener has exited: what it still sent counts, then the session is over.
  void opener_exited();

  bool over() const { return over_; }
  bool greeted() const { return id_.valid(); }
  SessionId id() const { return id_; }  // not valid before Hello
  uint64_t number() const { return number_; }
  const net::PeerIdentity& peer() const { return peer_; }
  const Token& token() const { return token_; }
  // As the client calls itself; empty before Hello.
  const std::string& name() const { return name_; }

  bool take(const pool::Grant& grant, std::span<const int> fds) override;
  void refused(uint64_t request_id, const pool::Refusal& refusal) override;
  void revoked(LeaseId lease, pool::Revoke::Cause cause) override;
  void put_off(const pool::Grant& grant) override { wait(grant, Flow::deferred); }

 private:
  enum class Flow {
    open,
    blocked,   // the socket is full: until it can be written
    deferred,  // the kernel has too many descriptors in flight: until flush_later()
  };
  using Outgoing = std::variant<std::string, pool::Grant>;
  using Outbox = std::deque<Outgoing>;

  void ready(loop::Ready ready);
  void receive(size_t enough);
  void handle(const net::Received& received);
  void handle(std::string_view bytes);
  void on(const wire::Hello& hello);
  void on(const wire::LeaseRequest& request);
  void on(const wire::Release& frame);
  void on(const wire::Cancel& cancel);
  void on(const wire::ListKeys& list);
  Outbox::iterator unsent_grant(uint64_t request_id);
  bool in_use(uint64_t request_id);
  void ask_for(const wire::LeaseRequest& request);
  void pass_on(const wire::LeaseRequest& request);
  bool answer_elsewhere(uint64_t request_id, wire::ServerFrame frame);
  void send(const wire::ServerFrame& frame);
  void transmit(const std::string& frame);
  void wait(Outgoing outgoing, Flow flow);
  void watch();
  void note(std::string_view what) const;
  std::string who() const;

  SessionHost& host_;
  const uint64_t number_;
  UniqueFd fd_;
  net::PeerIdentity peer_;
  pool::SessionInfo info_;
  const Token token_ = random_token();
  std::string name_;
  std::string_view asked_for_;  // the key of the request that is being dealt with
  SessionId id_;                // valid from Hello on
  // Requests that came by lease() and have no answer yet.
  absl::flat_hash_map<uint64_t, Answered> elsewhere_;
  Outbox outbox_;
  Flow flow_ = Flow::open;
  bool resending_ = false;  // flush() is at work: what still does not go returns to the front
  bool over_ = false;
  loop::FdWatch watch_;
};

}  // namespace berth::broker
