// Player: what programs, servers and the administrator do to one depot, drawn from one seed.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "sim/driver.h"
#include "sim/game.h"
#include "sim/model.h"

namespace berth::sim {

class Player : public Game {
 public:
  Player(uint64_t seed, bool aloud);

  void play(const Turn& turn) override;
  const Trace& trace() const override { return model_.trace; }
  Tally tally() const override { return {model_.event, model_.grants, model_.refusals}; }

 private:
  struct Settings {
    pool::DepotSettings depot;
    std::vector<pool::PoolPolicy> pools;
  };

  static Settings draw_settings(Random& random);
  static pool::PoolPolicy draw_slots(Random& random, pool::PoolPolicy policy);
  static pool::PoolPolicy draw_policy(Random& random, size_t index);
  static int draw_total_max_idle(Random& random);

  void step();
  void sometimes();
  void seldom();

  // Programs.
  void open_session();
  void end_session();
  void ask();
  void cancel();
  void release();
  void release_what_is_over();
  void release_what_is_not_his();
  // Servers.
  void change_upstream();
  void lose_one();
  void lose(ConnectionId id);
  void lose_address();
  void close_quiet();
  // The administrator and the rest of the daemon (administrator.cc).
  size_t free_place() const;
  size_t add_pool(pool::PoolPolicy policy, bool dynamic);
  void renew();
  void reload();
  void judge_asks_anew(size_t pool);
  void remove_pool();
  void set_total_max_idle();
  void set_intake();
  void open_or_close(size_t index, pool::Intake intake);
  void evict();
  void expire();
  void revoke();
  void close_on_release(LeaseId lease);
  void others();
  void dynamic_pools();

  // Everything heals, all leases come back, and what was owed must have been paid.
  void quiet();
  void shut_down();
  void give_all_back();

  // Now and then the driver is in the middle of its actions when the next event comes.
  template <class Call>
  void event(Call&& call) {
    driver_.event(call);
    driver_.carry_out(model_.chance(3) ? model_.random.below(3) : Driver::kAll);
  }
  Duration draw_timeout();
  size_t any_pool();

  const uint64_t seed_;
  Model model_;
  Settings settings_;
  Driver driver_;
  uint64_t next_request_ = 0;
  uint64_t next_dynamic_ = 0;
};

}  // namespace berth::sim
