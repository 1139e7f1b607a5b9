// Presets: what protocol = "redis" and the like stand for, which is values of other settings. Only
// the configuration knows them; what they have become is all that a pool sees.
#pragma once

#include <string_view>
#include <vector>

#include "config/table_reader.h"
#include "pool/policy.h"

namespace berth::config {

// What must be so of a pool for a value to be brought; all that are given.
enum Condition : unsigned {
  kAlways = 0,
  kPoolLogsIn = 1,     // the file has login or login_command
  kHoldersLogIn = 2,   // it has neither
  kReused = 4,         // warm = "reuse"
  kSingleUse = 8,      // warm = "single-use"
  kGreetingRead = 16,  // greeting is not "leave"
  kPresetReset = 32,   // reset is what the preset brings
  kStartsTls = 64,     // starttls = true
  kStaysPlain = 128,   // it is not
};

struct PresetValue {
  std::string_view setting;
  std::string_view value;  // as a file has it
  unsigned when = kAlways;
};

struct Preset {
  std::string_view protocol;
  // In this order, since a value may be the condition of a later one.
  std::vector<PresetValue> values;
  // Its clients log in themselves, once for each connection, which nothing undoes.
  bool clients_log_in = false;
  // Who is logged in on a connection stays so, whatever reset does.
  bool login_stays = false;
};

const std::vector<Preset>& presets();
// Of a pool's protocol.
const Preset& preset_of(const pool::PoolPolicy& pool);

// Brings what the preset has and the file does not say, to `pool` and `said`.
void bring_preset(pool::PoolPolicy& pool, Said& said);

}  // namespace berth::config
