// Connections through a proxy, which the test plays.
#include <sys/un.h>

#include <array>

#include "unit/broker/in_process.h"

namespace berth::broker {
namespace {

using namespace std::string_literals;

class ThroughProxy : public BrokerTest {
 protected:
  ThroughProxy() {
    policy().via = Proxy{Proxy::Kind::socks5, upstream_.endpoint(), ""};
    policy().endpoints = {{Endpoint::Kind::tcp, "db.example", 5432, ""}};
  }

  // A client's request, and the connection that the proxy gets for it.
  UniqueFd ask(Client& client) {
    client.send(wire::LeaseRequest{++request_, "up", 1, {}, ""});
    run_until([&] { return pool().count(pool::State::connecting) == 1; });
    return upstream_.accept();
  }

  // Reads until all of `bytes` came.
  void hear(int fd, const std::string& bytes) {
    std::string came;
    run_until([&] {
      char some[256];
      const ssize_t size = recv(fd, some, sizeof some, MSG_DONTWAIT);
      if (size > 0) came.append(some, static_cast<size_t>(size));
      return came.size() >= bytes.size();
    });
    EXPECT_EQ(came, bytes);
  }

  static void say(int fd, const std::string& bytes) {
    EXPECT_EQ(send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(bytes.size()));
  }

  const std::string request_bytes_ = "\x05\x01\x00\x03\x0a"s + "db.example" + "\x15\x38"s;
  const std::string connected_ = "\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00"s;
};

TEST_F(ThroughProxy, WhatTheServerSaysAtOnceIsLeftForTheHolder) {
  start();
  Client client(settings_.daemon.lease_socket);
  greet(client);
  const UniqueFd proxy = ask(client);
  hear(proxy.get(), "\x05\x01\x00"s);
  say(proxy.get(), "\x05\x00"s);
  hear(proxy.get(), request_bytes_);
  say(proxy.get(), connected_ + "220 mail");
  std::vector<UniqueFd> fds;
  expect<wire::Grant>(client, &fds);
  ASSERT_EQ(1u, fds.size());
  char bytes[32];
  EXPECT_EQ("220 mail", std::string(bytes, static_cast<size_t>(recv(fds[0].get(), bytes, 32, 0))));
}

TEST_F(ThroughProxy, GreetingAndLoginFollowTheHandshake) {
  policy().greeting = {{Step::Kind::expect, "220 mail\n", {}, {}}};
  policy().login = {{Step::Kind::send, "LOGIN\n", {}, {}}, {Step::Kind::expect, "OK\n", {}, {}}};
  start();
  Client client(settings_.daemon.lease_socket);
  greet(client);
  const UniqueFd proxy = ask(client);
  hear(proxy.get(), "\x05\x01\x00"s);
  say(proxy.get(), "\x05\x00"s);
  hear(proxy.get(), request_bytes_);
  say(proxy.get(), connected_ + "220 mail\n");
  hear(proxy.get(), "LOGIN\n");
  say(proxy.get(), "OK\n");
  expect<wire::Grant>(client);
}

TEST_F(ThroughProxy, ARefusalIsAFailedDial) {
  start();
  Client client(settings_.daemon.lease_socket);
  greet(client);
  const UniqueFd proxy = ask(client);
  hear(proxy.get(), "\x05\x01\x00"s);
  say(proxy.get(), "\x05\x00"s);
  hear(proxy.get(), request_bytes_);
  say(proxy.get(), "\x05\x05"s);
  const auto refused = expect<wire::Refusal>(client);
  EXPECT_EQ(Code::kUpstreamDown, refused.code);
  EXPECT_EQ(policy().via->name() +
                " refuses a connection to db.example:5432: connection refused by the server (5)",
            refused.why->last_dial_error);
  EXPECT_EQ(1u, refused.why->dial_failures);
}

TEST_F(ThroughProxy, ASilenceEndsWithDialTimeoutAndSaysWhose) {
  policy().dial_timeout = 50ms;
  start();
  Client client(settings_.daemon.lease_socket);
  greet(client);
  const UniqueFd proxy = ask(client);
  const auto refused = expect<wire::Refusal>(client);
  EXPECT_TRUE(refused.why->last_dial_error.starts_with(
      policy().via->name() + " gives no connection to db.example:5432: no answer within "))
      << refused.why->last_dial_error;
  std::array<char, 8> bytes;
  EXPECT_EQ(3, recv(proxy.get(), bytes.data(), bytes.size(), 0));
  EXPECT_EQ(0, recv(proxy.get(), bytes.data(), bytes.size(), 0));
}

TEST_F(ThroughProxy, AProxyThatIsNotThereIsNamed) {
  policy().via->server.host = "127.0.0.2";  // where this port has no listener
  start();
  Client client(settings_.daemon.lease_socket);
  greet(client);
  client.send(wire::LeaseRequest{++request_, "up", 1, {}, ""});
  const std::string address = "127.0.0.2:" + std::to_string(upstream_.endpoint().port);
  EXPECT_EQ("proxy socks5://" + address + ": connect to " + address + ": Connection refused",
            expect<wire::Refusal>(client).why->last_dial_error);
}

TEST_F(ThroughProxy, WhatIsNoHostIsDialledItself) {
  const std::string path = folder_ + "/server.sock";
  const UniqueFd listener(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  ASSERT_EQ(0, bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof address));
  ASSERT_EQ(0, listen(listener.get(), 1));
  policy().endpoints = {{Endpoint::Kind::unix_path, "", 0, path}};
  start();
  Client client(settings_.daemon.lease_socket);
  greet(client);
  EXPECT_EQ(1u, lease(client).leases.size());
}

}  // namespace
}  // namespace berth::broker
