// Who is on the other end of a session: as it was when the client called connect(2), as the
// kernel vouches for it.
//
// Loop thread. Sources: unix(7) SO_PEERCRED, socket(7), pidfd_open(2), and for SO_PEERGROUPS,
// SO_PEERPIDFD (Linux 6.5) and SO_NETNS_COOKIE (Linux 5.14) include/uapi/asm-generic/socket.h.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/unique_fd.h"

namespace berth::net {

struct PeerIdentity {
  uint32_t uid = 0;
  uint32_t gid = 0;
  std::vector<uint32_t> groups;  // supplementary, sorted; may or may not repeat gid
  int32_t pid = 0;               // 0: of a foreign pid namespace
  UniqueFd pidfd;                // of the opener; may be invalid: the socket alone counts then
  uint64_t netns_cookie = 0;     // of the client's network namespace; 0 before Linux 5.14
};

// Of the process that connected this accepted Unix socket, which may have exited since: without a
// pidfd.
absl::StatusOr<PeerIdentity> identify_caller(int fd);

// For an accepted session socket. kUnavailable: the opener has exited already.
// kResourceExhausted: no fd is free for the pidfd.
absl::StatusOr<PeerIdentity> identify_peer(int session_fd);

// The way of kernels before 6.5: pidfd_open(2), then a check that the number was not reused: the
// process has the uid, and the session is not hung up. What remains possible is a process of the
// same user that got the number while a child of the opener kept the session open.
absl::StatusOr<UniqueFd> pidfd_by_number(int session_fd, int32_t pid, uint32_t uid);

// To compare with PeerIdentity::netns_cookie; 0 before Linux 5.14.
absl::StatusOr<uint64_t> own_netns_cookie();

// Whether the process has exited; a zombie has.
bool has_exited(int pidfd);

}  // namespace berth::net
