// StepList: the kind of the settings greeting, login, check and reset (berthd.toml(5), "STEPS").
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/steps.h"
#include "config/setting.h"

namespace berth::config {

// An array of steps, which are tables, or one table for one step. Patterns compile; secrets are
// read from their files here.
struct StepList {
  enum class Tls { refused, may_start };

  std::string_view none = {};  // the word for no steps, where there is one
  Tls tls = Tls::refused;

  std::optional<Steps> read(const Value& value, Reading& reading) const;
  std::string write(const Steps& steps) const;  // of secrets, where they are
  std::string bounds() const { return {}; }

 private:
  void check_tls(std::span<const Value> values, const Steps& steps, Reading& reading) const;
};

}  // namespace berth::config
