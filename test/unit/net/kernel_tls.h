// Connections with kernel TLS on both ends, and records that are not data.
#pragma once

#include <linux/tls.h>

#include <algorithm>
#include <string>
#include <thread>
#include <utility>

#include "net/ktls.h"
#include "net/socket_state.h"
#include "unit/net/sockets.h"

// Where the kernel lacks it, a test ends here; `make check-vm` runs them all.
#define BERTH_NEEDS_KERNEL_TLS()                      \
  if (berth::net::test::kernel_tls().ciphers.empty()) \
  GTEST_SKIP() << "no kernel TLS here: " << berth::net::test::kernel_tls().why_not

namespace berth::net::test {

inline const KtlsSupport& kernel_tls() {
  static const KtlsSupport support = probe_ktls();
  return support;
}

inline wire::TlsKeys some_keys(TlsCipher cipher = TlsCipher::aes_128_gcm) {
  wire::TlsKeys keys;
  keys.cipher = cipher;
  keys.send.key.fill(1);
  keys.send.iv.fill(2);
  keys.send.sequence.back() = 1;
  keys.receive.key.fill(3);
  keys.receive.iv.fill(4);
  keys.receive.sequence.back() = 1;
  return keys;
}

inline wire::TlsKeys crosswise(wire::TlsKeys keys) {
  std::swap(keys.send, keys.receive);
  return keys;
}

// A connection whose both ends are the kernel's.
struct TlsConnection : Connection {
  explicit TlsConnection(const wire::TlsKeys& keys = some_keys(),
                         const std::string& url = "tcp://127.0.0.1:1")
      : Connection(url) {
    const absl::Status ours = install_keys(fd.get(), keys);
    EXPECT_TRUE(ours.ok()) << ours;
    const absl::Status theirs = install_keys(server.get(), crosswise(keys));
    EXPECT_TRUE(theirs.ok()) << theirs;
  }
};

// As read_all(), for a reader under TLS: poll(2) may be early, on a part of a record.
inline bool read_records(const UniqueFd& fd, size_t bytes) {
  EXPECT_EQ(set_option(fd, SOL_SOCKET, SO_RCVTIMEO, timeval{kDeadlineMs / 1000, 0}), 0);
  std::string block(65536, 0);
  while (bytes > 0) {
    const ssize_t got = recv(fd.get(), block.data(), std::min(bytes, block.size()), 0);
    if (got <= 0) return false;
    bytes -= static_cast<size_t>(got);
  }
  return true;
}

inline constexpr unsigned char kAlert = 21;
inline constexpr unsigned char kHandshake = 22;
inline const std::string kCloseNotify("\1\0", 2);
inline const std::string kFatalInternalError("\2\120", 2);
inline const std::string kHelloRequest(4, '\0');

inline bool say_record(const UniqueFd& fd, unsigned char type, std::string bytes) {
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof type)] = {};
  iovec part{bytes.data(), bytes.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_TLS;
  header->cmsg_type = TLS_SET_RECORD_TYPE;
  header->cmsg_len = CMSG_LEN(sizeof type);
  std::memcpy(CMSG_DATA(header), &type, sizeof type);
  return sendmsg(fd.get(), &message, MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size());
}

struct HeardRecord {
  unsigned char type = 0;
  std::string bytes;
  friend bool operator==(const HeardRecord&, const HeardRecord&) = default;
};

// The next record, whatever its type; of type 0 if there is none.
inline HeardRecord hear_record(const UniqueFd& fd) {
  HeardRecord heard;
  if (!wait_readable(fd.get())) return heard;
  heard.bytes.resize(20000);
  alignas(cmsghdr) char control[CMSG_SPACE(1)] = {};
  iovec part{heard.bytes.data(), heard.bytes.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  const ssize_t got = recvmsg(fd.get(), &message, MSG_DONTWAIT);
  heard.bytes.resize(static_cast<size_t>(std::max<ssize_t>(got, 0)));
  const cmsghdr* header = CMSG_FIRSTHDR(&message);
  if (got >= 0 && header != nullptr) std::memcpy(&heard.type, CMSG_DATA(header), 1);
  return heard;
}

// Another holder, who is within a send(2) that goes on until the socket is shut down. Until then
// the kernel lets nobody else send.
class StuckSender {
 public:
  explicit StuckSender(const UniqueFd& fd) : fd_(fcntl(fd.get(), F_DUPFD_CLOEXEC, 0)) {
    make_blocking(fd_.get());
    thread_ = std::thread([this] {
      const std::string much(16 << 20, 'x');
      (void)send(fd_.get(), much.data(), much.size(), MSG_NOSIGNAL);
    });
    pollfd watch{fd_.get(), POLLOUT, 0};
    while (poll(&watch, 1, 0) == 1) std::this_thread::yield();
  }
  ~StuckSender() {
    shutdown(fd_.get(), SHUT_RDWR);
    thread_.join();
  }

 private:
  UniqueFd fd_;
  std::thread thread_;
};

}  // namespace berth::net::test
