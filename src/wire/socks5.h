// Socks5: the handshake of RFC 1928, with user and password as in RFC 1929.
#pragma once

#include <memory>
#include <string>

#include "wire/proxy_handshake.h"

namespace berth::wire {

class Socks5 final : public ProxyHandshake {
 public:
  Socks5(std::shared_ptr<const ProxyAccess> access, const Endpoint& server);

 private:
  enum class Stage { method, login, connect };

  void take(char c) override;
  std::string moment() const override;
  void take_method();
  void take_login();
  void take_reply();
  void enter(Stage stage);

  const std::string request_;  // for the connection
  std::string login_;          // all of it but the password
  Stage stage_ = Stage::method;
  std::string answer_;  // as much of this stage's as has come
};

}  // namespace berth::wire
