// berth_read() and berth_shutdown_write() under kernel TLS.
#include <string>

#include "berth/berth.h"
#include "unit/net/kernel_tls.h"

namespace berth::client {
namespace {

using net::test::HeardRecord;
using net::test::kAlert;
using net::test::kHandshake;
using net::test::say_record;
using net::test::TlsConnection;

// What berth_read() gives: the text, or the errno by its name.
std::string read_at(const TlsConnection& c, size_t most = 100) {
  std::string text(most, '\0');
  const ssize_t got = berth_read(c.fd.get(), text.data(), most);
  if (got < 0) return strerrorname_np(static_cast<int>(-got));
  text.resize(static_cast<size_t>(got));
  return text;
}

TEST(KtlsRead, ACloseNotifyIsTheEndAndStaysIt) {
  BERTH_NEEDS_KERNEL_TLS();
  const TlsConnection c;
  net::test::say(c.server, "last words");
  ASSERT_TRUE(say_record(c.server, kAlert, net::test::kCloseNotify));
  EXPECT_EQ(read_at(c), "last words");
  EXPECT_EQ(read_at(c), "");
  EXPECT_EQ(read_at(c), "") << "although the server has not closed";
}

TEST(KtlsRead, AnEndWithoutCloseNotifyIsAnEndToo) {
  BERTH_NEEDS_KERNEL_TLS();
  TlsConnection c;
  net::test::say(c.server, "cut o");
  c.server.reset();
  EXPECT_EQ(read_at(c), "cut o");
  EXPECT_EQ(read_at(c), "");
}

TEST(KtlsRead, ARequestForRenegotiationIsSkipped) {
  BERTH_NEEDS_KERNEL_TLS();
  const TlsConnection c;
  ASSERT_TRUE(say_record(c.server, kHandshake, net::test::kHelloRequest));
  net::test::say(c.server, "data");
  EXPECT_EQ(read_at(c), "data");
}

TEST(KtlsRead, ASessionTicketIsSkipped) {
  BERTH_NEEDS_KERNEL_TLS();
  const TlsConnection c;
  ASSERT_TRUE(say_record(c.server, kHandshake, "\4" + std::string(200, 't')));
  net::test::say(c.server, "data");
  EXPECT_EQ(read_at(c), "data");
}

TEST(KtlsRead, AnotherAlertIsAnErrorThatNamesIt) {
  BERTH_NEEDS_KERNEL_TLS();
  const TlsConnection c;
  ASSERT_TRUE(say_record(c.server, kAlert, net::test::kFatalInternalError));
  EXPECT_EQ(read_at(c), "EPROTO");
  EXPECT_STREQ(berth_error(), "the server ended TLS with alert 80");
}

TEST(KtlsRead, AnotherRecordIsAnErrorThatNamesIt) {
  BERTH_NEEDS_KERNEL_TLS();
  const TlsConnection c;
  ASSERT_TRUE(say_record(c.server, 24, "heartbeat"));
  EXPECT_EQ(read_at(c), "EPROTO");
  EXPECT_STREQ(berth_error(),
               "the server sent a TLS record of type 24 that kernel TLS cannot answer");
  ASSERT_TRUE(say_record(c.server, kHandshake, std::string("\1\0\0\0", 4)));
  EXPECT_EQ(read_at(c), "EPROTO") << "a ClientHello from a server";
}

TEST(KtlsRead, ARecordThatIsNotRightIsAnError) {
  BERTH_NEEDS_KERNEL_TLS();
  const net::test::Connection c;
  ASSERT_TRUE(net::install_keys(c.fd.get(), net::test::some_keys()).ok());
  net::test::say(c.server, std::string("\x17\x03\x03\x00\x20", 5) + std::string(32, 'x'));
  char byte;
  EXPECT_EQ(berth_read(c.fd.get(), &byte, 1), -EBADMSG);
}

TEST(KtlsRead, NothingAndAPartOfARecordAreNothingForNow) {
  BERTH_NEEDS_KERNEL_TLS();
  const net::test::Connection c;
  ASSERT_TRUE(net::install_keys(c.fd.get(), net::test::some_keys()).ok());
  fcntl(c.fd.get(), F_SETFL, O_NONBLOCK);
  char byte;
  EXPECT_EQ(berth_read(c.fd.get(), &byte, 1), -EAGAIN);
  net::test::say(c.server, std::string("\x17\x03\x03\x00\x20", 5) + "part");
  ASSERT_TRUE(net::test::wait_readable(c.fd.get()));
  EXPECT_EQ(berth_read(c.fd.get(), &byte, 1), -EAGAIN);
}

TEST(KtlsRead, ALongTextComesWholeThroughASmallBuffer) {
  BERTH_NEEDS_KERNEL_TLS();
  const TlsConnection c;
  std::string text;
  for (int i = 0; i < 20'000; ++i) text += std::to_string(i);
  net::test::say(c.server, text);
  ASSERT_TRUE(say_record(c.server, kAlert, net::test::kCloseNotify));
  std::string heard;
  for (std::string part = read_at(c, 777); !part.empty(); part = read_at(c, 777)) heard += part;
  EXPECT_EQ(heard, text);
}

TEST(KtlsShutdownWrite, SaysCloseNotifyBeforeTheEnd) {
  BERTH_NEEDS_KERNEL_TLS();
  const TlsConnection c;
  net::test::say(c.fd, "done");
  EXPECT_EQ(berth_shutdown_write(c.fd.get()), 0);
  EXPECT_EQ(net::test::hear(c.server), "done");
  EXPECT_EQ(net::test::hear_record(c.server), (HeardRecord{kAlert, net::test::kCloseNotify}));
  EXPECT_EQ(net::test::hear(c.server), "");
  net::test::say(c.server, "and the answer");
  EXPECT_EQ(read_at(c), "and the answer");
}

}  // namespace
}  // namespace berth::client
