// Handshakes with proxies: an Exchange after which the connection is one to the server behind the
// proxy, of which not a byte was taken. wire/socks5.* and wire/http_connect.* are the two kinds.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/endpoint.h"
#include "base/proxy.h"
#include "base/secret.h"
#include "wire/exchange.h"

namespace berth::wire {

// A proxy, and what proves to it who asks. Immutable; made once and shared by all handshakes.
class ProxyAccess {
 public:
  // Requires: the password is as short as base/limits.h says.
  ProxyAccess(Proxy proxy, Secret password);

  const Proxy& proxy() const { return proxy_; }
  const Secret& password() const { return password_; }
  // User and password as Basic authentication sends them; empty: there is no user.
  const Secret& basic() const { return basic_; }

 private:
  Proxy proxy_;
  Secret password_;
  Secret basic_;
};

// A handshake that asks for a connection to `server`, which is tcp. A host name goes to the proxy
// as it is.
std::unique_ptr<Exchange> proxy_handshake(std::shared_ptr<const ProxyAccess> access,
                                          const Endpoint& server);

// What the two kinds share: how they send, are fed byte by byte, and fail.
class ProxyHandshake : public Exchange {
 public:
  State state() const final { return state_; }
  const std::string& why() const final { return why_; }
  std::vector<std::string_view> to_send() const final;
  void sent(size_t size) final;
  bool takes_all() const final { return false; }
  size_t feed(std::string_view bytes) final;
  void end() final;
  void time_out(Duration after) final;

 protected:
  ProxyHandshake(std::shared_ptr<const ProxyAccess> access, const Endpoint& server);

  // The next byte of an answer.
  virtual void take(char c) = 0;
  // What an end or a silence came after, for people: " when …", or "".
  virtual std::string moment() const = 0;

  const ProxyAccess& access() const { return *access_; }
  const std::string& target() const { return target_; }

  // What is asked next; the bytes stay where they are until they are sent.
  void ask(std::vector<std::string_view> pieces);
  void succeed() { state_ = State::done; }
  void fail(const std::string& how);
  void refused(const std::string& how);
  // What the proxy said, for people.
  std::string quoted(std::string_view bytes) const;

 private:
  bool is_over() const { return state_ == State::done || state_ == State::failed; }

  std::shared_ptr<const ProxyAccess> access_;
  const std::string target_;  // "db.example:5432"
  State state_ = State::expecting;
  std::vector<std::string_view> unsent_;
  std::string why_;
};

}  // namespace berth::wire
