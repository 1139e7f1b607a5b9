#include "net/tls_stream.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <memory>
#include <string>
#include <utility>

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

TEST_F(TlsStreamTest, WhetherTheSocketHasMoreIsToldAfterEachRead) {
  server_.write(std::string(100'000, 'm'));
  let_server_speak();
  EXPECT_FALSE(stream_->has_more()) << "nobody has read yet";
  EXPECT_FALSE(recv_some().empty());
  EXPECT_TRUE(stream_->has_more());
  while (stream_->has_more()) EXPECT_FALSE(recv_some().empty());
  EXPECT_EQ(end_of_stream(), -EAGAIN);
}

// A relay whose server says more than a turn carries.
class TlsBulkTest : public TlsStreamTest {
 protected:
  // As much as the server's socket takes.
  void fill() {
    for (;;) {
      if (unsent_.empty()) {
        const std::string piece(16'000, static_cast<char>('a' + said_.size() % 23));
        server_.write(piece);
        said_ += piece;
        unsent_ = server_.take_output();
      }
      const ssize_t put = write(sockets_.far.get(), unsent_.data(), unsent_.size());
      if (put < 0) return;
      unsent_.erase(0, static_cast<size_t>(put));
    }
  }
  bool move() { return relay_.move(Relay::Side::server, *scratch_); }
  void read_on() { heard_ += read_all(program_.far.get()); }
  bool holds_some() const { return !relay_.drained(Relay::Side::server); }
  bool reads() const { return (relay_.wanted(Relay::Side::server) & EPOLLIN) != 0; }
  bool writes() const { return (relay_.wanted(Relay::Side::program) & EPOLLOUT) != 0; }

  void move_until_it_gathers() {
    for (int i = 0; i < 100 && !(holds_some() && reads()); ++i) {
      fill();
      move();
      read_on();
    }
    ASSERT_TRUE(holds_some() && reads());
    EXPECT_FALSE(writes());
  }

  Sockets program_;
  Relay relay_{program_.near.get(), {sockets_.near.get(), stream_.get()}};
  std::unique_ptr<Relay::Scratch> scratch_ = std::make_unique<Relay::Scratch>();
  std::string said_;
  std::string unsent_;
  std::string heard_;
};

TEST_F(TlsBulkTest, IsSentOnInLongerPiecesThanItIsRead) {
  move_until_it_gathers();
  const size_t before = heard_.size();
  while (holds_some()) {
    fill();
    move();
  }
  read_on();
  EXPECT_GT(heard_.size() - before, kGatheredBytes / 2);
  EXPECT_LE(heard_.size() - before, kGatheredBytes);
  EXPECT_EQ(relay_.carried(Relay::Side::server), heard_.size());
  EXPECT_EQ(heard_, said_.substr(0, heard_.size()));
}

TEST_F(TlsBulkTest, WhatIsGatheredGoesOnceNothingMoreIsAtHand) {
  move_until_it_gathers();
  while (move()) read_on();
  EXPECT_FALSE(holds_some());
  EXPECT_FALSE(writes());
  const std::string rest = std::exchange(unsent_, {});
  ASSERT_EQ(write(sockets_.far.get(), rest.data(), rest.size()), static_cast<ssize_t>(rest.size()));
  EXPECT_TRUE(move());
  read_on();
  EXPECT_FALSE(holds_some());
  EXPECT_EQ(heard_, said_);
}

TEST_F(TlsBulkTest, AProgramThatDoesNotReadHoldsItUp) {
  move_until_it_gathers();
  for (int i = 0; i < 100 && !writes(); ++i) {
    fill();
    move();
  }
  EXPECT_TRUE(writes());
  EXPECT_FALSE(reads());
  EXPECT_FALSE(move());
  read_on();
  move();
  EXPECT_FALSE(writes());
  program_.far.reset();
  for (int i = 0; i < 100 && !relay_.failed(Relay::Side::server); ++i) {
    fill();
    move();
  }
  EXPECT_TRUE(relay_.failed(Relay::Side::server));
  EXPECT_FALSE(reads());
}

TEST_F(TlsBulkTest, TheServersEndComesBehindWhatIsGathered) {
  move_until_it_gathers();
  server_.close();
  unsent_ += server_.take_output();
  while (!unsent_.empty()) {
    const ssize_t put = write(sockets_.far.get(), unsent_.data(), unsent_.size());
    if (put > 0) unsent_.erase(0, static_cast<size_t>(put));
    move();
    read_on();
  }
  while (move()) read_on();
  EXPECT_TRUE(relay_.ended(Relay::Side::server));
  EXPECT_FALSE(relay_.failed(Relay::Side::server));
  EXPECT_FALSE(holds_some());
  read_on();
  EXPECT_EQ(heard_, said_);
}

}  // namespace
}  // namespace berth::net
