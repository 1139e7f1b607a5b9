// baseline: the least that a server of the same two messages can do, to measure berthd against.
//
//   baseline SOCKET PORT CONNECTIONS
//
// Opens CONNECTIONS to 127.0.0.1:PORT, listens on SOCKET (Unix SOCK_SEQPACKET) and answers each
// LeaseRequest with a Grant of the next connection's descriptor, and a Release with nothing: the
// frames of session.proto, of the same sizes as berthd's, made beforehand. It has no pools, limits,
// checks, timers or log, and trusts its clients. One thread, level-triggered epoll, one recvmsg(2)
// for each frame, no system call that could be spared.
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <vector>

namespace {

constexpr int kBacklog = 128;

// The first byte of a frame: field number and wire type of ClientFrame.kind.
constexpr char kHello = 0x0a;
constexpr char kLease = 0x12;

// ServerFrame{welcome{version: 1, session_id: 1}}
constexpr std::string_view kWelcome("\x0a\x04\x08\x01\x10\x01", 6);
// ServerFrame{grant{request_id: 1, leases{lease_id: 2^40 + 1, reused: true}}}: berthd's lease ids
// soon are as long.
constexpr std::string_view kGrant("\x1a\x0d\x08\x01\x12\x09\x08\x81\x80\x80\x80\x80\x20\x10\x01",
                                  15);

std::vector<int> connections;
size_t next_connection = 0;

[[noreturn]] void fail(const char* what) {
  std::perror(what);
  std::exit(1);
}

int connect_to(uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0 || connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    fail("connect");
  }
  return fd;
}

int listen_on(const char* path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path, sizeof address.sun_path - 1);
  const int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  if (fd < 0 || bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
      listen(fd, kBacklog) != 0) {
    fail(path);
  }
  return fd;
}

void watch(int epoll, int fd) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = fd;
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0) fail("epoll_ctl");
}

void send_frame(int fd, std::string_view frame) {
  send(fd, frame.data(), frame.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
}

void send_grant(int fd) {
  const int connection = connections[next_connection];
  if (++next_connection == connections.size()) next_connection = 0;
  iovec data{const_cast<char*>(kGrant.data()), kGrant.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof connection)> control;
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof connection);
  std::memcpy(CMSG_DATA(header), &connection, sizeof connection);
  sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

// Reads until nothing is left or a lease was answered: its client has nothing to say before it has
// read the answer.
void serve(int fd) {
  std::array<char, 4096> frame;
  for (;;) {
    iovec data{frame.data(), frame.size()};
    msghdr message{};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    const ssize_t got = recvmsg(fd, &message, MSG_DONTWAIT);
    if (got < 0) return;
    if (got == 0) {
      close(fd);
      return;
    }
    if (frame[0] == kLease) return send_grant(fd);
    if (frame[0] == kHello) return send_frame(fd, kWelcome);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4 || std::atoi(argv[3]) < 1) {
    std::fputs("usage: baseline SOCKET PORT CONNECTIONS\n", stderr);
    return 64;
  }
  connections.resize(static_cast<size_t>(std::atoi(argv[3])));
  for (int& fd : connections) fd = connect_to(static_cast<uint16_t>(std::atoi(argv[2])));

  const int epoll = epoll_create1(EPOLL_CLOEXEC);
  const int listener = listen_on(argv[1]);
  watch(epoll, listener);
  for (;;) {
    std::array<epoll_event, 64> events;
    const int count = epoll_wait(epoll, events.data(), static_cast<int>(events.size()), -1);
    for (int i = 0; i < count; ++i) {
      const int fd = events[static_cast<size_t>(i)].data.fd;
      if (fd == listener) {
        watch(epoll, accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
      } else {
        serve(fd);
      }
    }
  }
}
