#include "unit/broker/in_process.h"

#include <poll.h>
#include <sys/un.h>

#include <cstdlib>
#include <filesystem>

namespace berth::broker {

Upstream4::Upstream4() : listener_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  address_.sin_family = AF_INET;
  address_.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(0, bind(listener_.get(), reinterpret_cast<sockaddr*>(&address_), sizeof address_));
  EXPECT_EQ(0, listen(listener_.get(), 100));
  socklen_t length = sizeof address_;
  getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address_), &length);
}

UniqueFd Upstream4::accept() {
  pollfd ready{listener_.get(), POLLIN, 0};
  EXPECT_EQ(1, poll(&ready, 1, 5000));
  return UniqueFd(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
}

Endpoint Upstream4::endpoint() const {
  return {Endpoint::Kind::tcp, "127.0.0.1", ntohs(address_.sin_port), ""};
}

Client::Client(const std::string& path) : fd_(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  EXPECT_EQ(0, connect(fd_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address));
}

bool Client::send(const wire::ClientFrame& frame) {
  std::string bytes;
  wire::encode(frame, bytes);
  return ::send(fd_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL) >= 0;
}

std::optional<Received> Client::receive() {
  std::vector<char> bytes(kMaxFrameBytes);
  iovec data{bytes.data(), bytes.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(kMaxBatch * sizeof(int))];
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  const ssize_t got = recvmsg(fd_.get(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (got <= 0) {
    closed_ = got == 0 || errno != EAGAIN;
    return std::nullopt;
  }
  Received received;
  if (const cmsghdr* header = CMSG_FIRSTHDR(&message)) {
    const int* fds = reinterpret_cast<const int*>(CMSG_DATA(header));
    for (size_t i = 0; i < (header->cmsg_len - CMSG_LEN(0)) / sizeof(int); ++i) {
      received.fds.emplace_back(fds[i]);
    }
  }
  auto decoded = wire::decode_server_frame({bytes.data(), static_cast<size_t>(got)});
  EXPECT_TRUE(std::holds_alternative<wire::ServerFrame>(decoded));
  received.frame = std::get<wire::ServerFrame>(std::move(decoded));
  return received;
}

BrokerTest::BrokerTest() {
  char folder[] = "/tmp/berth-broker-XXXXXX";
  folder_ = mkdtemp(folder);
  settings_.daemon.lease_socket = folder_ + "/lease.sock";
  pool::PoolPolicy& policy = settings_.pools.emplace_back();
  policy.key = "up";
  policy.endpoints = {upstream_.endpoint()};
  policy.allow_uids = {getuid()};
}

BrokerTest::~BrokerTest() {
  std::filesystem::remove_all(folder_);
}

void BrokerTest::start(uint32_t fd_limit) {
  broker_ = std::make_unique<Broker>(loop_, settings_, fd_limit);
  const absl::Status opened = broker_->open(listeners_);
  ASSERT_TRUE(opened.ok()) << opened.message();
}

void BrokerTest::run_until(const std::function<bool()>& done) {
  const TimePoint deadline = loop_.now() + 10s;
  bool reached = false;
  loop::Timer poll(loop_, [&] {
    reached = done();
    if (reached || loop_.now() >= deadline) return loop_.stop();
    poll_->arm(loop_.now() + 1ms);
  });
  poll_ = &poll;
  poll.arm(loop_.now());
  loop_.run();
  ASSERT_TRUE(reached) << "not reached within 10 s";
}

wire::Welcome BrokerTest::greet(Client& client) {
  EXPECT_TRUE(client.send(wire::Hello{}));
  return expect<wire::Welcome>(client);
}

wire::Grant BrokerTest::lease(Client& client, std::vector<UniqueFd>* fds) {
  EXPECT_TRUE(client.send(wire::LeaseRequest{++request_, "up", 1, {}, ""}));
  return expect<wire::Grant>(client, fds);
}

const pool::Pool& BrokerTest::pool() const {
  const pool::Depot& depot = broker_->driver().depot();
  return depot.pool(*depot.find_pool("up"));
}

}  // namespace berth::broker
