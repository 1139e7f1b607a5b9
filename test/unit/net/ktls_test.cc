#include "net/ktls.h"

#include <fcntl.h>

#include "unit/net/kernel_tls.h"

namespace berth::net {
namespace {

using test::TlsConnection;

class EveryCipher : public testing::TestWithParam<TlsCipher> {};
INSTANTIATE_TEST_SUITE_P(Ktls, EveryCipher,
                         testing::Values(TlsCipher::aes_128_gcm, TlsCipher::aes_256_gcm,
                                         TlsCipher::chacha20_poly1305));

TEST_P(EveryCipher, CarriesBytesBothWays) {
  BERTH_NEEDS_KERNEL_TLS();
  const TlsConnection c(test::some_keys(GetParam()));
  test::say(c.fd, "ping");
  EXPECT_EQ(test::hear(c.server), "ping");
  test::say(c.server, "pong");
  EXPECT_EQ(test::hear(c.fd), "pong");
}

TEST_P(EveryCipher, ManyRecordsKeepTheirOrder) {
  BERTH_NEEDS_KERNEL_TLS();
  const TlsConnection c(test::some_keys(GetParam()));
  for (int i = 0; i < 300; ++i) {
    test::say(c.fd, std::to_string(i));
    ASSERT_EQ(test::hear(c.server), std::to_string(i));
  }
}

// What goes over the wire: type 23, version 1.2, the explicit nonce of GCM, the text, its tag.
TEST_P(EveryCipher, WhatIsSentIsEncrypted) {
  BERTH_NEEDS_KERNEL_TLS();
  const test::Connection c;
  ASSERT_TRUE(install_keys(c.fd.get(), test::some_keys(GetParam())).ok());
  test::say(c.fd, "a secret");
  const std::string record = test::hear(c.server);
  EXPECT_EQ(record.substr(0, 3), "\x17\x03\x03");
  EXPECT_EQ(record.find("secret"), record.npos);
  const size_t nonce = GetParam() == TlsCipher::chacha20_poly1305 ? 0 : 8;
  EXPECT_EQ(record.size(), 5 + nonce + 8 + 16);
}

TEST(Ktls, TheNonceOfGcmIsTheSequenceAndNeverComesTwice) {
  BERTH_NEEDS_KERNEL_TLS();
  const test::Connection c;
  wire::TlsKeys keys = test::some_keys();
  keys.send.sequence = {0, 0, 0, 0, 0, 0, 1, 0xff};
  ASSERT_TRUE(install_keys(c.fd.get(), keys).ok());
  test::say(c.fd, "one");
  EXPECT_EQ(test::hear(c.server).substr(5, 8), std::string("\0\0\0\0\0\0\1\xff", 8));
  test::say(c.fd, "two");
  EXPECT_EQ(test::hear(c.server).substr(5, 8), std::string("\0\0\0\0\0\0\2\0", 8));
}

TEST(Ktls, AWrongKeyIsAnErrorAndNoText) {
  BERTH_NEEDS_KERNEL_TLS();
  const test::Connection c;
  ASSERT_TRUE(install_keys(c.fd.get(), test::some_keys()).ok());
  ASSERT_TRUE(install_keys(c.server.get(), test::some_keys()).ok());  // not crosswise
  test::say(c.fd, "ping");
  EXPECT_EQ(test::hear(c.server), "(Bad message)");
}

TEST(Ktls, BytesThatCameBeforeTheKeysAreDecrypted) {
  BERTH_NEEDS_KERNEL_TLS();
  const test::Connection c;
  ASSERT_TRUE(install_keys(c.server.get(), test::crosswise(test::some_keys())).ok());
  test::say(c.server, "early");
  ASSERT_TRUE(test::wait_readable(c.fd.get()));
  ASSERT_TRUE(install_keys(c.fd.get(), test::some_keys()).ok());
  EXPECT_EQ(test::hear(c.fd), "early");
}

TEST(Ktls, ACloseNotifyIsARecordOfItsOwn) {
  BERTH_NEEDS_KERNEL_TLS();
  const TlsConnection c;
  test::say(c.fd, "last words");
  send_close_notify(c.fd.get());
  EXPECT_EQ(test::hear(c.server), "last words");
  EXPECT_EQ(test::hear_record(c.server), (test::HeardRecord{test::kAlert, test::kCloseNotify}));
}

TEST(Ktls, ACloseNotifyThatDoesNotFitIsNotWaitedFor) {
  BERTH_NEEDS_KERNEL_TLS();
  const TlsConnection c;
  const size_t sent = test::fill(c.fd);
  send_close_notify(c.fd.get());
  EXPECT_TRUE(test::read_records(c.server, sent));
}

TEST(Ktls, AKeptDuplicateCanBeUsedByAProcessThatNeverSawAKey) {
  BERTH_NEEDS_KERNEL_TLS();
  const TlsConnection c;
  test::Child child([&] { return test::say(c.fd, "from the child") ? 0 : 1; });
  EXPECT_EQ(child.join(), 0);
  EXPECT_EQ(test::hear(c.server), "from the child");
}

TEST(Ktls, ASocketWhosePeerHasGoneTakesNoKeys) {
  BERTH_NEEDS_KERNEL_TLS();
  test::Connection c;
  c.server.reset();
  ASSERT_TRUE(test::wait_for(c.fd.get(), POLLRDHUP));
  const absl::Status status = install_keys(c.fd.get(), test::some_keys());
  EXPECT_EQ(status.message(),
            "put TLS on the socket in the kernel: Transport endpoint is not connected");
}

TEST(Ktls, KeysGoInOnce) {
  BERTH_NEEDS_KERNEL_TLS();
  const TlsConnection c;
  EXPECT_EQ(install_keys(c.fd.get(), test::some_keys()).message(),
            "put TLS on the socket in the kernel: File exists");
}

TEST(Ktls, AUnixSocketTakesNoKeys) {
  const test::Connection c("unix://@berth-test-ktls");
  const absl::Status status = install_keys(c.fd.get(), test::some_keys());
  EXPECT_EQ(status.message(), "put TLS on the socket in the kernel: Operation not supported");
}

TEST(Ktls, ADescriptorThatIsNotOpenIsAnErrorInWords) {
  EXPECT_EQ(install_keys(1'000'000, test::some_keys()).message(),
            "put TLS on the socket in the kernel: Bad file descriptor");
}

TEST(Ktls, TheProbeSaysWhatWouldHelpWhereSomethingIsMissing) {
  const KtlsSupport support = probe_ktls();
  EXPECT_EQ(support.why_not.empty(), support.ciphers.size() == 3);
  if (support.ciphers.empty()) {
    EXPECT_EQ(support.why_not.find("kernel TLS") != std::string::npos ||
                  support.why_not.find("modprobe tls") != std::string::npos,
              true)
        << support.why_not;
  }
}

TEST(Ktls, TheProbeOfAProcessWithoutDescriptorsSaysSo) {
  const test::NoFdsLeft none;
  const KtlsSupport support = probe_ktls();
  EXPECT_TRUE(support.ciphers.empty());
  EXPECT_EQ(support.why_not, "try kernel TLS on loopback: Too many open files");
}

TEST(Ktls, TheProbeLeavesNoDescriptorOpen) {
  const auto lowest_free = [] { return UniqueFd(dup(0)).get(); };
  const int before = lowest_free();
  (void)probe_ktls();
  EXPECT_EQ(lowest_free(), before);
}

// The trap behind install_keys' contract: no shutdown, no close, but a layer without keys.
TEST(Ktls, ALayerWithoutKeysCarriesPlainText) {
  BERTH_NEEDS_KERNEL_TLS();
  const test::Connection c;
  ASSERT_EQ(setsockopt(c.fd.get(), IPPROTO_TCP, 31 /* TCP_ULP */, "tls", 4), 0);
  test::say(c.fd, "for all to read");
  EXPECT_EQ(test::hear(c.server), "for all to read");
}

}  // namespace
}  // namespace berth::net
