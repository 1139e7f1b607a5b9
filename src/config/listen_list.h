// The setting `listen`: where programs connect as they would to the server.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/endpoint.h"
#include "config/setting.h"

namespace berth::config {

// The path of a Unix socket, or tcp:// with an address of the loopback and a port; or an array of
// them, each once.
struct ListenList {
  std::optional<std::vector<Endpoint>> read(const Value& value, Reading& reading) const;
  std::string write(const std::vector<Endpoint>& listen) const;
  std::string bounds() const { return {}; }
};

}  // namespace berth::config
