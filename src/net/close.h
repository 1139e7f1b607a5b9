// The one place that closes pooled sockets, and the ways to end one that others hold too.
//
// Loop thread. Sources: close(2), socket(7) SO_LINGER, shutdown(2), connect(2).
#pragma once

#include "absl/status/status.h"
#include "base/unique_fd.h"
#include "net/layer.h"

namespace berth::net {

// Never blocks. `handed_out`: a lessee had it, or another process holds a duplicate; then it is
// shut down both ways first, so that the server sees its end although others keep the socket, and
// a lessee's SO_LINGER is switched off, which would make close(2) wait or reset. One with kernel
// TLS that was not handed out says close_notify first; one that was would have to wait for whoever
// is within a send(2): see send_close_notify() and say it elsewhere, before.
absl::Status close_pooled(UniqueFd fd, bool handed_out, Layer layer = Layer::none);

// Closes what another process has been handed for good, and leaves its socket as it is. Never
// blocks: a linger time that it has set since, which would make close(2) wait for its bytes, is
// switched off; they are sent all the same.
absl::Status let_go(UniqueFd fd);

// The second stage of a revoke, after shutdown_pooled(): resets both ends of a TCP connection
// through connect(AF_UNSPEC). kFailedPrecondition if that is impossible: not TCP, or a layer
// (kernel TLS) on it.
absl::Status reset_peer(int fd);

// The first stage: shutdown both ways. Every holder reads end of stream and writes EPIPE.
// Fine if it is closed already.
absl::Status shutdown_pooled(int fd);

}  // namespace berth::net
