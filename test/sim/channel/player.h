// Player: what programs, servers and the administrator do to one hub, drawn from one seed.
#pragma once

#include <cstdint>
#include <initializer_list>

#include "sim/channel/world.h"
#include "sim/game.h"

namespace berth::sim::channels {

class Player : public Game {
 public:
  Player(uint64_t seed, bool aloud);

  void play(const Turn& turn) override;
  const Trace& trace() const override { return world_.trace; }
  Tally tally() const override { return {world_.event_count, world_.assigned, world_.refused}; }

 private:
  channel::ChannelPolicy draw_policy();
  void draw_truth(PoolModel& pool);
  void add_pool();

  void step();
  void sometimes();
  void seldom();
  // Programs.
  void open_streams();
  void end_one();
  void fail_one();
  void join_or_leave();
  // Servers.
  void change_upstream();
  void lose_one();
  void tell_limit();
  void tell_health();
  void move_addresses();
  // The administrator.
  void renew();
  void evict();
  void expire();
  void set_intake();
  void reload();
  void replace_pool();

  // Everything heals, all streams end, and what was owed must have been paid.
  void quiet();
  void shut_down();
  void heal_channels();
  void end_all();

  size_t any_pool() { return world_.random.below(world_.pools.size()); }
  // One that is connected; not valid: none was found.
  ConnectionId any_channel();
  StreamId any_stream(std::initializer_list<StreamModel::Stage> stages);

  const uint64_t seed_;
  uint32_t next_pool_ = 0;
  World world_;
};

}  // namespace berth::sim::channels
