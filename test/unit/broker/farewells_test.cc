#include "broker/farewells.h"

#include "net/socket_state.h"
#include "unit/net/kernel_tls.h"

namespace berth::broker {
namespace {

using namespace std::chrono_literals;
using net::test::StuckSender;
using net::test::TlsConnection;

const net::test::HeardRecord kCloseNotify{net::test::kAlert, net::test::kCloseNotify};

class KtlsFarewells : public testing::Test {
 protected:
  void run_until_closed(int count) {
    loop::Timer deadline(loop_, [this] { loop_.stop(); });
    deadline.arm(loop_.now() + 10s);
    wanted_ = count;
    loop_.run();
    EXPECT_EQ(closed_, count);
  }

  void closed(const absl::Status& status) {
    EXPECT_TRUE(status.ok()) << status;
    if (++closed_ == wanted_) loop_.stop();
  }

  loop::Loop loop_;
  int closed_ = 0;
  int wanted_ = 0;
  std::optional<Farewells> farewells_{std::in_place, loop_,
                                      [this](const absl::Status& status) { closed(status); }};
};

TEST_F(KtlsFarewells, EachServerHearsCloseNotifyAndThenTheEnd) {
  BERTH_NEEDS_KERNEL_TLS();
  TlsConnection some[3];
  for (TlsConnection& c : some) EXPECT_TRUE(farewells_->say(c.fd));
  run_until_closed(3);
  for (TlsConnection& c : some) {
    EXPECT_EQ(net::test::hear_record(c.server), kCloseNotify);
    EXPECT_EQ(net::test::hear(c.server), "");
  }
}

TEST_F(KtlsFarewells, AnotherHolderMeetsTheEndToo) {
  BERTH_NEEDS_KERNEL_TLS();
  TlsConnection c;
  const UniqueFd kept(fcntl(c.fd.get(), F_DUPFD_CLOEXEC, 0));
  EXPECT_TRUE(farewells_->say(c.fd));
  run_until_closed(1);
  EXPECT_EQ(net::peek(kept.get()), net::Peek::closed);
}

TEST_F(KtlsFarewells, AHolderWithinASendHoldsUpNeitherTheLoopNorThoseBehind) {
  BERTH_NEEDS_KERNEL_TLS();
  TlsConnection stuck;
  TlsConnection behind;
  const StuckSender other(stuck.fd);
  EXPECT_TRUE(farewells_->say(stuck.fd));
  EXPECT_TRUE(farewells_->say(behind.fd));
  run_until_closed(2);
  EXPECT_EQ(net::test::hear(behind.server), "") << "without a word";
}

TEST_F(KtlsFarewells, ItsEndIsTheirs) {
  BERTH_NEEDS_KERNEL_TLS();
  TlsConnection stuck;
  TlsConnection behind;
  const StuckSender other(stuck.fd);
  EXPECT_TRUE(farewells_->say(stuck.fd));
  EXPECT_TRUE(farewells_->say(behind.fd));
  farewells_.reset();
  loop_.run();
  EXPECT_EQ(net::test::hear(behind.server), "");
  EXPECT_EQ(closed_, 0);
}

TEST_F(KtlsFarewells, TooManyAreRefusedAndLeftToTheCaller) {
  std::vector<UniqueFd> fds(Farewells::kMost + 1);  // the first of them is the worker's
  for (UniqueFd& fd : fds) EXPECT_TRUE(farewells_->say(fd));
  UniqueFd one_more(dup(0));
  EXPECT_FALSE(farewells_->say(one_more));
  EXPECT_TRUE(one_more.valid());
}

}  // namespace
}  // namespace berth::broker
