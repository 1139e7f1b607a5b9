#include "net/pass_fd.h"

#include <sys/resource.h>

#include <vector>

#include "base/limits.h"
#include "unit/net/sockets.h"

namespace berth::net {
namespace {

// A session: the daemon's end and the client's.
struct Session {
  Session() {
    int fds[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
    daemon.reset(fds[0]);
    client.reset(fds[1]);
  }
  UniqueFd daemon, client;
  mutable FrameReader reader;
};

std::span<const Received> receive(const Session& s) {
  return s.reader.read(s.daemon.get());
}

Received receive_one(const Session& s) {
  const std::span<const Received> got = receive(s);
  EXPECT_EQ(got.size(), 1u);
  return got.empty() ? Received{} : got[0];
}

size_t open_fds() {
  size_t count = 0;
  for (int fd = 0; fd < 1024; ++fd) count += fcntl(fd, F_GETFD) != -1;
  return count;
}

// What a client receives: a frame and its descriptors.
struct Delivery {
  std::string frame;
  std::vector<UniqueFd> fds;
};

Delivery receive_as_client(const UniqueFd& fd) {
  char text[4096];
  alignas(cmsghdr) char control[CMSG_SPACE(kMaxBatch * sizeof(int))];
  iovec data{text, sizeof text};
  msghdr message{nullptr, 0, &data, 1, control, sizeof control, 0};
  const ssize_t got = recvmsg(fd.get(), &message, MSG_CMSG_CLOEXEC);
  EXPECT_GE(got, 0);
  Delivery out{std::string(text, static_cast<size_t>(std::max<ssize_t>(got, 0))), {}};
  const cmsghdr* header = CMSG_FIRSTHDR(&message);
  if (header == nullptr) return out;
  const auto* fds = reinterpret_cast<const int*>(CMSG_DATA(header));
  for (size_t i = 0; i < (header->cmsg_len - CMSG_LEN(0)) / sizeof(int); ++i) {
    out.fds.emplace_back(fds[i]);
  }
  return out;
}

void send_as_client(const UniqueFd& fd, std::string_view frame, std::span<const int> fds = {}) {
  ASSERT_EQ(send_frame(fd.get(), frame, fds), Sent::sent);
}

TEST(PassFd, AFrameArrivesWithItsDescriptors) {
  const Session s;
  const test::Pipe pipe;
  const int fds[] = {pipe.in.get(), pipe.out.get()};
  ASSERT_EQ(send_frame(s.daemon.get(), "grant", fds), Sent::sent);
  const Delivery got = receive_as_client(s.client);
  EXPECT_EQ(got.frame, "grant");
  ASSERT_EQ(got.fds.size(), 2u);
  EXPECT_EQ(write(got.fds[0].get(), "x", 1), 1);
  char byte;
  EXPECT_EQ(read(got.fds[1].get(), &byte, 1), 1);
}

TEST(PassFd, ABatchOfTheGreatestSizeFits) {
  const Session s;
  const std::vector<int> fds(kMaxBatch, s.client.get());
  ASSERT_EQ(send_frame(s.daemon.get(), "batch", fds), Sent::sent);
  EXPECT_EQ(receive_as_client(s.client).fds.size(), kMaxBatch);
}

TEST(PassFd, TheLargestFrameFitsBothWays) {
  const Session s;
  const std::string frame(kMaxFrameBytes, 'f');
  ASSERT_EQ(send_frame(s.client.get(), frame, {}), Sent::sent);
  const Received got = receive_one(s);
  EXPECT_EQ(got.kind, Received::frame);
  EXPECT_EQ(got.size, kMaxFrameBytes);
}

TEST(PassFd, AClientThatDoesNotReadNeverBlocksTheDaemon) {
  const Session s;
  const std::string frame(16384, 'f');
  Sent sent = Sent::sent;
  for (int i = 0; i < 10'000 && sent == Sent::sent; ++i) {
    sent = send_frame(s.daemon.get(), frame, {});
  }
  EXPECT_EQ(sent, Sent::would_block);
}

TEST(PassFd, AClientThatHasGoneRaisesNoSignal) {
  Session s;
  s.client.reset();
  EXPECT_EQ(send_frame(s.daemon.get(), "grant", {}), Sent::gone);
}

TEST(PassFd, AFrameThatNoBufferCanHoldEndsTheSession) {
  const Session s;
  ASSERT_EQ(test::set_option(s.daemon, SOL_SOCKET, SO_SNDBUF, 4096), 0);
  EXPECT_EQ(send_frame(s.daemon.get(), std::string(kMaxFrameBytes, 'f'), {}), Sent::gone);
}

TEST(PassFd, NothingThereIsToldFromTheEnd) {
  Session s;
  EXPECT_TRUE(receive(s).empty());
  s.client.reset();
  EXPECT_EQ(receive_one(s).kind, Received::closed);
}

TEST(PassFd, FramesBeforeTheEndAreRead) {
  Session s;
  send_as_client(s.client, "release");
  s.client.reset();
  const std::span<const Received> got = receive(s);
  ASSERT_EQ(got.size(), 2u);
  EXPECT_EQ(got[0].bytes, "release");
  EXPECT_EQ(got[1].kind, Received::closed);
}

// Both read as 0, and Linux sets no MSG_EOR.
TEST(PassFd, AnEmptyFrameIsNotTakenForTheEnd) {
  Session s;
  send_as_client(s.client, "");
  const Received got = receive_one(s);
  EXPECT_EQ(got.kind, Received::frame);
  EXPECT_EQ(got.size, 0u);
}

TEST(PassFd, AnEmptyFrameBeforeTheEndMayBeTakenForIt) {
  Session s;
  send_as_client(s.client, "");
  s.client.reset();
  EXPECT_EQ(receive_one(s).kind, Received::closed);
}

TEST(PassFd, OneCallReadsWhatIsThereInOrderButNoMoreThanATurnTakes) {
  const Session s;
  for (size_t i = 0; i <= kMaxFramesPerTurn; ++i) send_as_client(s.client, std::to_string(i));
  const std::span<const Received> first = receive(s);
  ASSERT_EQ(first.size(), kMaxFramesPerTurn);
  for (size_t i = 0; i < first.size(); ++i) EXPECT_EQ(first[i].bytes, std::to_string(i));
  EXPECT_EQ(receive_one(s).bytes, std::to_string(kMaxFramesPerTurn));
}

TEST(PassFd, AnOversizedFrameIsReportedWithItsSizeAndConsumed) {
  const Session s;
  send_as_client(s.client, std::string(kMaxFrameBytes + 1, 'f'));
  send_as_client(s.client, "next");
  const std::span<const Received> got = receive(s);
  ASSERT_EQ(got.size(), 2u);
  EXPECT_EQ(got[0].kind, Received::too_large);
  EXPECT_EQ(got[0].size, kMaxFrameBytes + 1);
  EXPECT_EQ(got[1].bytes, "next");
}

TEST(PassFd, DescriptorsFromAClientAreReportedAndNeverTakenIn) {
  const Session s;
  test::Pipe pipe;
  const int fds[] = {pipe.in.get()};
  send_as_client(s.client, "frame", fds);
  pipe.in.reset();
  const size_t before = open_fds();
  const Received got = receive_one(s);
  EXPECT_EQ(got.kind, Received::has_fds);
  EXPECT_EQ(got.size, 5u);
  EXPECT_EQ(open_fds(), before);
  EXPECT_TRUE(receive(s).empty()) << "consumed";
  char byte;
  EXPECT_EQ(read(pipe.out.get(), &byte, 1), 0) << "the last writer is closed";
}

TEST(PassFd, TooManyDescriptorsInFlightMeansLater) {
  if (geteuid() != 0) GTEST_SKIP() << "the limit binds users other than root only";
  Session s;
  test::Child child([&s] {
    const rlimit few{16, 16};
    if (setrlimit(RLIMIT_NOFILE, &few) != 0 || setresuid(65534, 65534, 65534) != 0) return 1;
    const std::vector<int> fds(8, s.client.get());
    Sent sent = Sent::sent;
    for (int i = 0; i < 100 && sent == Sent::sent; ++i) sent = send_frame(s.daemon.get(), "g", fds);
    if (sent != Sent::too_many_refs) return 2;
    for (int i = 0; i < 2; ++i) receive_as_client(s.client);  // which closes them again
    return send_frame(s.daemon.get(), "g", fds) == Sent::sent ? 0 : 3;
  });
  EXPECT_EQ(child.join(), 0);
}

}  // namespace
}  // namespace berth::net
