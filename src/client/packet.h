// One SEQPACKET message with its descriptors, sent and received; connecting to where they go.
//
// Any thread; a Packet has one user at a time. Nothing here knows what a frame says.
#pragma once

#include <array>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "base/limits.h"
#include "base/unique_fd.h"
#include "failure.h"

namespace berth::client {

using Clock = std::chrono::steady_clock;
using Deadline = Clock::time_point;
inline constexpr Deadline kNoDeadline = Deadline::max();
inline constexpr Deadline kAtOnce = Deadline::min();

struct Packet {
  std::unique_ptr<char[]> bytes = std::make_unique_for_overwrite<char[]>(kMaxFrameBytes);
  size_t size = 0;
  bool oversized = false;  // it was longer than a frame may be
  std::array<UniqueFd, kMaxBatch> fds;
  size_t fd_count = 0;
  bool fds_lost = false;  // more were sent than this process could take

  std::string_view text() const { return {bytes.get(), size}; }
  void close_fds();
};

enum class Arrival { packet, nothing, end };

// Receives one message if one comes before `deadline`.
Arrival receive(int fd, Deadline deadline, Packet& packet);

// Sends one message, waiting for room until `deadline`. 0 or a positive errno: EAGAIN if there was
// no room, EPIPE or ECONNRESET if the peer is gone.
int send(int fd, std::string_view bytes, Deadline deadline);

// Has connect(2) on this socket wait no longer than until `deadline`; it fails with EAGAIN or
// EINPROGRESS then.
void bound_connect(int fd, Deadline deadline);

// Where berthd listens, as berth_session_open() documents it.
std::string socket_path(const char* path);

// Connects to a lease socket; waits at most until `deadline` for a place in its queue.
std::variant<UniqueFd, Failure> connect(const std::string& path, Deadline deadline);

}  // namespace berth::client
