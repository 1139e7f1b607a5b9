#include "net/pin.h"

#include <linux/filter.h>
#include <netinet/in.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string>

#include "base/check.h"
#include "base/unique_fd.h"
#include "net/errno_status.h"

namespace berth::net {
namespace {

// The filter sees a TCP segment at offset 0, and its IP header from SKF_NET_OFF on.
constexpr uint32_t kSourcePort = 0;
constexpr uint32_t kTcpFlags = 13;
constexpr uint32_t kSyn = 0x02;
constexpr uint32_t kIpVersion = static_cast<uint32_t>(SKF_NET_OFF);
constexpr uint32_t kIpv4Source = static_cast<uint32_t>(SKF_NET_OFF) + 12;
constexpr uint32_t kIpv6Source = static_cast<uint32_t>(SKF_NET_OFF) + 8;
constexpr uint32_t kPass = 0xffffffff;
constexpr uint32_t kDrop = 0;

class Program {
 public:
  // A packet whose value at `offset` (of `size` BPF_B, BPF_H or BPF_W) is another is dropped.
  void require(uint16_t size, uint32_t offset, uint32_t value, uint32_t mask = kPass) {
    add(static_cast<uint16_t>(BPF_LD | BPF_ABS | size), offset);
    if (mask != kPass) add(BPF_ALU | BPF_AND | BPF_K, mask);
    add(BPF_JMP | BPF_JEQ | BPF_K, value, 1, 0);
    add(BPF_RET | BPF_K, kDrop);
  }

  int attach(int fd) {
    add(BPF_RET | BPF_K, kPass);
    const sock_fprog program{static_cast<unsigned short>(size_), code_.data()};
    return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program);
  }

  // Whether that is the filter the socket has.
  bool is_attached(int fd) const {
    std::array<sock_filter, kMostInstructions> code;
    socklen_t count = kMostInstructions;  // unlike elsewhere not in bytes
    return getsockopt(fd, SOL_SOCKET, SO_GET_FILTER, code.data(), &count) == 0 && count == size_ &&
           std::memcmp(code.data(), code_.data(), count * sizeof(sock_filter)) == 0;
  }

 private:
  void add(uint16_t code, uint32_t k, uint8_t if_true = 0, uint8_t if_false = 0) {
    BERTH_CHECK(size_ < code_.size(), "the longest filter, for IPv6, fits");
    code_[size_++] = sock_filter{code, if_true, if_false, k};
  }

  static constexpr size_t kMostInstructions = 24;

  std::array<sock_filter, kMostInstructions> code_;
  size_t size_ = 0;
};

void require_ipv4(Program& program, const in_addr& source) {
  program.require(BPF_B, kIpVersion, 0x40, 0xf0);
  program.require(BPF_W, kIpv4Source, ntohl(source.s_addr));
}

void require_ipv6(Program& program, const in6_addr& source) {
  uint32_t words[4];
  std::memcpy(words, &source, sizeof words);
  if (IN6_IS_ADDR_V4MAPPED(&source)) return require_ipv4(program, in_addr{words[3]});
  program.require(BPF_B, kIpVersion, 0x60, 0xf0);
  for (uint32_t i = 0; i < 4; ++i) program.require(BPF_W, kIpv6Source + 4 * i, ntohl(words[i]));
}

void require_source(Program& program, const SocketAddress& peer) {
  BERTH_CHECK(peer.is_tcp(), "only TCP sockets are pinned");
  if (peer.family() == AF_INET) {
    sockaddr_in in;
    std::memcpy(&in, &peer.storage, sizeof in);
    program.require(BPF_H, kSourcePort, ntohs(in.sin_port));
    require_ipv4(program, in.sin_addr);
  } else {
    sockaddr_in6 in;
    std::memcpy(&in, &peer.storage, sizeof in);
    program.require(BPF_H, kSourcePort, ntohs(in.sin6_port));
    require_ipv6(program, in.sin6_addr);
  }
}

bool is_locked(int fd) {
  int locked = 0;
  socklen_t length = sizeof locked;
  return getsockopt(fd, SOL_SOCKET, SO_LOCK_FILTER, &locked, &length) == 0 && locked != 0;
}

absl::Status refused(int fd, int error_number, const SocketAddress& peer) {
  const std::string attempt = "pin the socket to " + peer.text();
  if (error_number != EPERM) return errno_status(error_number, attempt);
  return absl::PermissionDeniedError(
      attempt + (is_locked(fd) ? ": it is pinned to another, or filtered otherwise"
                               : ": this kernel wants CAP_NET_ADMIN"));
}

absl::Status lock(Program& program, int fd, const SocketAddress& peer) {
  const int on = 1;
  if (program.attach(fd) != 0 || setsockopt(fd, SOL_SOCKET, SO_LOCK_FILTER, &on, sizeof on) != 0) {
    const int error_number = errno;
    if (is_locked(fd) && program.is_attached(fd)) return absl::OkStatus();
    return refused(fd, error_number, peer);
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status pin_to_peer(int fd, const SocketAddress& peer) {
  Program program;
  require_source(program, peer);
  return lock(program, fd, peer);
}

absl::Status pin_connected(int fd, const SocketAddress& peer) {
  Program program;
  require_source(program, peer);
  program.require(BPF_B, kTcpFlags, 0, kSyn);
  return lock(program, fd, peer);
}

absl::Status can_pin() {
  const UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return errno_status(errno, "open a socket");
  SocketAddress anyone;
  anyone.storage.ss_family = AF_INET;
  anyone.length = sizeof(sockaddr_in);
  return pin_to_peer(fd.get(), anyone);
}

}  // namespace berth::net
