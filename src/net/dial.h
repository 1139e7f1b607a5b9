// Dialling one address, without waiting: start, poll for writability, finish. Or the taking over of
// a connection that another program has made.
//
// Loop thread. The caller owns the fd and the deadline. Sources: connect(2), unix(7), socket(7).
#pragma once

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/unique_fd.h"
#include "net/address.h"
#include "net/socket_options.h"

namespace berth::net {

// Opens a nonblocking close-on-exec stream socket, sets the options, pins it (TCP) and begins to
// connect. The fd is ready for finish_connect() when it is writable; at once for AF_UNIX, whose
// connect never waits: a full backlog there is an error.
// An error reads "connect to ADDRESS: reason", with absl's code for the errno; kResourceExhausted
// is this process short of fds or memory, not the server's fault.
absl::StatusOr<UniqueFd> start_connect(const SocketAddress& address, const DialOptions& options);

// What became of it. Also refuses a TCP socket that connected to itself (a dial to a free
// ephemeral port of this host can meet its own SYN) and one that is not connected yet.
absl::Status finish_connect(int fd, const SocketAddress& address);

// Whether `fd`, which may be anything, is a connection that could have been dialled here: a stream
// over TCP or a Unix socket, connected and open both ways, with no layer such as TLS on it. Then it
// is made nonblocking, its options are set, it is pinned so that it cannot be connected again
// (TCP), and its peer is the answer. An
// error says what it is instead: "a regular file, not a socket".
absl::StatusOr<SocketAddress> adopt(int fd, const DialOptions& options);

}  // namespace berth::net
