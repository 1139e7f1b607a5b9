// Peers: who is at the other end of each control connection, found by what gRPC calls it: "fd:N",
// the number of its descriptor; and which users may control berthd.
//
// Any thread: the loop's writes, gRPC's read.
#pragma once

#include <absl/container/flat_hash_map.h>

#include <cstdint>
#include <mutex>
#include <optional>
#include <string_view>
#include <vector>

namespace berth::control {

// As the kernel vouched for it when it connected.
struct Peer {
  uint32_t uid = 0;
  int32_t pid = 0;  // 0: of a foreign pid namespace
};

class Peers {
 public:
  void add(int fd, Peer peer);
  void remove(int fd);
  // Nothing if its connection has ended.
  std::optional<Peer> find(std::string_view name) const;

  // Besides root and the user of this process.
  void set_admins(std::vector<uint32_t> admins);
  bool is_admin(uint32_t uid) const;

 private:
  mutable std::mutex mutex_;
  absl::flat_hash_map<int, Peer> peers_;
  std::vector<uint32_t> admins_;
};

}  // namespace berth::control
