// Sessions: all sessions of the daemon: admits them, bounds them, ends them.
//
// Loop thread only. A session is over when its socket closes or its opener exits, whichever comes
// first: a forked child may keep the socket open. Each holds slots of the fd budget for its socket
// and its pidfd.
#pragma once

#include <absl/container/flat_hash_map.h>

#include <deque>
#include <memory>
#include <vector>

#include "broker/admission.h"
#include "broker/denials.h"
#include "broker/session.h"
#include "loop/timer.h"
#include "loop/watch_set.h"

namespace berth::broker {

// Which lease socket a session came by.
struct Gateway {
  uint32_t number = 0;  // 0: the one for all
  std::string tenant;   // whose it is; "": everybody's
};

class Sessions final : public SessionHost {
 public:
  // What one session takes of the fd budget at most: its socket and its opener's pidfd.
  static constexpr uint32_t kSlots = 2;

  Sessions(loop::Loop& loop, PoolDriver& driver, Keys& keys, Admission& admission,
           uint64_t own_netns);
  ~Sessions();

  // Takes over an accepted connection and kSlots reserved slots. One that is not admitted is told
  // why, and its slots are given back.
  void admit(UniqueFd fd, const Gateway& gateway);
  // Ends what is over, and sets the timer of Hello; to be called at the end of each turn.
  void reap();
  void end_all(Code code, const std::string& message);
  // Ends one, which is told why. False: there is no such session.
  bool kill(SessionId id, const std::string& message);

  // nullptr: no session has this token any more, or ever had.
  Session* find(const Token& token) const;
  template <class Visit>
  void for_each(Visit&& visit) const {
    for (const auto& [number, session] : sessions_) visit(*session);
  }

 private:
  struct Silent {  // has not said Hello
    TimePoint until;
    uint64_t number;
  };

  PoolDriver& driver() override { return driver_; }
  Keys& keys() override { return keys_; }
  net::FrameReader& frames() override { return frames_; }
  std::string& encode_buffer() override { return encode_buffer_; }
  void greeted(Session& session) override { by_token_[session.token()] = session.number(); }
  void ended(Session& session) override { over_.push_back(session.number()); }
  void flush_later(Session& session) override;
  void denied(const pool::SessionInfo& who, std::string_view key, std::string_view why) override;

  void turn_away(UniqueFd fd, Code code, const std::string& message);
  void bury(std::unique_ptr<Session> session);
  Session* find(uint64_t number) const;
  void opener_exited(uint64_t number);
  void end_silent();
  void forget_silent();
  void flush_deferred();

  loop::Loop& loop_;
  PoolDriver& driver_;
  Keys& keys_;
  Admission& admission_;
  const uint64_t own_netns_;
  net::FrameReader frames_;
  std::string encode_buffer_;
  // By their numbers, so that a late event of a pidfd misses.
  absl::flat_hash_map<uint64_t, std::unique_ptr<Session>> sessions_;
  absl::flat_hash_map<Token, uint64_t> by_token_;
  std::vector<uint64_t> over_;
  std::vector<uint64_t> deferred_;
  std::deque<Silent> silent_;
  Denials denials_;
  loop::WatchSet openers_;
  loop::Timer silent_timer_;
  loop::Timer deferred_timer_;
};

}  // namespace berth::broker
