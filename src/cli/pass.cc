// berth pass: the connection itself on standard output, as OpenSSH's ProxyUseFdpass wants it.
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/poll_one.h"
#include "cli/key_options.h"

namespace berth::cli {
namespace {

bool is_unix_socket(int fd) {
  int domain = 0;
  socklen_t size = sizeof domain;
  return ::getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 && domain == AF_UNIX;
}

// One byte with one descriptor. 0 or an errno.
int send_fd(int to, int fd) {
  char byte = 0;
  iovec part{&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof fd)] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  cmsghdr* rights = CMSG_FIRSTHDR(&message);
  rights->cmsg_level = SOL_SOCKET;
  rights->cmsg_type = SCM_RIGHTS;
  rights->cmsg_len = CMSG_LEN(sizeof fd);
  std::memcpy(CMSG_DATA(rights), &fd, sizeof fd);
  while (::sendmsg(to, &message, MSG_NOSIGNAL) < 0) {
    if (errno == EINTR) continue;
    if (errno != EAGAIN) return errno;
    poll_one(to, POLLOUT, -1);
  }
  return 0;
}

}  // namespace

int run_pass(const Command& self, Globals globals, Words words) {
  KeyOptions options;
  if (const auto over = parse_key_options(self, globals, words, options)) return *over;
  if (options.key == nullptr) return usage_error(self, "which KEY?");
  if (!is_unix_socket(STDOUT_FILENO)) {
    return usage_error(self,
                       "standard output is no Unix socket, over which alone a connection can be "
                       "passed; for its bytes use berth pipe");
  }
  const SessionPtr session = open_session(globals, "berth pass");
  if (session == nullptr) return fail();
  berth_options how = BERTH_OPTIONS_INIT;
  how.timeout_ms = options.timeout_ms;
  how.detach = 1;
  berth_grant grant;
  if (berth_lease(session.get(), options.key, &how, &grant) < 0) return fail();
  const int error = send_fd(STDOUT_FILENO, grant.fd);
  return error == 0 ? 0 : fail("cannot pass the connection on", error);
}

}  // namespace berth::cli
