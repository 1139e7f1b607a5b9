// What a setting is: a name, a kind (how its value is read, checked and written, and where it
// lands) and when a change takes effect. config/catalogue.cc lists all of them.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "config/accounts.h"
#include "config/document.h"
#include "config/problem.h"

namespace berth::config {

// One setting while it is read: what it is called, and where its problems go. Borrows all three.
class Reading {
 public:
  Reading(std::string_view name, Report& report, Accounts& accounts)
      : name_(name), report_(report), accounts_(accounts) {}

  std::string_view name() const { return name_; }
  Accounts& accounts() { return accounts_; }
  bool failed() const { return failed_; }

  // A part of the setting under a name of its own, which outlives it; take() counts its failure.
  Reading part(std::string_view name) { return {name, report_, accounts_}; }
  void take(const Reading& part) { failed_ = failed_ || part.failed_; }

  // "NAME must be EXPECTED; found VALUE"
  void wrong(const Value& value, std::string_view expected);
  // NAME and TEXT, which brings its own ": " or " = ".
  void refuse(const Value& value, std::string_view text);

 private:
  std::string_view name_;
  Report& report_;
  Accounts& accounts_;
  bool failed_ = false;
};

// How one setting of a T (DaemonSettings, PoolPolicy) is handled.
template <class T>
struct Kind {
  // Stores the value, or tells `reading` all that is wrong with it.
  std::function<void(const Value&, Reading&, T&)> read;
  // As TOML; reading it again gives the same.
  std::function<std::string(const T&)> write;
  // The bounds as berthd.toml(5) states them, "1 to 4096"; "" where there are none.
  std::string bounds;
};

// When a changed setting counts (rule 23).
enum class Effect {
  reload,     // from the reload on, for what is there too
  new_dials,  // for connections dialled after it
  renew,      // and the pool is renewed: what was dialled before it goes
  restart,
};

constexpr std::string_view effect_words(Effect effect) {
  switch (effect) {
    case Effect::reload: return "at reload";
    case Effect::new_dials: return "at reload, for new connections";
    case Effect::renew: return "at reload, and renews the pool";
    case Effect::restart: return "at restart";
  }
  return "";
}

// Which pools a setting means something to; all that are given.
enum Scope : unsigned {
  kStreamPools = 1,
  kChannelPools = 2,
  kSlotPools = 4,
  kConnections = kStreamPools | kChannelPools,
  kAllPools = kConnections | kSlotPools,
};

template <class T>
struct Setting {
  std::string_view name;
  Kind<T> kind;
  Effect effect = Effect::reload;
  unsigned scope = kConnections;
};

}  // namespace berth::config
