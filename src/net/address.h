// SocketAddress: one address that a socket can be connected to, of any family that berth dials.
//
// A value; any thread. Equality is semantic: what connect(2) would reach, not the bytes of the
// struct (padding, flow label, a path's trailing zero).
#pragma once

#include <sys/socket.h>

#include <optional>
#include <string>

#include "base/endpoint.h"

namespace berth::net {

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t length = 0;

  int family() const { return storage.ss_family; }
  bool is_tcp() const { return family() == AF_INET || family() == AF_INET6; }
  const sockaddr* raw() const { return reinterpret_cast<const sockaddr*>(&storage); }
  sockaddr* raw() { return reinterpret_cast<sockaddr*>(&storage); }

  // "127.0.0.1:6379", "[::1]:80", "[fe80::1%2]:80", "/run/x.sock", "@name"; "(no address)" for
  // none and for an unnamed Unix socket.
  std::string text() const;

  friend bool operator==(const SocketAddress& a, const SocketAddress& b);
};

// The address of an endpoint that needs no resolving: an IPv4 or IPv6 literal, a Unix path or an
// abstract name. Nothing for a host name. Never blocks.
std::optional<SocketAddress> literal_address(const Endpoint& endpoint);

// getpeername(2) and getsockname(2); nothing if there is no such name.
std::optional<SocketAddress> peer_address(int fd);
std::optional<SocketAddress> local_address(int fd);

}  // namespace berth::net
