#include "net/listen.h"

#include <sys/stat.h>
#include <sys/un.h>

#include "absl/status/status.h"
#include "unit/net/sockets.h"

namespace berth::net {
namespace {

using test::Folder;

std::string words(const absl::StatusOr<UniqueFd>& result) {
  return std::string(result.status().message());
}

UniqueFd listen_there(const std::string& path, mode_t mode = 0660, int backlog = 16) {
  auto fd = listen_seqpacket({path, mode}, backlog);
  EXPECT_TRUE(fd.ok()) << fd.status();
  return fd.ok() ? *std::move(fd) : UniqueFd();
}

UniqueFd connect_there(const std::string& path, int type = SOCK_SEQPACKET) {
  const SocketAddress address = test::address_of("unix://" + path);
  UniqueFd fd(socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
  EXPECT_EQ(connect(fd.get(), address.raw(), address.length), 0) << std::strerror(errno);
  return fd;
}

mode_t mode_of(const std::string& path) {
  struct stat info {};
  EXPECT_EQ(stat(path.c_str(), &info), 0);
  return info.st_mode;
}

TEST(LeaseListener, AcceptsSessionsNonblockingAndCloseOnExec) {
  const Folder folder;
  const UniqueFd listener = listen_there(folder.file("lease.sock"));
  EXPECT_NE(fcntl(listener.get(), F_GETFL) & O_NONBLOCK, 0);
  EXPECT_NE(fcntl(listener.get(), F_GETFD) & FD_CLOEXEC, 0);
  const UniqueFd client = connect_there(folder.file("lease.sock"));
  const Accepted accepted = accept_session(listener.get());
  ASSERT_EQ(accepted.kind, Accepted::session);
  EXPECT_NE(fcntl(accepted.fd.get(), F_GETFL) & O_NONBLOCK, 0);
  EXPECT_NE(fcntl(accepted.fd.get(), F_GETFD) & FD_CLOEXEC, 0);
  EXPECT_EQ(accept_session(listener.get()).kind, Accepted::nothing);
}

TEST(LeaseListener, TheModeIsExactWhateverTheUmask) {
  const Folder folder;
  for (const mode_t mask : {0u, 022u, 0777u}) {
    for (const mode_t mode : {0600u, 0660u, 0666u}) {
      const std::string path = folder.file(std::to_string(mask) + "-" + std::to_string(mode));
      const mode_t before = umask(mask);
      const UniqueFd listener = listen_there(path, mode);
      umask(before);
      EXPECT_EQ(mode_of(path) & 07777, mode);
    }
  }
}

TEST(LeaseListener, AStaleSocketIsReplaced) {
  const Folder folder;
  { const UniqueFd crashed = listen_there(folder.file("s")); }
  ASSERT_TRUE(S_ISSOCK(mode_of(folder.file("s"))));
  const UniqueFd listener = listen_there(folder.file("s"));
  const UniqueFd client = connect_there(folder.file("s"));
  EXPECT_EQ(accept_session(listener.get()).kind, Accepted::session);
}

TEST(LeaseListener, ASocketInUseIsLeftAlone) {
  const Folder folder;
  const UniqueFd first = listen_there(folder.file("s"));
  EXPECT_EQ(words(listen_seqpacket({folder.file("s"), 0660}, 16)),
            "listen on " + folder.file("s") + ": another process serves this socket");
  const UniqueFd client = connect_there(folder.file("s"));
  EXPECT_TRUE(client.valid()) << "the first still serves";
}

TEST(LeaseListener, ASocketInUseWithAFullBacklogIsInUse) {
  const Folder folder;
  const UniqueFd busy = listen_there(folder.file("s"), 0660, 0);
  const UniqueFd waiting = connect_there(folder.file("s"));
  EXPECT_EQ(listen_seqpacket({folder.file("s"), 0660}, 16).status().code(),
            absl::StatusCode::kAlreadyExists);
}

TEST(LeaseListener, ASocketOfAnotherTypeInUseIsInUse) {
  const Folder folder;
  SocketAddress address = test::address_of("unix://" + folder.file("s"));
  const UniqueFd stream = test::listen_at(address);
  EXPECT_EQ(words(listen_seqpacket({folder.file("s"), 0660}, 16)),
            "listen on " + folder.file("s") + ": another process serves this socket");
}

TEST(LeaseListener, AFileThatIsNoSocketIsLeftAlone) {
  const Folder folder;
  const std::string path = folder.file("notes.txt");
  { const UniqueFd file(open(path.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600)); }
  EXPECT_EQ(words(listen_seqpacket({path, 0660}, 16)),
            "listen on " + path + ": a file that is not a socket is there");
  EXPECT_TRUE(S_ISREG(mode_of(path)));
}

TEST(LeaseListener, AMissingFolderIsNamed) {
  EXPECT_EQ(words(listen_seqpacket({"/no/such/folder/s", 0660}, 16)),
            "listen on /no/such/folder/s: its folder does not exist");
}

TEST(LeaseListener, TooLongAPathIsNamedWithItsLength) {
  const std::string path = "/tmp/" + std::string(103, 'p');
  EXPECT_EQ(words(listen_seqpacket({path, 0660}, 16)),
            "listen on " + path + ": the path has 108 bytes, a socket's may have 107");
  EXPECT_EQ(words(listen_seqpacket({"", 0660}, 16)), "listen: the socket's path is empty");
}

TEST(LeaseListener, UnlinkRemovesSocketsOnly) {
  const Folder folder;
  const UniqueFd listener = listen_there(folder.file("s"));
  unlink_socket(folder.file("s"));
  EXPECT_NE(access(folder.file("s").c_str(), F_OK), 0);
  unlink_socket(folder.file("s"));
  { const UniqueFd file(open(folder.file("f").c_str(), O_CREAT | O_CLOEXEC, 0600)); }
  unlink_socket(folder.file("f"));
  EXPECT_EQ(access(folder.file("f").c_str(), F_OK), 0);
}

TEST(LeaseListener, WithoutAFreeDescriptorWhoWaitsKeepsWaiting) {
  const Folder folder;
  const UniqueFd listener = listen_there(folder.file("s"));
  const UniqueFd client = connect_there(folder.file("s"));
  {
    const test::NoFdsLeft limit;
    EXPECT_EQ(accept_session(listener.get()).kind, Accepted::out_of_fds);
  }
  EXPECT_EQ(accept_session(listener.get()).kind, Accepted::session);
}

TEST(LeaseListener, ABrokenListenerSaysWhy) {
  const UniqueFd no_listener(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  const Accepted accepted = accept_session(no_listener.get());
  EXPECT_EQ(accepted.kind, Accepted::failed);
  EXPECT_EQ(accepted.error_number, EINVAL);
}

}  // namespace
}  // namespace berth::net
