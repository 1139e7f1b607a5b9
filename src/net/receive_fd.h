// What a program passes on its standard output, as OpenSSH's ProxyUseFdpass expects it: one message
// with one descriptor, over a Unix stream socket.
//
// Loop thread; borrows the socket, and never blocks. Sources: unix(7), cmsg(3), ssh_config(5).
#pragma once

#include <string>

#include "base/unique_fd.h"

namespace berth::net {

struct PassedFd {
  enum Kind {
    nothing_yet,
    passed,  // `fd`, close-on-exec; anything, see adopt() in net/dial.h
    wrong,   // something else than one descriptor: "2 descriptors"; all are closed
    ended,   // the program has closed its end, or has ended
  } kind;
  UniqueFd fd = {};
  std::string what = {};
};

PassedFd receive_fd(int socket);

}  // namespace berth::net
