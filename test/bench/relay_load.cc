// relay_load: moves bytes through a relay, and prints what that took as JSON.
//
//   relay_load serve                   a server on a free port of 127.0.0.1, which it prints
//   relay_load pull ADDRESS BYTES      how long BYTES take to come from it
//   relay_load echo ADDRESS TURNS      how long 128 bytes take there and back, TURNS times
//   relay_load flood ADDRESS CLIENTS   so many processes pull without end, until standard input
//   ends
//
// ADDRESS is the path of a Unix socket, or a port of 127.0.0.1. A client's first eight bytes are
// how many the server is to send, in its own byte order; 0: it sends back what comes.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>
#include <thread>
#include <vector>

namespace {

constexpr size_t kChunk = 256 * 1024;
constexpr size_t kMessage = 128;
constexpr int kWarmUpTurns = 300;
constexpr uint64_t kEndless = UINT64_MAX;

[[noreturn]] void fail(const std::string& what) {
  std::perror(("relay_load: " + what).c_str());
  std::exit(1);
}

int64_t now_ns() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

bool send_all(int fd, const char* bytes, size_t size) {
  while (size > 0) {
    const ssize_t sent = send(fd, bytes, size, MSG_NOSIGNAL);
    if (sent <= 0) return false;
    bytes += sent;
    size -= static_cast<size_t>(sent);
  }
  return true;
}

bool receive_all(int fd, char* bytes, size_t size) {
  return recv(fd, bytes, size, MSG_WAITALL) == static_cast<ssize_t>(size);
}

void no_delay(int fd) {
  const int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);  // of TCP only
}

void answer(int fd) {
  no_delay(fd);
  std::vector<char> buffer(kChunk);
  uint64_t wanted = 0;
  if (receive_all(fd, reinterpret_cast<char*>(&wanted), sizeof wanted)) {
    while (wanted > 0) {
      const size_t size = std::min<uint64_t>(wanted, buffer.size());
      if (!send_all(fd, buffer.data(), size)) break;
      if (wanted != kEndless) wanted -= size;
      if (wanted == 0) break;
    }
    ssize_t got;
    while ((got = recv(fd, buffer.data(), buffer.size(), 0)) > 0) {
      if (!send_all(fd, buffer.data(), static_cast<size_t>(got))) break;
    }
  }
  close(fd);
}

sockaddr_in loopback(uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  return address;
}

int serve() {
  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = loopback(0);
  socklen_t length = sizeof address;
  auto* raw = reinterpret_cast<sockaddr*>(&address);
  if (bind(listener, raw, length) != 0 || listen(listener, 128) != 0 ||
      getsockname(listener, raw, &length) != 0) {
    fail("listen");
  }
  std::printf("%d\n", ntohs(address.sin_port));
  std::fflush(stdout);
  for (;;) {
    const int fd = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) fail("accept");
    std::thread(answer, fd).detach();
  }
}

int dial(const std::string& where) {
  const bool path = where.front() == '/';
  const int fd = socket(path ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un unix_address{};
  unix_address.sun_family = AF_UNIX;
  std::strncpy(unix_address.sun_path, where.c_str(), sizeof unix_address.sun_path - 1);
  const sockaddr_in tcp_address = loopback(static_cast<uint16_t>(std::atoi(where.c_str())));
  const auto* raw = path ? reinterpret_cast<const sockaddr*>(&unix_address)
                         : reinterpret_cast<const sockaddr*>(&tcp_address);
  if (connect(fd, raw, path ? sizeof unix_address : sizeof tcp_address) != 0) fail("connect");
  if (!path) no_delay(fd);
  return fd;
}

void ask(int fd, uint64_t bytes) {
  if (!send_all(fd, reinterpret_cast<const char*>(&bytes), sizeof bytes)) fail("send");
}

uint64_t read_bytes(int fd, uint64_t bytes) {
  std::vector<char> buffer(kChunk);
  uint64_t received = 0;
  while (received < bytes) {
    const ssize_t got = recv(fd, buffer.data(), buffer.size(), 0);
    if (got <= 0) fail("receive");
    received += static_cast<uint64_t>(got);
  }
  return received;
}

int pull(const std::string& where, uint64_t bytes) {
  const int fd = dial(where);
  const int64_t begun = now_ns();
  ask(fd, bytes);
  read_bytes(fd, bytes);
  std::printf("{\"seconds\": %.6f}\n", static_cast<double>(now_ns() - begun) / 1e9);
  return 0;
}

int echo(const std::string& where, int turns) {
  const int fd = dial(where);
  ask(fd, 0);
  char message[kMessage] = {};
  std::vector<int64_t> times;
  for (int i = 0; i < kWarmUpTurns + turns; ++i) {
    const int64_t begun = now_ns();
    if (!send_all(fd, message, sizeof message) || !receive_all(fd, message, sizeof message)) {
      fail("echo");
    }
    if (i >= kWarmUpTurns) times.push_back(now_ns() - begun);
  }
  std::sort(times.begin(), times.end());
  std::printf("{\"p50_ns\": %lld, \"p99_ns\": %lld, \"warm_up\": %d}\n",
              static_cast<long long>(times[times.size() / 2]),
              static_cast<long long>(times[times.size() * 99 / 100]), kWarmUpTurns);
  return 0;
}

int flood(const std::string& where, int clients) {
  std::vector<pid_t> children;
  for (int i = 0; i < clients; ++i) {
    const pid_t child = fork();
    if (child < 0) fail("fork");
    if (child == 0) {
      const int fd = dial(where);
      ask(fd, kEndless);
      read_bytes(fd, kEndless);
      std::_Exit(0);
    }
    children.push_back(child);
  }
  std::puts("flooding");
  std::fflush(stdout);
  while (std::getchar() != EOF) {
  }
  for (const pid_t child : children) {
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "";
  if (what == "serve" && argc == 2) return serve();
  if (what == "pull" && argc == 4) return pull(argv[2], std::strtoull(argv[3], nullptr, 10));
  if (what == "echo" && argc == 4) return echo(argv[2], std::atoi(argv[3]));
  if (what == "flood" && argc == 4) return flood(argv[2], std::atoi(argv[3]));
  std::fputs(
      "usage: relay_load serve | pull ADDRESS BYTES | echo ADDRESS TURNS | flood ADDRESS N\n",
      stderr);
  return 64;
}
