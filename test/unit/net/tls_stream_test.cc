#include "net/tls_stream.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <memory>
#include <string>

#include "base/unique_fd.h"
#include "net/relay.h"
#include "unit/wire/tls_pair.h"

namespace berth::net {
namespace {

struct Sockets {
  Sockets() {
    int ends[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
    near.reset(ends[0]);
    far.reset(ends[1]);
  }
  UniqueFd near, far;
};

// What has come, up to EAGAIN or the end.
std::string read_all(int fd) {
  std::string all;
  std::array<char, 4096> bytes;
  for (ssize_t got; (got = read(fd, bytes.data(), bytes.size())) > 0;) {
    all.append(bytes.data(), static_cast<size_t>(got));
  }
  return all;
}

// A TlsStream, and the server at the other end of its socket.
class TlsStreamTest : public testing::Test {
 protected:
  TlsStreamTest() : service_({.identities = {wire::server_identity()}}), server_(service_) {
    auto engine = std::make_unique<wire::TlsEngine>(wire::context_of(files_.settings()),
                                                    "server.test", nullptr);
    EXPECT_EQ(wire::shake_hands(*engine, server_), wire::TlsEngine::Shake::done);
    stream_ = std::make_unique<TlsStream>(sockets_.near.get(), std::move(engine));
  }

  // What the server has to say goes into its socket, and what came there into the server.
  void let_server_speak() {
    const std::string bytes = server_.take_output();
    EXPECT_EQ(write(sockets_.far.get(), bytes.data(), bytes.size()),
              static_cast<ssize_t>(bytes.size()));
  }
  std::string heard_by_server() {
    server_.feed(read_all(sockets_.far.get()));
    return server_.read();
  }
  std::string recv_some() {
    std::string bytes(TlsStream::kMostRead, '\0');
    const ssize_t got = stream_->recv(bytes);
    bytes.resize(got > 0 ? static_cast<size_t>(got) : 0);
    return bytes;
  }
  // As recv(2): 0, or the negative errno.
  int end_of_stream() {
    char byte;
    const ssize_t got = stream_->recv({&byte, 1});
    return got < 0 ? -errno : static_cast<int>(got);
  }

  wire::TlsFiles files_;
  wire::TlsService service_;
  wire::TlsServer server_;
  Sockets sockets_;
  std::unique_ptr<TlsStream> stream_;
};

TEST_F(TlsStreamTest, WhatIsSaidIsHeardAtTheOtherEnd) {
  EXPECT_EQ(stream_->send(std::string("question")), 8);
  EXPECT_EQ(heard_by_server(), "question");
  EXPECT_EQ(end_of_stream(), -EAGAIN);
  server_.write("answer");
  let_server_speak();
  EXPECT_EQ(recv_some(), "answer");
  EXPECT_FALSE(stream_->at_end());
}

TEST_F(TlsStreamTest, TheEndIsToldOfWithTheLastBytesBecauseTheSocketIsEmptyThen) {
  server_.write("last words");
  server_.close();
  let_server_speak();
  EXPECT_EQ(recv_some(), "last words");
  EXPECT_TRUE(stream_->at_end());
  EXPECT_EQ(end_of_stream(), 0);
}

TEST_F(TlsStreamTest, ASocketThatEndsWithoutCloseNotifyIsAnError) {
  sockets_.far.reset();
  EXPECT_EQ(end_of_stream(), -ECONNRESET);
}

TEST_F(TlsStreamTest, WhatTheSocketDoesNotTakeIsKeptAndSentLater) {
  const std::string much(4 << 20, 'x');
  size_t sent = 0;
  ssize_t put;
  while ((put = stream_->send({much.data() + sent, much.size() - sent})) > 0) {
    sent += static_cast<size_t>(put);
  }
  EXPECT_EQ(errno, EAGAIN);
  EXPECT_TRUE(stream_->keeps());
  size_t heard = 0;
  while (heard < much.size()) {
    const size_t before = heard;
    heard += heard_by_server().size();
    if (sent < much.size()) {
      put = stream_->send({much.data() + sent, much.size() - sent});
      if (put > 0) sent += static_cast<size_t>(put);
    }
    EXPECT_TRUE(stream_->flush());
    ASSERT_TRUE(heard > before || stream_->keeps() || sent < much.size());
  }
  EXPECT_FALSE(stream_->keeps());
}

TEST_F(TlsStreamTest, APeekSeesWhatIsToBeReadAndNotWhatOnlyTlsMinds) {
  EXPECT_EQ(stream_->peek(), Peek::clean);
  server_.ask_for_renegotiation();
  let_server_speak();
  EXPECT_EQ(stream_->peek(), Peek::clean);
  server_.write("unexpected");
  let_server_speak();
  EXPECT_EQ(stream_->peek(), Peek::has_data);
}

TEST_F(TlsStreamTest, APeekSeesTheEnd) {
  server_.close();
  let_server_speak();
  EXPECT_EQ(stream_->peek(), Peek::closed);
}

TEST_F(TlsStreamTest, ARecordThatIsNotRightIsAnErrorThatSaysWhy) {
  const std::string garbage = std::string("\x17\x03\x03\0\x20", 5) + std::string(32, 'g');
  ASSERT_GT(write(sockets_.far.get(), garbage.data(), garbage.size()), 0);
  EXPECT_EQ(end_of_stream(), -EPROTO);
  EXPECT_NE(stream_->why(), "");
}

TEST_F(TlsStreamTest, ARelayCarriesBytesAndEndsBothWays) {
  Sockets program;
  Relay relay(program.near.get(), {sockets_.near.get(), stream_.get()});
  auto scratch = std::make_unique<Relay::Scratch>();
  const std::string much(100'000, 'm');
  ASSERT_EQ(write(program.far.get(), much.data(), much.size()), 100'000);
  ASSERT_EQ(shutdown(program.far.get(), SHUT_WR), 0);
  std::string heard;
  for (int i = 0; i < 20 && heard.size() < much.size(); ++i) {
    relay.move(Relay::Side::program, *scratch);
    heard += heard_by_server();
  }
  EXPECT_EQ(heard, much);
  relay.move(Relay::Side::program, *scratch);
  ASSERT_TRUE(relay.ended(Relay::Side::program));
  ASSERT_TRUE(relay.drained(Relay::Side::program));
  relay.pass_on(Relay::Side::program);
  EXPECT_EQ(heard_by_server(), "");
  EXPECT_EQ(server_.last_error(), MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY);

  server_.write("last words");
  server_.close();
  let_server_speak();
  EXPECT_TRUE(relay.move(Relay::Side::server, *scratch));
  EXPECT_TRUE(relay.ended(Relay::Side::server));
  EXPECT_FALSE(relay.failed(Relay::Side::server));
  EXPECT_EQ(read_all(program.far.get()), "last words");
}

}  // namespace
}  // namespace berth::net
