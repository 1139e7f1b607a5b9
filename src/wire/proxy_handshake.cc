#include "wire/proxy_handshake.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/limits.h"
#include "wire/http_connect.h"
#include "wire/shown.h"
#include "wire/socks5.h"

namespace berth::wire {
namespace {

// RFC 4648, section 4. `byte(i)` is the i-th of `size` bytes.
template <class Byte>
void encode_base64(size_t size, Byte byte, char* out) {
  constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (size_t at = 0; at < size; at += 3) {
    unsigned bits = 0;
    for (size_t i = at; i < at + 3; ++i) {
      bits = bits << 8 | (i < size ? static_cast<unsigned char>(byte(i)) : 0u);
    }
    for (size_t i = 0; i < 4; ++i) {
      *out++ = at + i <= size ? kDigits[bits >> (18 - 6 * i) & 63] : '=';
    }
  }
}

// RFC 7617, section 2. What is put together here is nowhere else in memory.
Secret basic_credentials(const std::string& user, std::string_view password) {
  const size_t size = user.size() + 1 + password.size();
  const auto byte = [&](size_t i) {
    if (i < user.size()) return user[i];
    return i == user.size() ? ':' : password[i - user.size() - 1];
  };
  return Secret::made((size + 2) / 3 * 4, [&](char* out) { encode_base64(size, byte, out); });
}

}  // namespace

ProxyAccess::ProxyAccess(Proxy proxy, Secret password)
    : proxy_(std::move(proxy)), password_(std::move(password)) {
  const bool http = proxy_.kind == Proxy::Kind::http;
  BERTH_CHECK(password_.bytes().size() <= (http ? kMaxHttpPasswordBytes : kMaxSocksPasswordBytes),
              "the configuration bounds a proxy's password");
  if (http && !proxy_.user.empty()) basic_ = basic_credentials(proxy_.user, password_.bytes());
}

std::unique_ptr<Exchange> proxy_handshake(std::shared_ptr<const ProxyAccess> access,
                                          const Endpoint& server) {
  if (access->proxy().kind == Proxy::Kind::http) {
    return std::make_unique<HttpConnect>(std::move(access), server);
  }
  return std::make_unique<Socks5>(std::move(access), server);
}

ProxyHandshake::ProxyHandshake(std::shared_ptr<const ProxyAccess> access, const Endpoint& server)
    : access_(std::move(access)), target_(server.address()) {
  BERTH_CHECK(server.kind == Endpoint::Kind::tcp, "proxies lead to hosts and ports");
}

std::vector<std::string_view> ProxyHandshake::to_send() const {
  return unsent_;
}

void ProxyHandshake::sent(size_t size) {
  while (size > 0) {
    BERTH_CHECK(!unsent_.empty(), "no more is sent than there is to send");
    const size_t part = std::min(size, unsent_.front().size());
    unsent_.front().remove_prefix(part);
    size -= part;
    if (unsent_.front().empty()) unsent_.erase(unsent_.begin());
  }
  if (unsent_.empty() && state_ == State::sending) state_ = State::expecting;
}

// Byte by byte, so that how they came makes no difference, and none after the last is touched.
size_t ProxyHandshake::feed(std::string_view bytes) {
  if (state_ == State::sending && !bytes.empty()) fail("it speaks before it was asked");
  size_t taken = 0;
  while (state_ == State::expecting && taken < bytes.size()) take(bytes[taken++]);
  return taken;
}

void ProxyHandshake::end() {
  if (is_over()) return;
  fail("it closed the connection" + moment());
}

void ProxyHandshake::time_out(Duration after) {
  if (is_over()) return;
  fail("no answer within " + format_duration(after) + moment());
}

void ProxyHandshake::ask(std::vector<std::string_view> pieces) {
  unsent_ = std::move(pieces);
  std::erase(unsent_, std::string_view());
  state_ = State::sending;
}

void ProxyHandshake::fail(const std::string& how) {
  state_ = State::failed;
  why_ = access_->proxy().name() + " gives no connection to " + target_ + ": " + how;
}

void ProxyHandshake::refused(const std::string& how) {
  state_ = State::failed;
  why_ = access_->proxy().name() + " refuses a connection to " + target_ + ": " + how;
}

std::string ProxyHandshake::quoted(std::string_view bytes) const {
  const std::string_view secrets[] = {access_->password().bytes(), access_->basic().bytes()};
  return shown(bytes, Part::first, secrets);
}

}  // namespace berth::wire
