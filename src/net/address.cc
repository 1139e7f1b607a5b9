#include "net/address.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/un.h>

#include <cstddef>
#include <cstring>
#include <string_view>
#include <tuple>

#include "base/check.h"

namespace berth::net {
namespace {

constexpr size_t kPathOffset = offsetof(sockaddr_un, sun_path);

template <class Address>
Address as(const SocketAddress& address) {
  Address out;
  std::memcpy(&out, &address.storage, sizeof out);
  return out;
}

// What names a Unix socket: its path without the trailing zero that may or may not be counted,
// or a zero byte and the abstract name.
std::string unix_name(const SocketAddress& address) {
  if (address.length <= kPathOffset) return {};
  const auto un = as<sockaddr_un>(address);
  const size_t bytes = address.length - kPathOffset;
  if (un.sun_path[0] == '\0') return std::string(un.sun_path, bytes);
  return std::string(un.sun_path, strnlen(un.sun_path, bytes));
}

std::string unix_text(const SocketAddress& address) {
  std::string name = unix_name(address);
  if (name.empty()) return "(no address)";
  if (name.front() == '\0') name.front() = '@';
  return name;
}

std::string ipv4_text(const SocketAddress& address) {
  const auto in = as<sockaddr_in>(address);
  char host[INET_ADDRSTRLEN];
  inet_ntop(AF_INET, &in.sin_addr, host, sizeof host);
  return std::string(host) + ":" + std::to_string(ntohs(in.sin_port));
}

std::string ipv6_text(const SocketAddress& address) {
  const auto in = as<sockaddr_in6>(address);
  char host[INET6_ADDRSTRLEN];
  inet_ntop(AF_INET6, &in.sin6_addr, host, sizeof host);
  const std::string scope =
      in.sin6_scope_id != 0 ? "%" + std::to_string(in.sin6_scope_id) : std::string();
  return "[" + (host + scope) + "]:" + std::to_string(ntohs(in.sin6_port));
}

bool same_ipv4(const sockaddr_in& a, const sockaddr_in& b) {
  return a.sin_addr.s_addr == b.sin_addr.s_addr && a.sin_port == b.sin_port;
}

bool same_ipv6(const sockaddr_in6& a, const sockaddr_in6& b) {
  return std::memcmp(&a.sin6_addr, &b.sin6_addr, sizeof a.sin6_addr) == 0 &&
         std::tie(a.sin6_port, a.sin6_scope_id) == std::tie(b.sin6_port, b.sin6_scope_id);
}

SocketAddress unix_address(const Endpoint& endpoint) {
  const bool abstract = endpoint.kind == Endpoint::Kind::unix_abstract;
  const std::string name = abstract ? '\0' + endpoint.path : endpoint.path;
  sockaddr_un un{};
  un.sun_family = AF_UNIX;
  BERTH_CHECK(name.size() + (abstract ? 0 : 1) <= sizeof un.sun_path,
              "parse_endpoint bounds the length of a socket's path");
  std::memcpy(un.sun_path, name.data(), name.size());
  SocketAddress out;
  std::memcpy(&out.storage, &un, sizeof un);
  // An abstract name is all the bytes counted; a path ends with its zero.
  out.length = static_cast<socklen_t>(kPathOffset + name.size() + (abstract ? 0 : 1));
  return out;
}

// getaddrinfo(3) rather than inet_pton(3): it knows the scope in fe80::1%eth0. With these flags
// it asks nobody.
std::optional<SocketAddress> numeric_address(const Endpoint& endpoint) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const std::string port = std::to_string(endpoint.port);
  if (getaddrinfo(endpoint.host.c_str(), port.c_str(), &hints, &found) != 0) return std::nullopt;
  SocketAddress out;
  std::memcpy(&out.storage, found->ai_addr, found->ai_addrlen);
  out.length = found->ai_addrlen;
  freeaddrinfo(found);
  return out;
}

template <class GetName>
std::optional<SocketAddress> name_of(int fd, GetName get_name) {
  SocketAddress out;
  out.length = sizeof out.storage;
  if (get_name(fd, out.raw(), &out.length) != 0) return std::nullopt;
  return out;
}

}  // namespace

std::string SocketAddress::text() const {
  switch (family()) {
    case AF_INET: return ipv4_text(*this);
    case AF_INET6: return ipv6_text(*this);
    case AF_UNIX: return unix_text(*this);
    case AF_UNSPEC: return "(no address)";
    default: return "(address of family " + std::to_string(family()) + ")";
  }
}

bool operator==(const SocketAddress& a, const SocketAddress& b) {
  if (a.family() != b.family()) return false;
  switch (a.family()) {
    case AF_INET: return same_ipv4(as<sockaddr_in>(a), as<sockaddr_in>(b));
    case AF_INET6: return same_ipv6(as<sockaddr_in6>(a), as<sockaddr_in6>(b));
    case AF_UNIX: return unix_name(a) == unix_name(b);
    default: return a.length == b.length && std::memcmp(&a.storage, &b.storage, a.length) == 0;
  }
}

std::optional<SocketAddress> literal_address(const Endpoint& endpoint) {
  if (endpoint.kind == Endpoint::Kind::tcp) return numeric_address(endpoint);
  return unix_address(endpoint);
}

std::optional<SocketAddress> peer_address(int fd) {
  return name_of(fd, getpeername);
}
std::optional<SocketAddress> local_address(int fd) {
  return name_of(fd, getsockname);
}

}  // namespace berth::net
