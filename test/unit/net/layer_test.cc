// Pooled sockets with kernel TLS on them: judged, restored, closed.
#include "net/layer.h"

#include <chrono>
#include <thread>

#include "net/close.h"
#include "net/socket_options.h"
#include "net/socket_state.h"
#include "unit/net/kernel_tls.h"

namespace berth::net {
namespace {

using test::StuckSender;
using test::TlsConnection;

constexpr Layer kTls = Layer::kernel_tls;

Released inspect(const TlsConnection& c, PeerProof proof = PeerProof::compare) {
  return inspect_released(c.fd.get(), c.address, proof, kTls);
}

Peek peek_at(const TlsConnection& c) {
  return peek(c.fd.get(), kTls);
}

// Once something has come.
Peek peek_later(const TlsConnection& c) {
  EXPECT_TRUE(test::wait_readable(c.fd.get()));
  return peek_at(c);
}

class Stopwatch {
 public:
  bool hardly_ran() const {
    return std::chrono::steady_clock::now() - start_ < std::chrono::seconds(5);
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

TEST(KtlsState, AConnectionThatWasUsedUpIsClean) {
  BERTH_NEEDS_KERNEL_TLS();
  for (const char* url : {"tcp://127.0.0.1:1", "tcp://[::1]:1"}) {
    const TlsConnection c(test::some_keys(), url);
    test::say(c.fd, "ping");
    EXPECT_EQ(test::hear(c.server), "ping");
    test::say(c.server, "pong");
    EXPECT_EQ(test::hear(c.fd), "pong");
    EXPECT_STREQ(inspect(c).why, "");
    EXPECT_STREQ(inspect(c, PeerProof::pinned).why, "");
    EXPECT_EQ(peek_at(c), Peek::clean);
    EXPECT_TRUE(still_open(c.fd.get()));
  }
}

TEST(KtlsState, UnreadDataIsDirty) {
  BERTH_NEEDS_KERNEL_TLS();
  const TlsConnection c;
  test::say(c.server, "late reply");
  ASSERT_TRUE(test::wait_readable(c.fd.get()));
  EXPECT_STREQ(inspect(c).why, "unread data");
}

TEST(KtlsState, TheRestOfARecordThatItsHolderReadInPartIsDirty) {
  BERTH_NEEDS_KERNEL_TLS();
  const TlsConnection c;
  test::say(c.server, "a long reply");
  EXPECT_EQ(test::hear(c.fd, 6), "a long");
  EXPECT_STREQ(inspect(c).why, "unread data");
}

// The trap: such a socket has nothing to read, and its record ends with the next holder.
TEST(KtlsState, APartOfARecordIsDirty) {
  BERTH_NEEDS_KERNEL_TLS();
  const test::Connection c;
  ASSERT_TRUE(install_keys(c.fd.get(), test::some_keys()).ok());
  test::say(c.server, std::string("\x17\x03\x03\x00\x40", 5) + "the first bytes");
  ASSERT_TRUE(test::wait_readable(c.fd.get()));
  EXPECT_EQ(peek(c.fd.get()), Peek::clean) << "without being told of the layer";
  EXPECT_EQ(peek(c.fd.get(), kTls), Peek::has_data);
  EXPECT_STREQ(inspect_released(c.fd.get(), c.address, PeerProof::compare, kTls).why,
               "unread data");
}

TEST(KtlsState, ARecordThatIsNoDataMakesItClosed) {
  BERTH_NEEDS_KERNEL_TLS();
  for (const std::string& alert : {test::kCloseNotify, test::kFatalInternalError}) {
    const TlsConnection c;
    ASSERT_TRUE(test::say_record(c.server, test::kAlert, alert));
    EXPECT_EQ(peek_later(c), Peek::closed);
    EXPECT_EQ(peek_at(c), Peek::closed) << "and it stays so";
    EXPECT_EQ(inspect(c).verdict, Released::dirty);
  }
  const TlsConnection c;
  ASSERT_TRUE(test::say_record(c.server, test::kHandshake, test::kHelloRequest));
  EXPECT_EQ(peek_later(c), Peek::closed);
}

TEST(KtlsState, ARecordThatIsNotRightMakesItClosed) {
  BERTH_NEEDS_KERNEL_TLS();
  const test::Connection c;
  ASSERT_TRUE(install_keys(c.fd.get(), test::some_keys()).ok());
  test::say(c.server, std::string("\x17\x03\x03\x00\x20", 5) + std::string(32, 'x'));
  ASSERT_TRUE(test::wait_readable(c.fd.get()));
  EXPECT_EQ(peek(c.fd.get(), kTls), Peek::closed);
}

TEST(KtlsState, TheServersEndMakesItClosed) {
  BERTH_NEEDS_KERNEL_TLS();
  TlsConnection c;
  c.server.reset();
  ASSERT_TRUE(test::wait_for(c.fd.get(), POLLRDHUP));
  EXPECT_EQ(peek_at(c), Peek::closed);
  EXPECT_EQ(inspect(c).verdict, Released::dirty);
  EXPECT_FALSE(still_open(c.fd.get()));
}

TEST(KtlsState, ShutdownByTheHolderIsDirtyAlthoughASendOfNothingSucceeds) {
  BERTH_NEEDS_KERNEL_TLS();
  const TlsConnection writing;
  ASSERT_EQ(shutdown(writing.fd.get(), SHUT_WR), 0);
  EXPECT_EQ(send(writing.fd.get(), "", 0, MSG_DONTWAIT | MSG_NOSIGNAL), 0) << "the trap";
  EXPECT_STREQ(inspect(writing).why, "closed by its holder for writing, or not connected");
  const TlsConnection reading;
  ASSERT_EQ(shutdown(reading.fd.get(), SHUT_RD), 0);
  EXPECT_STREQ(inspect(reading).why, "closed by the server, or by its holder for reading");
}

TEST(KtlsState, UnsentDataIsAskedForAgainUntilTheServerReads) {
  BERTH_NEEDS_KERNEL_TLS();
  const TlsConnection c;
  const size_t sent = test::fill(c.fd);
  EXPECT_EQ(inspect(c).verdict, Released::unsent);
  ASSERT_TRUE(test::read_records(c.server, sent));
  const Stopwatch watch;
  while (inspect(c).verdict == Released::unsent && watch.hardly_ran()) std::this_thread::yield();
  EXPECT_EQ(inspect(c).verdict, Released::clean);
}

TEST(KtlsState, AHolderWhoIsWithinASendIsNotWaitedFor) {
  BERTH_NEEDS_KERNEL_TLS();
  const TlsConnection c;
  const StuckSender other(c.fd);
  const Stopwatch watch;
  EXPECT_EQ(peek_at(c), Peek::clean);
  EXPECT_EQ(inspect(c).verdict, Released::unsent);
  EXPECT_TRUE(watch.hardly_ran());
}

TEST(KtlsState, InspectionSendsNothing) {
  BERTH_NEEDS_KERNEL_TLS();
  const TlsConnection c;
  for (int i = 0; i < 3; ++i) inspect(c);
  EXPECT_FALSE(has_unread(c.server.get()));
}

// The layer is a pin of its own: its holder can neither move it nor listen.
TEST(KtlsState, ItCannotBeConnectedElsewhere) {
  BERTH_NEEDS_KERNEL_TLS();
  const TlsConnection c;
  EXPECT_EQ(test::disconnect(c.fd), -1);
  EXPECT_EQ(listen(c.fd.get(), 5), -1);
  EXPECT_EQ(inspect(c).verdict, Released::clean);
}

TEST(KtlsOptions, OurLayerStaysAndTheRestIsRestored) {
  BERTH_NEEDS_KERNEL_TLS();
  const TlsConnection c;
  ASSERT_EQ(test::set_option(c.fd, IPPROTO_TCP, 3 /* TCP_CORK */, 1), 0);
  ASSERT_EQ(test::set_option(c.fd, SOL_SOCKET, SO_RCVLOWAT, 1000), 0);
  EXPECT_TRUE(restore_options(c.fd.get(), c.address, DialOptions(), Heir::other_user, kTls));
  EXPECT_EQ(test::get_option(c.fd, IPPROTO_TCP, 3), 0);
  EXPECT_EQ(test::get_option(c.fd, SOL_SOCKET, SO_RCVLOWAT), 1);
  test::say(c.fd, "still here");
  EXPECT_EQ(test::hear(c.server), "still here");
}

TEST(KtlsOptions, ALayerThatOnlyTheLesseeWantedCannotBeUndone) {
  BERTH_NEEDS_KERNEL_TLS();
  const TlsConnection c;
  EXPECT_FALSE(restore_options(c.fd.get(), c.address, DialOptions(), Heir::same_user));
}

TEST(KtlsOptions, ALayerThatIsNotThereCannotBeUndone) {
  const test::Connection c;
  EXPECT_FALSE(restore_options(c.fd.get(), c.address, DialOptions(), Heir::same_user, kTls));
}

TEST(KtlsClose, AConnectionThatWasNeverHandedOutSaysCloseNotify) {
  BERTH_NEEDS_KERNEL_TLS();
  TlsConnection c;
  EXPECT_TRUE(close_pooled(std::move(c.fd), false, kTls).ok());
  EXPECT_EQ(test::hear_record(c.server), (test::HeardRecord{test::kAlert, test::kCloseNotify}));
  EXPECT_EQ(test::hear(c.server), "");
}

TEST(KtlsClose, AHolderWhoIsWithinASendIsNotWaitedFor) {
  BERTH_NEEDS_KERNEL_TLS();
  TlsConnection c;
  const StuckSender other(c.fd);
  const Stopwatch watch;
  EXPECT_TRUE(close_pooled(std::move(c.fd), true, kTls).ok());
  EXPECT_TRUE(watch.hardly_ran());
}

TEST(KtlsClose, AShutdownEndsTheWaitOfACloseNotify) {
  BERTH_NEEDS_KERNEL_TLS();
  const TlsConnection c;
  const StuckSender other(c.fd);
  std::thread goodbye([&] { send_close_notify(c.fd.get()); });
  EXPECT_TRUE(shutdown_pooled(c.fd.get()).ok());
  goodbye.join();
}

TEST(KtlsClose, TheHoldersLingerDoesNotBlockTheLoop) {
  BERTH_NEEDS_KERNEL_TLS();
  TlsConnection c;
  ASSERT_EQ(test::set_option(c.fd, SOL_SOCKET, SO_LINGER, linger{1, 60}), 0);
  test::fill(c.fd);
  const Stopwatch watch;
  EXPECT_TRUE(close_pooled(std::move(c.fd), true, kTls).ok());
  EXPECT_TRUE(watch.hardly_ran());
}

// A record of which a part is sent already was made by a send(2) that would wait, and ended by a
// signal; the close has to send the rest, or to give it up.
TEST(KtlsClose, ARecordThatAKilledHolderLeftUnsentDoesNotBlockTheLoop) {
  BERTH_NEEDS_KERNEL_TLS();
  for (const bool handed_out : {false, true}) {
    TlsConnection c;
    make_blocking(c.fd.get());
    test::Child holder([&] {
      const std::string much(16 << 20, 'x');
      return test::say(c.fd, much) ? 0 : 1;
    });
    pollfd watch{c.fd.get(), POLLOUT, 0};
    while (poll(&watch, 1, 0) == 1) std::this_thread::yield();
    kill(holder.pid(), SIGKILL);
    holder.join();
    const Stopwatch time;
    EXPECT_TRUE(close_pooled(std::move(c.fd), handed_out, kTls).ok());
    EXPECT_TRUE(time.hardly_ran());
  }
}

TEST(KtlsClose, ItCannotBeReset) {
  BERTH_NEEDS_KERNEL_TLS();
  const TlsConnection c;
  EXPECT_EQ(reset_peer(c.fd.get()).message(), "reset a connection: kernel TLS is on it");
}

}  // namespace
}  // namespace berth::net
