// The pin: a TCP socket that can hear one peer only, for good.
//
// A lessee holds the socket and can point it elsewhere with connect(AF_UNSPEC), or listen on it,
// in the daemon's network namespace. A classic BPF filter passes only packets from the peer's
// address and port; SO_LOCK_FILTER makes it irrevocable, for root too. So the socket can never be
// ESTABLISHED with anyone else: inspect_released() relies on that.
//
// What a pin does not stop: packets going out (a SYN to elsewhere, with data if TCP Fast Open
// needs no cookie), and ICMP errors coming in. IPAddressAllow= on the daemon's unit does.
// Costs 9 us at the dial, 7 KiB of kernel memory per socket (each has a program of its own), and
// some 50 ns per incoming packet.
// Sources: socket(7) SO_ATTACH_FILTER and SO_LOCK_FILTER, Documentation/networking/filter.rst.
#pragma once

#include "absl/status/status.h"
#include "net/address.h"

namespace berth::net {

// For a TCP socket, before connect(2) or on a connected one. An error says why it was refused;
// the socket must then not be handed out.
absl::Status pin_to_peer(int fd, const SocketAddress& peer);

}  // namespace berth::net
