// What a name server really answers is proven by test/e2e/test_names.py; here is what happens
// without one.
#include "broker/dns_client.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>

#include <fstream>

#include "loop/timer.h"
#include "unit/net/sockets.h"

namespace berth::broker {
namespace {

using namespace std::chrono_literals;

constexpr const char* kNameServer = "127.53.254.254";  // nobody else's

// Takes questions and says nothing.
UniqueFd silent_name_server() {
  UniqueFd fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(53);
  inet_pton(AF_INET, kNameServer, &address.sin_addr);
  const auto* raw = reinterpret_cast<const sockaddr*>(&address);
  EXPECT_EQ(bind(fd.get(), raw, sizeof address), 0);
  return fd;
}

class DnsClientTest : public testing::Test {
 protected:
  void SetUp() override {
    if (getuid() != 0) GTEST_SKIP() << "only root has port 53";
    write("");
  }

  // Another version of resolv.conf.
  void write(const std::string& more) {
    std::ofstream(resolv_conf_) << "nameserver " << kNameServer << "\n" << more;
  }

  void ask(DnsClient& client, const std::string& url) {
    client.ask(std::get<Endpoint>(parse_endpoint(url)), [this](const net::Answer& answer) {
      errors_.push_back(answer.error);
      if (errors_.size() == expected_) loop_.stop();
    });
  }

  // Runs the loop until so many answers have come.
  void expect(size_t answers) {
    expected_ = answers;
    loop::Timer end(loop_, [this] { loop_.stop(); });
    end.arm(loop_.now() + 10s);
    if (errors_.size() < answers) loop_.run();
    EXPECT_EQ(errors_.size(), answers);
  }

  net::test::Folder folder_;
  const std::string resolv_conf_ = folder_.file("resolv.conf");
  size_t expected_ = 0;
  std::vector<std::string> errors_;
  loop::Loop loop_;
};

TEST_F(DnsClientTest, NameServersThatDoNotAnswerAreGivenUpWithinTheDefaultDialTimeout) {
  const UniqueFd silent = silent_name_server();
  DnsClient client(loop_, resolv_conf_);
  const TimePoint begun = loop_.now();
  ask(client, "tcp://a.test:1");
  ask(client, "tcp://_a._tcp.test");
  expect(2);
  EXPECT_LT(loop_.now() - begun, 5s);
  EXPECT_NE(errors_[0].find(".test\": Timeout"), std::string::npos) << errors_[0];
}

TEST_F(DnsClientTest, WhereNobodyListensThatIsKnownSoon) {
  DnsClient client(loop_, resolv_conf_);
  ask(client, "tcp://a.test:1");
  expect(1);
  EXPECT_TRUE(errors_[0].starts_with("cannot resolve \"a.test\": ")) << errors_[0];
}

TEST_F(DnsClientTest, WhatTheHostsFileKnowsIsAskedOfNobody) {
  DnsClient client(loop_, resolv_conf_);
  ask(client, "tcp://localhost:1");
  EXPECT_EQ(errors_, std::vector<std::string>{""}) << "at once";
}

TEST_F(DnsClientTest, ItMayEndWithQuestionsUnderWay) {
  const UniqueFd silent = silent_name_server();
  {
    DnsClient client(loop_, resolv_conf_);
    ask(client, "tcp://a.test:1");
    ask(client, "tcp://_a._tcp.test");
    loop::Timer end(loop_, [this] { loop_.stop(); });
    end.arm(loop_.now() + 50ms);
    loop_.run();
  }
  EXPECT_TRUE(errors_.empty());
}

TEST_F(DnsClientTest, AFileThatIsRewrittenAgainAndAgainLeavesNoQuestionWithoutAnAnswer) {
  const UniqueFd silent = silent_name_server();
  DnsClient client(loop_, resolv_conf_);
  for (size_t i = 0; i < 10; ++i) {
    write("#" + std::string(i, 'x') + "\n");
    ask(client, "tcp://a.test:1");
  }
  expect(10);
}

}  // namespace
}  // namespace berth::broker
