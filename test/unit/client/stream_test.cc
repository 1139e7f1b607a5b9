// berth_read() and berth_shutdown_write() on sockets without kernel TLS; stream_tls_test.cc has
// those with it.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <array>
#include <string>

#include "base/unique_fd.h"
#include "berth/berth.h"

namespace berth::client {
namespace {

class Pair {
 public:
  Pair() {
    std::array<int, 2> fds{-1, -1};
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds.data()), 0);
    ours.reset(fds[0]);
    theirs.reset(fds[1]);
  }
  UniqueFd ours, theirs;
};

TEST(Read, IsReadOnAPlainSocket) {
  Pair pair;
  char text[8] = "";
  EXPECT_EQ(::write(pair.theirs.get(), "hello", 5), 5);
  EXPECT_EQ(berth_read(pair.ours.get(), text, 3), 3);
  EXPECT_STREQ(text, "hel");
  EXPECT_EQ(berth_read(pair.ours.get(), text, sizeof text), 2);
  pair.theirs.reset();
  EXPECT_EQ(berth_read(pair.ours.get(), text, sizeof text), 0);
}

TEST(Read, GivesErrnoNegated) {
  Pair pair;
  char text[8];
  EXPECT_EQ(berth_read(-1, text, sizeof text), -EBADF);
  EXPECT_NE(std::string(berth_error()).find("Bad file descriptor"), std::string::npos);
  ::fcntl(pair.ours.get(), F_SETFL, O_NONBLOCK);
  EXPECT_EQ(berth_read(pair.ours.get(), text, sizeof text), -EAGAIN);
}

TEST(ShutdownWrite, EndsOneDirection) {
  Pair pair;
  char text[8];
  EXPECT_EQ(berth_shutdown_write(pair.ours.get()), 0);
  EXPECT_EQ(berth_read(pair.theirs.get(), text, sizeof text), 0);
  EXPECT_EQ(::write(pair.theirs.get(), "x", 1), 1);
  EXPECT_EQ(berth_read(pair.ours.get(), text, sizeof text), 1);
  EXPECT_EQ(berth_shutdown_write(-1), -EBADF);
}

}  // namespace
}  // namespace berth::client
