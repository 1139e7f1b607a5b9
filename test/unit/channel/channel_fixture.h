// A driver for the hub in simulated time: tests say how the world answers and read what happened.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "channel/hub.h"

namespace berth::channel {

using namespace std::chrono_literals;

class ChannelTest : public ::testing::Test {
 protected:
  enum class Answer { yes, no, never };

  static constexpr uint32_t kNoLimit = UINT32_MAX;

  // One endpoint with one address, "a:1".
  static ChannelPolicy policy();
  // With so many addresses: "a:1", "b:1"…
  PoolId add(ChannelPolicy policy, size_t addresses = 1);
  PoolId add() { return add(policy()); }

  // --- what programs do ---
  StreamId open(PoolId pool, TimePoint until = kNever);
  std::vector<StreamId> open(PoolId pool, size_t count);
  void end(StreamId stream);
  bool fail(StreamId stream, GrpcCode code, bool may_retry = true);
  bool refuse(StreamId stream, bool may_retry = true);  // unseen by the server
  void join(PoolId pool);
  void leave(PoolId pool);

  // --- what came of it ---
  // Not valid: it has none.
  ConnectionId channel_of(StreamId stream) const;
  std::string address_of(StreamId stream) const;
  bool waits(StreamId stream) const;
  bool ended(StreamId stream) const { return ends.contains(stream); }
  GrpcCode code(StreamId stream) const { return ends.at(stream).code; }
  const std::string& text(StreamId stream) const { return ends.at(stream).text; }
  bool closed(ConnectionId id, CloseReason reason) const;
  State state(ConnectionId id) const { return hub.channel(id)->state; }
  size_t count(PoolId pool, State state) const { return hub.pool(pool)->count(state); }
  uint64_t events(PoolId pool, pool::EventKind kind) const {
    return hub.pool(pool)->counters().of(kind);
  }

  // --- what the world does ---
  void connect(ConnectionId id);
  void fail_dial(ConnectionId id, const char* text = "a:1: refused");
  void lose(ConnectionId id, const char* text = "a:1: reset by peer");
  void goaway(ConnectionId id);
  void settings(ConnectionId id, uint32_t max_streams);
  void serving(ConnectionId id, bool serves);
  void finish_closes();
  void resolve(PoolId pool, std::vector<std::string> addresses, uint32_t endpoint = 0);
  // As a look-up tells of them, with their `priorities`.
  std::vector<Place> places(const std::vector<std::string>& addresses) const;
  void fail_resolve(PoolId pool, const char* text = "a: no such name", uint32_t endpoint = 0);

  // Time passes and the timer fires when it should.
  void pass(Duration duration);
  void carry_out();

  TimePoint now = TimePoint() + 1h;
  Hub hub{1};
  Actions actions;

  Answer dials = Answer::yes;
  Answer resolves = Answer::yes;
  Answer pings = Answer::yes;
  Answer closings = Answer::yes;
  uint32_t max_streams = 100;                  // of servers
  std::set<std::string> down;                  // addresses that refuse, whatever `dials` says
  std::vector<std::string> addresses;          // of endpoint 0
  std::map<std::string, uint16_t> priorities;  // of addresses; else 0

  std::vector<ConnectionId> dialed;
  std::vector<std::string> addresses_dialed;
  std::vector<ConnectionId> dialing;  // with dials == never: those that await an answer
  std::vector<Assign> assigned;       // in order
  std::map<StreamId, End> ends;
  std::vector<std::pair<ConnectionId, CloseReason>> closes;
  std::vector<ConnectionId> closing;
  std::vector<ConnectionId> pinged;
  std::vector<uint32_t> looked_up;
  std::vector<StreamId> cut_off;  // failed since their channel was closed or lost

 private:
  void on(const Resolve& resolve);
  void on(const Dial& dial);
  void on(const Assign& assign);
  void on(const End& end);
  void on(const Ping& ping);
  void on(const Close& close);
  void cut_off_all(ConnectionId id);

  uint32_t last_pool_ = 0;
};

}  // namespace berth::channel
