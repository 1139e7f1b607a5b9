#include "net/ktls.h"

#include <absl/strings/str_cat.h>
#include <linux/tls.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/random.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <span>
#include <string_view>
#include <utility>

#include "base/poll_one.h"
#include "base/unique_fd.h"
#include "net/address.h"
#include "net/errno_status.h"

namespace berth::net {
namespace {

using Direction = wire::TlsKeys::Direction;

constexpr TlsCipher kCiphers[] = {TlsCipher::aes_128_gcm, TlsCipher::aes_256_gcm,
                                  TlsCipher::chacha20_poly1305};
constexpr int kProbeMs = 1000;  // loopback delivers at once, but the kernel may decrypt on a worker
constexpr unsigned char kAlert = 21;  // RFC 5246 section 6.2.1

const char* name_of(TlsCipher cipher) {
  switch (cipher) {
    case TlsCipher::aes_128_gcm: return "AES-128-GCM";
    case TlsCipher::aes_256_gcm: return "AES-256-GCM";
    case TlsCipher::chacha20_poly1305: return "ChaCha20-Poly1305";
  }
  return "?";
}

void fill(std::span<unsigned char> to, std::span<const uint8_t> from) {
  std::copy_n(from.begin(), to.size(), to.begin());
}

// RFC 5288 section 3: the explicit part of a nonce must never come twice under a key; with the
// sequence in its place it cannot.
template <class Info>
Info gcm(uint16_t type, const Direction& direction) {
  Info info{};
  info.info = {TLS_1_2_VERSION, type};
  fill(info.key, direction.key);
  fill(info.salt, direction.iv);
  fill(info.iv, direction.sequence);
  fill(info.rec_seq, direction.sequence);
  return info;
}

tls12_crypto_info_chacha20_poly1305 chacha20(const Direction& direction) {
  tls12_crypto_info_chacha20_poly1305 info{};
  info.info = {TLS_1_2_VERSION, TLS_CIPHER_CHACHA20_POLY1305};
  fill(info.key, direction.key);
  fill(info.iv, direction.iv);
  fill(info.rec_seq, direction.sequence);
  return info;
}

// 0 or an errno.
template <class Info>
int install(int fd, int way, Info info) {
  const int error = setsockopt(fd, SOL_TLS, way, &info, sizeof info) == 0 ? 0 : errno;
  explicit_bzero(&info, sizeof info);
  return error;
}

int install(int fd, int way, TlsCipher cipher, const Direction& direction) {
  using Aes128 = tls12_crypto_info_aes_gcm_128;
  using Aes256 = tls12_crypto_info_aes_gcm_256;
  switch (cipher) {
    case TlsCipher::aes_128_gcm:
      return install(fd, way, gcm<Aes128>(TLS_CIPHER_AES_GCM_128, direction));
    case TlsCipher::aes_256_gcm:
      return install(fd, way, gcm<Aes256>(TLS_CIPHER_AES_GCM_256, direction));
    case TlsCipher::chacha20_poly1305: return install(fd, way, chacha20(direction));
  }
  return EINVAL;
}

absl::Status layer_error(int error_number) {
  constexpr std::string_view kWhat = "put TLS on the socket in the kernel";
  if (error_number != ENOENT) return errno_status(error_number, kWhat);
  return absl::NotFoundError(absl::StrCat(
      std::string(kWhat), ": its module tls is not loaded. Load it as root with \"modprobe tls\", ",
      "and at each boot by a file in /etc/modules-load.d that says \"tls\""));
}

absl::Status key_error(int error_number, TlsCipher cipher) {
  const std::string what = absl::StrCat("give the kernel keys of ", name_of(cipher));
  switch (error_number) {
    case ENOENT: return absl::NotFoundError(what + ": it has no module for that cipher");
    case EINVAL: return absl::UnimplementedError(what + ": it is too old for that cipher");
    default: return errno_status(error_number, what);
  }
}

// ---- trying it ----

struct Pair {
  UniqueFd here, there;
};

UniqueFd tcp_socket() {
  return UniqueFd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
}

// Any program of the host may connect to the listening socket, and be first.
UniqueFd accept_from(const UniqueFd& listener, const UniqueFd& wanted) {
  const auto name = local_address(wanted.get());
  for (int tries = 0; tries < 8; ++tries) {
    UniqueFd got(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!got.valid() || peer_address(got.get()) == name) return got;
  }
  return UniqueFd();
}

absl::Status connect_pair(Pair& pair) {
  constexpr std::string_view kWhat = "try kernel TLS on loopback";
  sockaddr_in loopback{};
  loopback.sin_family = AF_INET;
  loopback.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  auto* address = reinterpret_cast<sockaddr*>(&loopback);
  socklen_t size = sizeof loopback;
  const UniqueFd listener = tcp_socket();
  pair.here = tcp_socket();
  if (!pair.here.valid()) return errno_status(errno, kWhat);
  const bool connected = bind(listener.get(), address, size) == 0 &&
                         listen(listener.get(), 8) == 0 &&
                         getsockname(listener.get(), address, &size) == 0 &&
                         connect(pair.here.get(), address, size) == 0;
  if (connected) pair.there = accept_from(listener, pair.here);
  if (pair.there.valid()) return absl::OkStatus();
  return errno_status(errno, kWhat);
}

wire::TlsKeys made_up_keys(TlsCipher cipher) {
  wire::TlsKeys keys;
  keys.cipher = cipher;
  // Whether they are random does not matter: nothing is said under them.
  for (Direction* way : {&keys.send, &keys.receive}) {
    (void)getrandom(way->key.data(), way->key.size(), GRND_NONBLOCK);
    (void)getrandom(way->iv.data(), way->iv.size(), GRND_NONBLOCK);
    way->sequence.back() = 1;
  }
  return keys;
}

bool arrives(const UniqueFd& from, const UniqueFd& to) {
  constexpr std::string_view kText = "berth";
  char got[kText.size() + 1];
  if (send(from.get(), kText.data(), kText.size(), MSG_DONTWAIT | MSG_NOSIGNAL) < 0) return false;
  if (poll_one(to.get(), POLLIN, kProbeMs) == 0) return false;
  const ssize_t size = recv(to.get(), got, sizeof got, MSG_DONTWAIT);
  return size > 0 && std::string_view(got, static_cast<size_t>(size)) == kText;
}

absl::Status try_out(TlsCipher cipher) {
  Pair pair;
  if (absl::Status status = connect_pair(pair); !status.ok()) return status;
  wire::TlsKeys keys = made_up_keys(cipher);
  if (absl::Status status = install_keys(pair.here.get(), keys); !status.ok()) return status;
  std::swap(keys.send, keys.receive);
  if (absl::Status status = install_keys(pair.there.get(), keys); !status.ok()) return status;
  if (arrives(pair.here, pair.there) && arrives(pair.there, pair.here)) return absl::OkStatus();
  return absl::InternalError(
      absl::StrCat("what is sent with ", name_of(cipher), " through kernel TLS does not arrive"));
}

}  // namespace

KtlsSupport probe_ktls() {
  KtlsSupport support;
  for (const TlsCipher cipher : kCiphers) {
    const absl::Status status = try_out(cipher);
    if (status.ok()) {
      support.ciphers.push_back(cipher);
      continue;
    }
    const std::string why(status.message());
    if (support.why_not.find(why) != std::string::npos) continue;
    absl::StrAppend(&support.why_not, support.why_not.empty() ? "" : "; ", why);
  }
  return support;
}

absl::Status install_keys(int fd, const wire::TlsKeys& keys) {
  if (setsockopt(fd, IPPROTO_TCP, TCP_ULP, "tls", sizeof "tls") != 0) return layer_error(errno);
  int error = install(fd, TLS_TX, keys.cipher, keys.send);
  if (error == 0) error = install(fd, TLS_RX, keys.cipher, keys.receive);
  return error == 0 ? absl::OkStatus() : key_error(error, keys.cipher);
}

void send_close_notify(int fd) {
  unsigned char alert[] = {1, 0};  // warning, close_notify: RFC 5246 section 7.2
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof kAlert)] = {};
  iovec part{alert, sizeof alert};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  cmsghdr* type = CMSG_FIRSTHDR(&message);
  type->cmsg_level = SOL_TLS;
  type->cmsg_type = TLS_SET_RECORD_TYPE;
  type->cmsg_len = CMSG_LEN(sizeof kAlert);
  std::memcpy(CMSG_DATA(type), &kAlert, sizeof kAlert);
  (void)sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

}  // namespace berth::net
