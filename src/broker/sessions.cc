#include "broker/sessions.h"

#include <fmt/format.h>
#include <sys/epoll.h>

#include <algorithm>
#include <utility>

#include "base/limits.h"
#include "base/log.h"
#include "base/status_text.h"
#include "net/pass_fd.h"
#include "net/process.h"

namespace berth::broker {
namespace {

using namespace std::chrono_literals;

// A client says Hello at once; one that does not only holds slots.
constexpr Duration kHelloWithin = 10s;
// The kernel counts descriptors in flight until their receiver reads; there is no event for it.
constexpr Duration kFlushAgainAfter = 20ms;

uint32_t slots_of(const net::PeerIdentity& peer) {
  return peer.pidfd.valid() ? Sessions::kSlots : Sessions::kSlots - 1;
}

}  // namespace

Sessions::Sessions(loop::Loop& loop, PoolDriver& driver, Keys& keys, Admission& admission,
                   uint64_t own_netns)
    : loop_(loop),
      driver_(driver),
      keys_(keys),
      admission_(admission),
      own_netns_(own_netns),
      openers_(loop, [this](uint64_t number, uint32_t) { opener_exited(number); }),
      silent_timer_(loop, [this] { end_silent(); }),
      deferred_timer_(loop, [this] { flush_deferred(); }) {}

Sessions::~Sessions() {
  for (const auto& [number, session] : sessions_) session->end("berthd ends");
  reap();
}

void Sessions::admit(UniqueFd fd, const Gateway& gateway) {
  absl::StatusOr<net::PeerIdentity> peer = net::identify_peer(fd.get());
  if (!peer.ok()) {
    log().warn("a session is refused: {}", text_of(peer.status()));
    return turn_away(std::move(fd), Code::kNotPermitted, "berthd cannot tell who you are");
  }
  if (const std::string refusal = admission_.refusal_of(peer->uid); !refusal.empty()) {
    return turn_away(std::move(fd), Code::kTooManySessions, refusal);
  }
  pool::SessionInfo info{peer->uid,      peer->pid,
                         gateway.number, peer->netns_cookie != own_netns_,
                         peer->gid,      std::exchange(peer->groups, {}),
                         gateway.tenant};
  const uint64_t number = admission_.enter(peer->uid);
  const int pidfd = peer->pidfd.get();
  if (pidfd >= 0 && !openers_.add(pidfd, EPOLLIN, number)) peer->pidfd.reset();
  if (slots_of(*peer) < kSlots) driver_.release_slots(kSlots - slots_of(*peer));
  sessions_[number] = std::make_unique<Session>(loop_, number, std::move(fd), std::move(*peer),
                                                std::move(info), *this);
  silent_.push_back({loop_.now() + kHelloWithin, number});
}

void Sessions::turn_away(UniqueFd fd, Code code, const std::string& message) {
  wire::encode(wire::Goodbye{code, message}, encode_buffer_);
  net::send_last_frame(fd.get(), encode_buffer_);
  fd.reset();
  driver_.release_slots(kSlots);
}

Session* Sessions::find(uint64_t number) const {
  const auto at = sessions_.find(number);
  return at != sessions_.end() ? at->second.get() : nullptr;
}

Session* Sessions::find(const Token& token) const {
  const auto at = by_token_.find(token);
  if (at == by_token_.end()) return nullptr;
  Session* session = find(at->second);
  return session->over() ? nullptr : session;
}

void Sessions::opener_exited(uint64_t number) {
  if (Session* session = find(number)) session->opener_exited();
  reap();
}

void Sessions::reap() {
  while (!over_.empty()) {
    for (const uint64_t number : std::exchange(over_, {})) {
      const auto at = sessions_.find(number);
      std::unique_ptr<Session> session = std::move(at->second);
      sessions_.erase(at);
      bury(std::move(session));
    }
  }
  forget_silent();
}

void Sessions::bury(std::unique_ptr<Session> session) {
  const net::PeerIdentity& peer = session->peer();
  const uint32_t slots = slots_of(peer);
  if (peer.pidfd.valid()) openers_.remove(peer.pidfd.get());
  admission_.leave(peer.uid);
  by_token_.erase(session->token());
  session.reset();
  driver_.release_slots(slots);
}

bool Sessions::kill(SessionId id, const std::string& message) {
  for (const auto& [number, session] : sessions_) {
    if (!session->greeted() || session->over() || session->id() != id) continue;
    session->say_goodbye(Code::kRevoked, message);
    return true;
  }
  return false;
}

void Sessions::end_all(Code code, const std::string& message) {
  for (const auto& [number, session] : sessions_) session->say_goodbye(code, message);
  reap();
}

void Sessions::end_silent() {
  while (!silent_.empty() && silent_.front().until <= loop_.now()) {
    Session* session = find(silent_.front().number);
    silent_.pop_front();
    if (session == nullptr || session->greeted()) continue;
    session->say_goodbye(Code::kInvalid, "no Hello within " + format_duration(kHelloWithin));
  }
  reap();
}

// Those who spoke or went away need no timer; an idle daemon must not be woken for them.
void Sessions::forget_silent() {
  while (!silent_.empty()) {
    const Session* session = find(silent_.front().number);
    if (session != nullptr && !session->greeted()) break;
    silent_.pop_front();
  }
  silent_timer_.arm(silent_.empty() ? kNever : silent_.front().until);
}

void Sessions::denied(const pool::SessionInfo& who, std::string_view key, std::string_view why) {
  if (const auto line = denials_.note(loop_.now(), who, key, why)) log().warn(*line);
}

void Sessions::flush_later(Session& session) {
  deferred_.push_back(session.number());
  if (!deferred_timer_.armed()) deferred_timer_.arm(loop_.now() + kFlushAgainAfter);
}

void Sessions::flush_deferred() {
  for (const uint64_t number : std::exchange(deferred_, {})) {
    if (Session* session = find(number)) session->flush();
  }
  reap();
}

}  // namespace berth::broker
