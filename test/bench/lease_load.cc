// lease_load: leases and releases as fast as it can, and prints what that took as JSON.
//
//   lease_load lease SOCKET LEASES COUNT KEY...   one session leases COUNT connections at a time,
//                                                 LEASES times, of each KEY in turn
//   lease_load crowd SOCKET CLIENTS MS KEY        CLIENTS processes lease for MS milliseconds
//   lease_load dial PORT DIALS                    connects to 127.0.0.1:PORT and closes, DIALS
//   times
//
// Bare system calls and frames made beforehand, for berthd and the baseline alike, so that what the
// client costs is the same on both sides. A turn is: LeaseRequest out, Grant with descriptors in,
// the descriptors closed, a Release for each out. Turns follow one another without a pause and are
// timed from start to start, so all that the server does for one is in it.
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>
#include <string_view>
#include <vector>

namespace {

constexpr unsigned kMaxCount = 64;
constexpr int kWarmUpTurns = 300;  // dials connections, fills caches

[[noreturn]] void fail(const std::string& what) {
  std::perror(("lease_load: " + what).c_str());
  std::exit(1);
}

int64_t now_ns() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

// ---- frames ----

std::string hello() {
  return {"\x0a\x02\x08\x01", 4};
}  // ClientFrame{hello{version: 1}}

// ClientFrame{lease{request_id: 1, key: KEY, count: COUNT}}
std::string lease_request(std::string_view key, unsigned count) {
  std::string inner("\x08\x01\x12", 3);
  inner += static_cast<char>(key.size());
  inner += key;
  inner += '\x18';
  inner += static_cast<char>(count);
  if (inner.size() > 127) fail("the key is too long for a one-byte length");
  return '\x12' + std::string(1, static_cast<char>(inner.size())) + inner;
}

// Reads ServerFrame{grant{request_id: 1, leases{lease_id, …}…}}: calls each(lease id, as its
// bytes).
template <class Each>
unsigned for_each_lease(std::string_view frame, Each each) {
  // Tag and length of the grant, then the request id; the length has two bytes in large batches.
  size_t at = frame.size() > 1 && (frame[1] & 0x80) != 0 ? 5 : 4;
  unsigned leases = 0;
  while (frame.size() > at + 3 && frame[0] == 0x1a && frame[at] == 0x12) {
    const size_t end = at + 2 + static_cast<size_t>(frame[at + 1]);
    size_t id_end = at + 3;
    while (id_end < frame.size() && (frame[id_end] & 0x80) != 0) ++id_end;
    each(frame.substr(at + 3, id_end + 1 - (at + 3)));
    at = end;
    ++leases;
  }
  return leases;
}

// ---- one session ----

class Client {
 public:
  explicit Client(const char* path) : fd_(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    if (connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) fail(path);
    send_frame(hello());
    char welcome[4096];
    if (recv(fd_, welcome, sizeof welcome, 0) <= 0 || welcome[0] != 0x0a) fail("no welcome");
  }

  void turn(std::string_view request, unsigned count) {
    send_frame(request);
    const std::string_view grant = receive_grant(count);
    for (unsigned i = 0; i < count; ++i) close(received_[i]);
    const unsigned leases = for_each_lease(grant, [this](std::string_view id) { release(id); });
    if (leases != count) fail("a grant of another number of leases");
  }

 private:
  void send_frame(std::string_view frame) {
    if (send(fd_, frame.data(), frame.size(), MSG_NOSIGNAL) < 0) fail("send");
  }

  std::string_view receive_grant(unsigned count) {
    iovec data{frame_.data(), frame_.size()};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(kMaxCount * sizeof(int))> control;
    msghdr message{};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = CMSG_SPACE(count * sizeof(int));
    const ssize_t got = recvmsg(fd_, &message, MSG_CMSG_CLOEXEC);
    if (got <= 0) fail("recvmsg");
    const std::string_view frame(frame_.data(), static_cast<size_t>(got));
    const cmsghdr* header = CMSG_FIRSTHDR(&message);
    if (header == nullptr || header->cmsg_len != CMSG_LEN(count * sizeof(int))) {
      fail("no grant: " + std::string(frame));
    }
    std::memcpy(received_.data(), CMSG_DATA(header), count * sizeof(int));
    return frame;
  }

  // ClientFrame{release{lease_id, outcome: REUSE}}
  void release(std::string_view id) {
    std::array<char, 16> frame{0x1a, static_cast<char>(id.size() + 3), 0x08};
    std::memcpy(&frame[3], id.data(), id.size());
    frame[3 + id.size()] = 0x10;
    frame[4 + id.size()] = 0x01;
    send_frame({frame.data(), 5 + id.size()});
  }

  const int fd_;
  std::array<char, 4096> frame_;
  std::array<int, kMaxCount> received_;
};

// ---- what is measured ----

void print_times(std::vector<int64_t>& times, int warm_up) {
  std::sort(times.begin(), times.end());
  const auto part = [&](double share) {
    return static_cast<long>(
        times[static_cast<size_t>(share * static_cast<double>(times.size() - 1))]);
  };
  std::printf("{\"turns\": %zu, \"warm_up\": %d, \"p50_ns\": %ld, \"p99_ns\": %ld}\n", times.size(),
              warm_up, part(0.5), part(0.99));
}

template <class Turn>
void time_turns(int turns, int warm_up, Turn turn) {
  for (int i = 0; i < warm_up; ++i) turn(i);
  std::vector<int64_t> times;
  times.reserve(static_cast<size_t>(turns));
  int64_t started = now_ns();
  for (int i = 0; i < turns; ++i) {
    turn(i);
    const int64_t ended = now_ns();
    times.push_back(ended - started);
    started = ended;
  }
  print_times(times, warm_up);
}

void lease(const char* path, int turns, unsigned count, char** keys, int key_count) {
  std::vector<std::string> requests;
  requests.reserve(static_cast<size_t>(key_count));
  for (int i = 0; i < key_count; ++i) requests.push_back(lease_request(keys[i], count));
  Client client(path);
  time_turns(turns, std::max(kWarmUpTurns, key_count), [&](int i) {
    client.turn(requests[static_cast<size_t>(i) % requests.size()], count);
  });
}

// All start at one moment, which each computes from the parent's clock, and count until another.
long lease_between(const char* path, const std::string& request, int64_t start, int64_t end) {
  Client client(path);
  while (now_ns() < start) client.turn(request, 1);
  long leases = 0;
  for (; now_ns() < end; ++leases) client.turn(request, 1);
  return leases;
}

void crowd(const char* path, int clients, int milliseconds, const char* key) {
  const std::string request = lease_request(key, 1);
  const int64_t start = now_ns() + 50'000'000;
  const int64_t end = start + int64_t{milliseconds} * 1'000'000;
  int results[2];
  if (pipe(results) != 0) fail("pipe");
  for (int i = 0; i < clients; ++i) {
    const pid_t pid = fork();
    if (pid < 0) fail("fork");
    if (pid > 0) continue;
    const long leases = lease_between(path, request, start, end);
    _exit(write(results[1], &leases, sizeof leases) == sizeof leases ? 0 : 1);
  }
  long sum = 0;
  for (int i = 0; i < clients; ++i) {
    int status = 0;
    long leases = 0;
    if (wait(&status) < 0 || status != 0) fail("a client failed");
    if (read(results[0], &leases, sizeof leases) != sizeof leases) fail("read");
    sum += leases;
  }
  std::printf("{\"turns\": %ld, \"per_second\": %.0f}\n", sum,
              1000.0 * static_cast<double>(sum) / milliseconds);
}

void dial(int port, int turns) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  time_turns(turns, 0, [&](int) {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) fail("connect");
    close(fd);
  });
}

int usage() {
  std::fputs(
      "usage: lease_load lease SOCKET LEASES COUNT KEY...\n"
      "       lease_load crowd SOCKET CLIENTS MS KEY\n"
      "       lease_load dial PORT DIALS\n",
      stderr);
  return 64;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view what = argc > 1 ? argv[1] : "";
  if (what == "lease" && argc >= 6) {
    const int count = std::atoi(argv[4]);
    if (count < 1 || count > static_cast<int>(kMaxCount)) return usage();
    lease(argv[2], std::atoi(argv[3]), static_cast<unsigned>(count), argv + 5, argc - 5);
  } else if (what == "crowd" && argc == 6) {
    crowd(argv[2], std::atoi(argv[3]), std::atoi(argv[4]), argv[5]);
  } else if (what == "dial" && argc == 4) {
    dial(std::atoi(argv[2]), std::atoi(argv[3]));
  } else {
    return usage();
  }
  return 0;
}
