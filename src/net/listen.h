// Lease sockets (SOCK_SEQPACKET) and the control socket (SOCK_STREAM): listening sockets in the
// file system, and what they accept.
//
// Loop thread. Sources: unix(7), bind(2), accept(2).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "base/endpoint.h"
#include "base/file_owner.h"
#include "base/unique_fd.h"

namespace berth::net {

struct SocketFile {
  std::string path;
  mode_t mode = 0600;
  FileOwner owner = {};
};

// Nonblocking, close-on-exec. A socket file that nobody serves any more is replaced; any other
// file, and one that a live process serves, is left alone and an error. Nobody can connect before
// the file has exactly this mode, whatever the umask, and this owner.
absl::StatusOr<UniqueFd> listen_seqpacket(const SocketFile& file, int backlog);
absl::StatusOr<UniqueFd> listen_stream(const SocketFile& file, int backlog);
// At an address of this host: `endpoint` is a tcp literal.
absl::StatusOr<UniqueFd> listen_tcp(const Endpoint& endpoint, int backlog);

// Gives a socket that is open already another mode.
absl::Status change_mode(const std::string& path, mode_t mode);

// Removes the file if it is a socket. Not an error if it is gone.
void unlink_socket(const std::string& path);

// Which file a path names now, so that it can be told from one that took its place.
struct FileIdentity {
  uint64_t device = 0;
  uint64_t inode = 0;  // 0: no file
  friend bool operator==(const FileIdentity&, const FileIdentity&) = default;
};
FileIdentity identify_file(const std::string& path);

// Whether somebody waits to be accepted.
bool has_caller(int listener);

struct Accepted {
  enum Kind {
    session,     // `fd`, nonblocking and close-on-exec
    nothing,     // nobody waits, or who waited has gone
    out_of_fds,  // no fd or memory: whoever waits stays in the backlog; stop polling
    failed,      // the listener is broken: `error_number`
  } kind;
  UniqueFd fd;
  int error_number = 0;
};

Accepted accept_session(int listener);

}  // namespace berth::net
