#include "fallback.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "base/unique_fd.h"

namespace berth::client {
namespace {

std::atomic<uint64_t> made{0};

struct Address {
  sockaddr_storage storage{};
  socklen_t size = 0;
};
using Addresses = std::variant<std::vector<Address>, Failure>;

struct FreeAddresses {
  void operator()(addrinfo* list) const { ::freeaddrinfo(list); }
};

Failure down(const Endpoint& server, const std::string& why) {
  return refused(Code::kUpstreamDown, server.url() + ": " + why);
}

Addresses look_up(const Endpoint& server) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const std::string port = std::to_string(server.port);
  const int error = ::getaddrinfo(server.host.c_str(), port.c_str(), &hints, &found);
  if (error == EAI_MEMORY) throw std::bad_alloc();
  if (error != 0) return down(server, ::gai_strerror(error));
  const std::unique_ptr<addrinfo, FreeAddresses> list(found);
  std::vector<Address> addresses;
  for (const addrinfo* each = found; each != nullptr; each = each->ai_next) {
    Address& address = addresses.emplace_back();
    address.size = each->ai_addrlen;
    std::memcpy(&address.storage, each->ai_addr, each->ai_addrlen);
  }
  return addresses;
}

Address local_address(const Endpoint& server) {
  const bool abstract = server.kind == Endpoint::Kind::unix_abstract;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path + (abstract ? 1 : 0), server.path.data(), server.path.size());
  Address out;
  // An abstract name ends with its last byte, a path with a zero.
  out.size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + server.path.size() + 1);
  std::memcpy(&out.storage, &address, sizeof address);
  return out;
}

Addresses addresses_of(const Endpoint& server) {
  if (server.kind == Endpoint::Kind::tcp) return look_up(server);
  return std::vector<Address>{local_address(server)};
}

// 0 or an errno: ETIMEDOUT if `deadline` passed first.
int connect_until(int fd, const Address& address, Deadline deadline) {
  for (;;) {
    bound_connect(fd, deadline);
    if (::connect(fd, reinterpret_cast<const sockaddr*>(&address.storage), address.size) == 0)
      break;
    if (errno == EINTR) continue;
    return errno == EINPROGRESS || errno == EALREADY || errno == EAGAIN ? ETIMEDOUT : errno;
  }
  const timeval never{};
  ::setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &never, sizeof never);
  const int on = 1;
  if (address.storage.ss_family != AF_UNIX) {
    ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);  // as berthd does
  }
  return 0;
}

// One address after another; each may take its part of the time that is left.
std::variant<UniqueFd, int> connect_any(const std::vector<Address>& addresses, Deadline deadline) {
  int error = EHOSTUNREACH;
  for (size_t i = 0; i < addresses.size(); ++i) {
    const auto now = Clock::now();
    const auto left = std::max(deadline - now, Clock::duration::zero());
    const Deadline until = now + left / static_cast<int64_t>(addresses.size() - i);
    UniqueFd fd(::socket(addresses[i].storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    error = fd.valid() ? connect_until(fd.get(), addresses[i], until) : errno;
    if (error == 0) return fd;
  }
  return error;
}

// A name that was looked up for longer than that leaves the addresses an instant.
Deadline deadline_of(const Fallback& fallback, Deadline start) {
  constexpr auto kDialTimeout = std::chrono::seconds(5);  // the default of berthd's dial_timeout
  constexpr uint64_t kLongestMs = uint64_t{1} << 40;      // more would overflow the clock
  if (!fallback.timeout_ms) return Clock::now() + kDialTimeout;
  return start + std::chrono::milliseconds(std::min(*fallback.timeout_ms, kLongestMs));
}

Failure not_connected(const Endpoint& server, int error) {
  const std::string words = with_reason(server.url(), error);
  if (error == EMFILE || error == ENFILE) return failed(error, words);
  return refused(error == ETIMEDOUT ? Code::kTimedOut : Code::kUpstreamDown, words);
}

}  // namespace

std::variant<Endpoint, Failure> read_fallback(const char* url) {
  auto parsed = parse_endpoint(url);
  if (const auto* wrong = std::get_if<std::string>(&parsed)) return invalid("fallback " + *wrong);
  auto& server = std::get<Endpoint>(parsed);
  if (server.kind == Endpoint::Kind::slot || server.is_service()) {
    return invalid("fallback \"" + server.url() +
                   "\" is no server; write tcp://HOST:PORT or unix:///PATH");
  }
  if (server.grpc) {
    return invalid("fallback \"" + server.url() +
                   "\": only berthd speaks HTTP/2; write tcp://HOST:PORT or unix:///PATH");
  }
  if (server.secure) {
    return invalid("fallback \"" + server.url() +
                   "\": only berthd speaks TLS; write tcp://HOST:PORT or unix:///PATH");
  }
  return std::move(server);
}

std::optional<Failure> dial_instead(const Fallback& fallback, Deadline start, berth_grant* out) {
  const Endpoint& server = fallback.server;
  const Addresses found = addresses_of(server);
  if (const auto* failure = std::get_if<Failure>(&found)) return *failure;
  std::vector<UniqueFd> fds;
  const Deadline deadline = deadline_of(fallback, start);
  for (unsigned i = 0; i < fallback.count; ++i) {
    auto connected = connect_any(std::get<std::vector<Address>>(found), deadline);
    if (const int* error = std::get_if<int>(&connected)) return not_connected(server, *error);
    fds.push_back(std::move(std::get<UniqueFd>(connected)));
  }
  for (UniqueFd& fd : fds) *out++ = {fallback.id, fd.release(), 0};
  made += fallback.count;
  return std::nullopt;
}

uint64_t fallbacks() noexcept {
  return made;
}

}  // namespace berth::client
