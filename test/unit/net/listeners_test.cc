#include "net/listeners.h"

#include <sys/un.h>

#include <cerrno>
#include <optional>

#include "unit/net/sockets.h"

namespace berth::net {
namespace {

using test::Folder;

ListenSpec lease_at(const std::string& path) {
  return {"lease", SOCK_SEQPACKET, {path, 0600}, 16};
}

UniqueFd bound_at(const std::string& path, int type) {
  const SocketAddress address = test::address_of("unix://" + path);
  UniqueFd fd(socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
  EXPECT_EQ(bind(fd.get(), address.raw(), address.length), 0) << std::strerror(errno);
  return fd;
}

UniqueFd listening_at(const std::string& path, int type = SOCK_SEQPACKET) {
  UniqueFd fd = bound_at(path, type);
  EXPECT_EQ(listen(fd.get(), 16), 0);
  return fd;
}

Listeners passing(std::string name, UniqueFd fd) {
  std::vector<PassedSocket> passed;
  passed.push_back({std::move(name), std::move(fd)});
  return Listeners(std::move(passed));
}

bool exists(const std::string& path) {
  return access(path.c_str(), F_OK) == 0;
}

std::string refusal(UniqueFd fd, const ListenSpec& spec) {
  Listeners listeners = passing(spec.name, std::move(fd));
  const std::string words(listeners.open(spec).status().message());
  return words.substr(words.find(" passed as"));
}

TEST(Listeners, WhatIsNotPassedIsMadeAndItsFileGoesWithIt) {
  const Folder folder;
  Listeners listeners;
  {
    const auto made = listeners.open(lease_at(folder.file("s")));
    ASSERT_TRUE(made.ok()) << made.status();
    EXPECT_EQ(made->path(), folder.file("s"));
    EXPECT_TRUE(exists(folder.file("s")));
  }
  EXPECT_FALSE(exists(folder.file("s")));
  EXPECT_TRUE(listeners.check_all_used().ok());
}

TEST(Listeners, AMovedListenerRemovesItsFileOnce) {
  const Folder folder;
  auto made = Listeners().open(lease_at(folder.file("s")));
  ASSERT_TRUE(made.ok()) << made.status();
  std::optional<Listener> first(*std::move(made));
  {
    const Listener moved = std::move(*first);
    first.reset();
    EXPECT_TRUE(exists(folder.file("s")));
  }
  EXPECT_FALSE(exists(folder.file("s")));
}

TEST(Listeners, TheFileOfASuccessorStays) {
  const Folder folder;
  {
    const auto made = Listeners().open(lease_at(folder.file("s")));
    unlink(folder.file("s").c_str());
    listening_at(folder.file("s"));
  }
  EXPECT_TRUE(exists(folder.file("s")));
}

TEST(Listeners, WhatIsPassedIsTakenWhereverItListensAndItsFileStays) {
  const Folder folder;
  Listeners listeners = passing("lease", listening_at(folder.file("passed")));
  EXPECT_EQ(listeners.check_all_used().code(), absl::StatusCode::kInvalidArgument);
  {
    const auto taken = listeners.open(lease_at(folder.file("configured")));
    ASSERT_TRUE(taken.ok()) << taken.status();
    EXPECT_EQ(taken->path(), folder.file("passed"));
    EXPECT_NE(fcntl(taken->fd(), F_GETFL) & O_NONBLOCK, 0);
  }
  EXPECT_TRUE(exists(folder.file("passed")));
  EXPECT_FALSE(exists(folder.file("configured")));
  EXPECT_TRUE(listeners.check_all_used().ok());
}

TEST(Listeners, AnAbstractAddressIsShown) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  UniqueFd fd(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  ASSERT_EQ(bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address.sun_family), 0);
  ASSERT_EQ(listen(fd.get(), 1), 0);
  const auto taken = passing("lease", std::move(fd)).open(lease_at("/configured"));
  ASSERT_TRUE(taken.ok()) << taken.status();
  EXPECT_EQ(taken->path().front(), '@');
  EXPECT_EQ(taken->path().size(), 6u);  // unix(7): five digits
}

TEST(Listeners, EachNameGetsItsOwn) {
  const Folder folder;
  std::vector<PassedSocket> passed;
  passed.push_back({"socket.app", listening_at(folder.file("app"))});
  passed.push_back({"lease", listening_at(folder.file("lease"))});
  Listeners listeners(std::move(passed));
  EXPECT_EQ(listeners.open(lease_at("/none"))->path(), folder.file("lease"));
  ListenSpec app = lease_at("/none");
  app.name = "socket.app";
  EXPECT_EQ(listeners.open(app)->path(), folder.file("app"));
}

TEST(Listeners, WhatNobodyAsksForIsNamedWithTheNamesThereAre) {
  const Folder folder;
  UniqueFd fd = listening_at(folder.file("s"));
  const std::string number = std::to_string(fd.get());
  Listeners listeners = passing("laese", std::move(fd));
  const auto made = listeners.open(lease_at(folder.file("lease")));
  ASSERT_TRUE(made.ok()) << made.status();
  EXPECT_EQ(listeners.check_all_used().message(),
            "descriptor " + number +
                " is passed as \"laese\", which names no socket of berthd's; FileDescriptorName= "
                "of its .socket unit must be one of: lease");
}

TEST(Listeners, TwoOfOneNameAreRefused) {
  const Folder folder;
  std::vector<PassedSocket> passed;
  passed.push_back({"lease", listening_at(folder.file("1"))});
  passed.push_back({"lease", listening_at(folder.file("2"))});
  EXPECT_EQ(Listeners(std::move(passed)).open(lease_at("/none")).status().message(),
            "more than one descriptor is passed as \"lease\"");
}

TEST(Listeners, APassedDescriptorOfAnotherKindIsRefusedWithWhatItIs) {
  const Folder folder;
  const std::string right =
      "; it must be a listening Unix sequential-packet socket, as ListenSequentialPacket= of a "
      ".socket unit with Accept=no makes it";
  const ListenSpec spec = lease_at("/none");
  EXPECT_EQ(refusal(listening_at(folder.file("1"), SOCK_STREAM), spec),
            " passed as \"lease\", is a Unix stream socket" + right);
  EXPECT_EQ(
      refusal(bound_at(folder.file("2"), SOCK_SEQPACKET), spec),
      " passed as \"lease\", is a Unix sequential-packet socket that does not listen" + right);
  EXPECT_EQ(refusal(UniqueFd(socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0)), spec),
            " passed as \"lease\", is an IPv6 datagram socket that does not listen" + right);
  EXPECT_EQ(refusal(UniqueFd(open("/dev/null", O_RDONLY | O_CLOEXEC)), spec),
            " passed as \"lease\", is not a socket" + right);
}

}  // namespace
}  // namespace berth::net
