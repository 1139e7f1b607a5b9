// The data plane in one process, for tests: real sockets on both sides, the loop driven by the
// test.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "base/limits.h"
#include "broker/broker.h"
#include "loop/timer.h"

namespace berth::broker {

using namespace std::chrono_literals;

// A server that accepts and says nothing unless told to.
class Upstream4 {
 public:
  Upstream4();
  UniqueFd accept();
  Endpoint endpoint() const;

 private:
  UniqueFd listener_;
  sockaddr_in address_{};
};

struct Received {
  wire::ServerFrame frame;
  std::vector<UniqueFd> fds;
};

class Client {
 public:
  explicit Client(const std::string& path);
  bool send(const wire::ClientFrame& frame);
  std::optional<Received> receive();
  bool closed() const { return closed_; }

 private:
  UniqueFd fd_;
  bool closed_ = false;
};

class BrokerTest : public testing::Test {
 protected:
  BrokerTest();
  ~BrokerTest() override;

  pool::PoolPolicy& policy() { return settings_.pools[0]; }
  void start(uint32_t fd_limit = 1000);
  // Runs the loop until `done`, or fails after 10 s.
  void run_until(const std::function<bool()>& done);
  // The next frame for `client`.
  template <class Frame>
  Frame expect(Client& client, std::vector<UniqueFd>* fds = nullptr) {
    std::optional<Received> got;
    run_until([&] { return (got = client.receive()).has_value(); });
    if (!got || !std::holds_alternative<Frame>(got->frame)) {
      ADD_FAILURE() << "another frame came, of kind " << (got ? got->frame.index() : 99);
      return {};
    }
    if (fds != nullptr) *fds = std::move(got->fds);
    return std::get<Frame>(std::move(got->frame));
  }
  wire::Welcome greet(Client& client);
  wire::Grant lease(Client& client, std::vector<UniqueFd>* fds = nullptr);
  const pool::Pool& pool() const;

  Upstream4 upstream_;
  std::string folder_;
  config::Settings settings_;
  loop::Loop loop_;
  loop::Timer* poll_ = nullptr;
  net::Listeners listeners_;
  std::unique_ptr<Broker> broker_;
  uint64_t request_ = 0;
};

}  // namespace berth::broker
