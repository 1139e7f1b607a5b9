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
// Who may pin: anyone, but kernels of summer 2026 and later (Linux commit 5d39580f68e6, and stable
// 6.18.44 at the latest) want CAP_NET_ADMIN over the network namespace for a filter on TCP.
// Sources: socket(7) SO_ATTACH_FILTER and SO_LOCK_FILTER, Documentation/networking/filter.rst.
#pragma once

#include "absl/status/status.h"
#include "net/address.h"

namespace berth::net {

// Whether this process may pin; else why not, in words. For once, at start: it decides
// DialOptions::pin and with it the PeerProof.
absl::Status can_pin();

// For a TCP socket, before connect(2) or on a connected one. An error says why it was refused;
// the socket must then not be handed out. One that is pinned to that peer already, as by another
// berthd that has passed it on, is left as it is.
absl::Status pin_to_peer(int fd, const SocketAddress& peer);

// For a connected TCP socket whose peer leads elsewhere as it is told, as a proxy does: it cannot
// even be connected to the same peer again.
absl::Status pin_connected(int fd, const SocketAddress& peer);

}  // namespace berth::net
