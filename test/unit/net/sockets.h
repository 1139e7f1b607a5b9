// Real sockets for the tests of src/net: pairs, deadlines, children. Nothing here sleeps.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>

#include "base/unique_fd.h"
#include "net/address.h"
#include "net/dial.h"
#include "net/pin.h"

namespace berth::net::test {

inline constexpr int kDeadlineMs = 10'000;

inline bool wait_for(int fd, short events) {
  pollfd watch{fd, events, 0};
  return poll(&watch, 1, kDeadlineMs) > 0;
}
inline bool wait_readable(int fd) {
  return wait_for(fd, POLLIN);
}
inline bool wait_writable(int fd) {
  return wait_for(fd, POLLOUT);
}

inline SocketAddress address_of(const std::string& url) {
  return *literal_address(std::get<Endpoint>(parse_endpoint(url)));
}

inline SocketAddress with_port_of(SocketAddress address, const UniqueFd& bound) {
  const SocketAddress actual = *local_address(bound.get());
  std::memcpy(&address.storage, &actual.storage, sizeof address.storage);
  return address;
}

// A listening socket at `address`; port 1 stands for any free one.
inline UniqueFd listen_at(SocketAddress& address, int backlog = 16) {
  UniqueFd fd(socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (address.is_tcp()) reinterpret_cast<sockaddr_in*>(&address.storage)->sin_port = 0;
  EXPECT_EQ(bind(fd.get(), address.raw(), address.length), 0) << std::strerror(errno);
  EXPECT_EQ(listen(fd.get(), backlog), 0);
  if (address.is_tcp()) address = with_port_of(address, fd);
  return fd;
}

inline UniqueFd accept_from(const UniqueFd& listener) {
  EXPECT_TRUE(wait_readable(listener.get()));
  return UniqueFd(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
}

// The defaults, less the pin where this process may not pin.
inline DialOptions dial_options() {
  DialOptions options;
  options.pin = can_pin().ok();
  return options;
}

inline UniqueFd dial(const SocketAddress& address, const DialOptions& options = dial_options()) {
  auto fd = start_connect(address, options);
  EXPECT_TRUE(fd.ok()) << fd.status();
  if (!fd.ok()) return UniqueFd();
  EXPECT_TRUE(wait_writable(fd->get()));
  const absl::Status status = finish_connect(fd->get(), address);
  EXPECT_TRUE(status.ok()) << status;
  return *std::move(fd);
}

// One pooled connection and the server's end of it.
struct Connection {
  explicit Connection(const std::string& url = "tcp://127.0.0.1:1",
                      const DialOptions& options = dial_options())
      : address(address_of(url)),
        listener(listen_at(address)),
        fd(dial(address, options)),
        server(accept_from(listener)) {}

  SocketAddress address;
  UniqueFd listener;
  UniqueFd fd;
  UniqueFd server;
};

inline bool say(const UniqueFd& fd, const std::string& text) {
  return send(fd.get(), text.data(), text.size(), MSG_NOSIGNAL) ==
         static_cast<ssize_t>(text.size());
}

// What arrives next, up to `most` bytes; "" at the end of the stream.
inline std::string hear(const UniqueFd& fd, size_t most = 4096) {
  if (!wait_readable(fd.get())) return "(deadline)";
  std::string text(most, '\0');
  const ssize_t got = recv(fd.get(), text.data(), most, MSG_DONTWAIT);
  if (got < 0) return "(" + std::string(strerrordesc_np(errno)) + ")";
  text.resize(static_cast<size_t>(got));
  return text;
}

// Sends until the socket takes no more; returns how much it took.
inline size_t fill(const UniqueFd& fd) {
  const std::string block(65536, 'x');
  size_t total = 0;
  for (;;) {
    const ssize_t sent = send(fd.get(), block.data(), block.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0) return total;
    total += static_cast<size_t>(sent);
  }
}

inline bool read_all(const UniqueFd& fd, size_t bytes) {
  while (bytes > 0) {
    const std::string got = hear(fd, std::min<size_t>(bytes, 65536));
    if (got.empty() || got.front() == '(') return false;
    bytes -= got.size();
  }
  return true;
}

template <class Value>
int set_option(const UniqueFd& fd, int level, int name, const Value& value) {
  return setsockopt(fd.get(), level, name, &value, sizeof value);
}

template <class Value = int>
Value get_option(const UniqueFd& fd, int level, int name) {
  Value value{};
  socklen_t length = sizeof value;
  EXPECT_EQ(getsockopt(fd.get(), level, name, &value, &length), 0) << std::strerror(errno);
  return value;
}

// What a lessee can do with connect(2): let go of the peer, so as to take another.
inline int disconnect(const UniqueFd& fd) {
  sockaddr nobody{};
  nobody.sa_family = AF_UNSPEC;
  return connect(fd.get(), &nobody, sizeof nobody);
}

// A folder that goes with its contents, short enough for socket paths.
class Folder {
 public:
  Folder() {
    EXPECT_NE(mkdtemp(path_.data()), nullptr);
    EXPECT_EQ(chmod(path_.data(), 0755), 0);  // for clients of other users
  }
  ~Folder() {
    const std::string command = "rm -rf " + std::string(path_.data());
    EXPECT_EQ(system(command.c_str()), 0);
  }
  std::string file(const std::string& name) const { return std::string(path_.data()) + "/" + name; }

 private:
  std::array<char, 32> path_{"/tmp/berth-net-XXXXXX"};
};

struct Pipe {
  Pipe() {
    int fds[2];
    EXPECT_EQ(pipe2(fds, O_CLOEXEC), 0);
    out.reset(fds[0]);
    in.reset(fds[1]);
  }
  UniqueFd out, in;
};

// A child that runs `body` and exits with what it returns.
class Child {
 public:
  template <class Body>
  explicit Child(Body body) : pid_(fork()) {
    if (pid_ == 0) _exit(body());
  }
  ~Child() { join(); }
  pid_t pid() const { return pid_; }
  // Its exit status; -1 if a signal ended it.
  int join() {
    if (pid_ > 0 && waitpid(pid_, &status_, 0) == pid_) pid_ = 0;
    return WIFEXITED(status_) ? WEXITSTATUS(status_) : -1;
  }

 private:
  pid_t pid_;
  int status_ = -1;
};

// Lets this process open no further descriptor until it goes.
class NoFdsLeft {
 public:
  NoFdsLeft() {
    getrlimit(RLIMIT_NOFILE, &before_);
    const UniqueFd next(dup(0));
    rlimit none = before_;
    none.rlim_cur = static_cast<rlim_t>(next.get());
    EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  }
  ~NoFdsLeft() { setrlimit(RLIMIT_NOFILE, &before_); }

 private:
  rlimit before_{};
};

}  // namespace berth::net::test
