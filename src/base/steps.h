// Steps: what is said to a server and expected of it.
#pragma once

#include <string>
#include <vector>

namespace berth {

struct Step {
  std::string text;
  friend bool operator==(const Step&, const Step&) = default;
};
using Steps = std::vector<Step>;

}  // namespace berth
