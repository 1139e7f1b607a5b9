// Kernel TLS: records are made and read by the kernel, so that a plain socket carries them.
//
// Any thread. Sources: Documentation/networking/tls.rst and net/tls/ of Linux; linux/tls.h.
#pragma once

#include <absl/status/status.h>

#include <string>
#include <vector>

#include "wire/tls_keys.h"

namespace berth::net {

// What this kernel can do, found out once by trying on a pair of loopback sockets.
struct KtlsSupport {
  std::vector<TlsCipher> ciphers;  // both ways
  std::string why_not;             // of what is missing, and what would help: "modprobe tls"
};
// Blocking; a millisecond where all is well.
KtlsSupport probe_ktls();

// Hands the connection's records over to the kernel. After an error the socket is to be closed: it
// may have a layer on it without keys, and would carry plain text.
absl::Status install_keys(int fd, const wire::TlsKeys& keys);

// Tells the peer that no more comes (close_notify). What does not fit at once is not sent; nor is
// anything after a shutdown, whose error this is not. Never waits for the peer, but for whoever
// else is within a send(2) on this socket, as long as that takes: the kernel lets in one at a
// time, MSG_DONTWAIT or not. So the loop may call it only for a socket that nobody else has had.
// A shutdown(2) ends such a wait. Requires: install_keys() has succeeded.
void send_close_notify(int fd);

}  // namespace berth::net
