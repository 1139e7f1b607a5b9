#include "net/peer.h"

#include <grp.h>
#include <sched.h>

#include <algorithm>

#include "net/listen.h"
#include "unit/net/sockets.h"

namespace berth::net {
namespace {

using test::Child;
using test::Pipe;

std::string words(const absl::Status& status) {
  return std::string(status.message());
}

// A lease socket, and clients that open sessions on it.
class LeaseSocket {
 public:
  UniqueFd connect() const {
    const SocketAddress address = test::address_of("unix://" + path_);
    UniqueFd fd(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    if (::connect(fd.get(), address.raw(), address.length) != 0) return UniqueFd();
    return fd;
  }
  UniqueFd accept() const {
    EXPECT_TRUE(test::wait_readable(listener_.get()));
    return accept_session(listener_.get()).fd;
  }

 private:
  test::Folder folder_;
  std::string path_ = folder_.file("lease.sock");
  UniqueFd listener_ = *listen_seqpacket({path_, 0666}, 16);
};

// Waits until the parent lets go of its end.
int wait_for_parent(Pipe& pipe) {
  char byte;
  pipe.in.reset();
  return read(pipe.out.get(), &byte, 1) == 0 ? 0 : 1;
}

PeerIdentity identify(const UniqueFd& session) {
  auto identity = identify_peer(session.get());
  EXPECT_TRUE(identity.ok()) << identity.status();
  return identity.ok() ? *std::move(identity) : PeerIdentity();
}

TEST(PeerIdentity, OfThisProcess) {
  const LeaseSocket lease;
  const UniqueFd client = lease.connect();
  const UniqueFd session = lease.accept();
  const PeerIdentity me = identify(session);
  EXPECT_EQ(me.uid, geteuid());
  EXPECT_EQ(me.gid, getegid());
  EXPECT_EQ(me.pid, getpid());
  EXPECT_EQ(me.netns_cookie, *own_netns_cookie());
  ASSERT_TRUE(me.pidfd.valid());
  EXPECT_FALSE(has_exited(me.pidfd.get()));
  EXPECT_NE(fcntl(me.pidfd.get(), F_GETFD) & FD_CLOEXEC, 0);
}

TEST(PeerIdentity, HasTheUserAndManyGroupsOfTheClient) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can take on other groups";
  const LeaseSocket lease;
  Pipe done;
  std::vector<gid_t> groups;
  for (gid_t group = 5000; group < 5100; ++group) groups.push_back(group);
  Child child([&] {
    if (setgroups(groups.size(), groups.data()) != 0 || setgid(4001) != 0) return 1;
    if (setuid(4002) != 0) return 2;
    const UniqueFd client = lease.connect();
    return client.valid() ? wait_for_parent(done) : 3;
  });
  const UniqueFd session = lease.accept();
  PeerIdentity who = identify(session);
  EXPECT_EQ(who.uid, 4002u);
  EXPECT_EQ(who.gid, 4001u);
  std::sort(who.groups.begin(), who.groups.end());
  EXPECT_EQ(who.groups, std::vector<uint32_t>(groups.begin(), groups.end()));
  EXPECT_TRUE(pidfd_by_number(session.get(), who.pid, 4002).ok());
  EXPECT_EQ(words(pidfd_by_number(session.get(), who.pid, 4003).status()),
            "identify a session: the process that opened it has exited")
      << "another user's process has the number now";
  done.in.reset();
  EXPECT_EQ(child.join(), 0);
}

TEST(PeerIdentity, WithoutAFreeDescriptorIsAskedForLater) {
  const LeaseSocket lease;
  const UniqueFd client = lease.connect();
  const UniqueFd session = lease.accept();
  const test::NoFdsLeft limit;
  EXPECT_EQ(identify_peer(session.get()).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(pidfd_by_number(session.get(), getpid(), geteuid()).status().code(),
            absl::StatusCode::kResourceExhausted);
}

// The session stays open, held by a child; its opener is gone all the same.
TEST(PeerIdentity, AForkedChildDoesNotStandInForTheOpener) {
  const LeaseSocket lease;
  Pipe known, done;
  Child opener([&] {
    const UniqueFd client = lease.connect();
    if (!client.valid() || wait_for_parent(known) != 0) return 1;
    if (fork() == 0) _exit(wait_for_parent(done));
    return 0;
  });
  const UniqueFd session = lease.accept();
  const PeerIdentity who = identify(session);
  EXPECT_EQ(who.pid, opener.pid());
  EXPECT_FALSE(has_exited(who.pidfd.get()));
  known.in.reset();
  EXPECT_TRUE(test::wait_readable(who.pidfd.get()));
  EXPECT_TRUE(has_exited(who.pidfd.get())) << "as a zombie already";
  EXPECT_EQ(opener.join(), 0);
  EXPECT_TRUE(has_exited(who.pidfd.get()));
  pollfd watch{session.get(), POLLRDHUP, 0};
  EXPECT_EQ(poll(&watch, 1, 0), 0) << "the child keeps the session open";
  EXPECT_EQ(words(identify_peer(session.get()).status()),
            "identify a session: the process that opened it has exited");
  EXPECT_FALSE(pidfd_by_number(session.get(), who.pid, who.uid).ok());
}

TEST(PeerIdentity, ASessionThatHungUpProvesNothingByNumber) {
  const LeaseSocket lease;
  UniqueFd client = lease.connect();
  const UniqueFd session = lease.accept();
  EXPECT_TRUE(pidfd_by_number(session.get(), getpid(), geteuid()).ok());
  client.reset();
  EXPECT_FALSE(pidfd_by_number(session.get(), getpid(), geteuid()).ok());
}

TEST(PeerIdentity, ANumberOfAForeignNamespaceHasNoPidfd) {
  const LeaseSocket lease;
  const UniqueFd client = lease.connect();
  const UniqueFd session = lease.accept();
  const auto pidfd = pidfd_by_number(session.get(), 0, geteuid());
  ASSERT_TRUE(pidfd.ok());
  EXPECT_FALSE(pidfd->valid());
}

TEST(PeerIdentity, AClientOfAnotherNetworkNamespaceHasAnotherCookie) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can make a network namespace";
  const LeaseSocket lease;
  Pipe done;
  Child child([&] {
    if (unshare(CLONE_NEWNET) != 0) return 1;
    const UniqueFd client = lease.connect();
    return client.valid() ? wait_for_parent(done) : 2;
  });
  const UniqueFd session = lease.accept();
  const PeerIdentity who = identify(session);
  EXPECT_NE(who.netns_cookie, *own_netns_cookie());
  EXPECT_NE(who.netns_cookie, 0u);
  EXPECT_EQ(who.pid, child.pid());
  done.in.reset();
  EXPECT_EQ(child.join(), 0);
}

// The daemon in a container, the client outside of its pid namespace.
TEST(PeerIdentity, AClientOfAForeignPidNamespaceHasNoNumber) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can make a pid namespace";
  const LeaseSocket lease;
  const UniqueFd client = lease.connect();
  Child child([&] {
    if (unshare(CLONE_NEWPID) != 0) return 1;
    Child daemon([&] {
      const auto who = identify_peer(lease.accept().get());
      if (!who.ok()) return 2;
      if (who->pid != 0 || who->uid != geteuid()) return 3;
      return who->pidfd.valid() && has_exited(who->pidfd.get()) ? 4 : 0;
    });
    return daemon.join();
  });
  EXPECT_EQ(child.join(), 0);
}

TEST(PeerIdentity, OfWhatIsNoSessionIsAnErrorInWords) {
  const UniqueFd fd(dup(0));
  EXPECT_TRUE(words(identify_peer(fd.get()).status()).starts_with("identify a session: "))
      << identify_peer(fd.get()).status();
}

}  // namespace
}  // namespace berth::net
