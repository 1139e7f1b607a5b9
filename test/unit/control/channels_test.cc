// Channel pools as an administrator sees and orders them: real sockets, a server of few bytes, the
// loop driven here.
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <string>
#include <vector>

#include "control/orders.h"
#include "control/view.h"
#include "control/watchers.h"
#include "unit/broker/in_process.h"

namespace berth::control {
namespace {

using namespace std::chrono_literals;
using namespace std::string_literals;

// RFC 9113, section 4.1: length, type, flags, stream.
const std::string kSettings = "\0\0\0\4\0\0\0\0\0"s;
const std::string kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + kSettings;
// HEADERS that end the block but not the stream: POST http /, by HPACK's static table.
const std::string kCall = "\0\0\3\1\4\0\0\0\1\x83\x86\x84"s;
const std::string kCancel = "\0\0\4\3\0\0\0\0\1\0\0\0\x8"s;  // RST_STREAM

class ChannelsShown : public broker::BrokerTest {
 protected:
  ChannelsShown() { policy().endpoints[0].grpc = true; }
  // What ends with the broker is told to nobody any more.
  ~ChannelsShown() override { broker_->driver().follow(nullptr); }

  void start() {
    BrokerTest::start();
    view_ = std::make_unique<View>(loop_, *broker_, "1.2.3", [] { return View::Clients{0, 0}; });
    orders_ = std::make_unique<Orders>(loop_, *broker_, *view_, DaemonOrders{});
    broker_->driver().follow([this](const pool::Event& event) { events_.push_back(event); });
  }

  // A program that has its connection to berthd.
  struct Program {
    std::unique_ptr<broker::Client> session;
    UniqueFd fd;
  };
  Program come() {
    auto session = std::make_unique<broker::Client>(settings_.daemon.lease_socket);
    greet(*session);
    std::vector<UniqueFd> fds;
    lease(*session, &fds);
    write(fds.at(0), kPreface);
    return {std::move(session), std::move(fds[0])};
  }
  // The server takes the channel.
  void answer() {
    server_ = upstream_.accept();
    write(server_, kSettings);
    run_until([&] { return channels().count(channel::State::ready) == 1; });
  }
  void call(const Program& program) {
    const size_t before = channels().streams();
    write(program.fd, kCall);
    run_until([&] { return channels().streams() == before + 1; });
  }
  static void write(const UniqueFd& fd, const std::string& bytes) {
    EXPECT_EQ(send(fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(bytes.size()));
  }

  const channel::Pool& channels() const { return *broker_->driver().channels().pool(pool().id()); }

  template <class Reply>
  Reply show(uint64_t after = 0, uint32_t limit = 0) const {
    v1::ListRequest request;
    request.set_after(after);
    request.set_limit(limit);
    Reply reply;
    EXPECT_TRUE(view_->show(request, reply).ok());
    return reply;
  }
  v1::StatusReply status() const {
    v1::StatusReply reply;
    EXPECT_TRUE(view_->show(v1::StatusRequest(), reply).ok());
    return reply;
  }
  std::string explain() const {
    v1::ExplainRequest request;
    request.set_key("up");
    pool::SessionInfo who;
    who.uid = getuid();
    v1::ExplainReply reply;
    EXPECT_TRUE(view_->show(request, who, reply).ok());
    EXPECT_EQ(reply.step(), v1::ExplainReply::GRANT);
    return reply.message();
  }
  template <class Reply, class Request>
  Reply order(Request request) {
    if constexpr (requires { request.set_key("up"); }) request.set_key("up");
    Reply reply;
    bool done = false;
    orders_->carry_out(request, reply, [&](const absl::Status& status) { done = status.ok(); });
    EXPECT_TRUE(done);
    return reply;
  }
  size_t told(pool::EventKind kind) const {
    size_t count = 0;
    for (const pool::Event& event : events_) count += event.kind == kind;
    return count;
  }

  std::unique_ptr<View> view_;
  std::unique_ptr<Orders> orders_;
  std::vector<pool::Event> events_;
  UniqueFd server_;
};

// --- listings ---

TEST_F(ChannelsShown, ChannelsFollowTheClientsInAPageOfTheirOwn) {
  start();
  const Program program = come();
  answer();
  call(program);
  const auto clients = show<v1::ListConnectionsReply>();
  ASSERT_EQ(clients.connections_size(), 1);
  EXPECT_EQ(clients.connections(0).kind(), v1::ConnectionInfo::CLIENT);
  EXPECT_NE(clients.connections(0).connection_id(), 0u);
  EXPECT_EQ(clients.connections(0).channel_id(), 0u);
  EXPECT_EQ(clients.connections(0).endpoint(), "");
  ASSERT_TRUE(clients.has_next());
  const auto rest = show<v1::ListConnectionsReply>(clients.next());
  ASSERT_EQ(rest.connections_size(), 1);
  EXPECT_FALSE(rest.has_next());
  const v1::ConnectionInfo& row = rest.connections(0);
  EXPECT_EQ(row.kind(), v1::ConnectionInfo::CHANNEL);
  EXPECT_EQ(row.connection_id(), 0u);
  EXPECT_NE(row.channel_id(), 0u);
  EXPECT_EQ(row.key(), "up");
  EXPECT_EQ(row.state(), v1::ConnectionInfo::READY);
  EXPECT_EQ(row.endpoint(), policy().endpoints[0].url());
  EXPECT_EQ(row.channel().address(), policy().endpoints[0].address());
  EXPECT_EQ(row.channel().streams(), 1u);
  EXPECT_EQ(row.channel().served(), 1u);
  EXPECT_TRUE(row.channel().has_age_ms());
  EXPECT_TRUE(row.has_expires_in_ms());
}

TEST_F(ChannelsShown, APageOfChannelsIsAsLongAsWasAsked) {
  pool::PoolPolicy& other = settings_.pools.emplace_back(settings_.pools[0]);
  other.key = "other";
  start();
  const Program program = come();
  EXPECT_TRUE(program.session->send(wire::LeaseRequest{++request_, "other", 1, {}, ""}));
  expect<wire::Grant>(*program.session);
  run_until([&] { return broker_->driver().channels().shared().channels.size() == 2; });
  std::vector<uint64_t> ids;
  uint64_t after = 0;
  for (int pages = 0; pages < 10; ++pages) {
    const auto page = show<v1::ListConnectionsReply>(after, 1);
    EXPECT_LE(page.connections_size(), 1);
    for (const auto& row : page.connections()) {
      if (row.channel_id() != 0) ids.push_back(row.channel_id());
    }
    if (!page.has_next()) break;
    after = page.next();
  }
  ASSERT_EQ(ids.size(), 2u);
  EXPECT_NE(ids[0], ids[1]);
}

TEST_F(ChannelsShown, APoolTellsOfItsStreamsAndItsAddresses) {
  start();
  const Program program = come();
  answer();
  call(program);
  const auto reply = show<v1::ListPoolsReply>();
  ASSERT_EQ(reply.pools_size(), 1);
  const v1::PoolInfo& pool = reply.pools(0);
  EXPECT_EQ(pool.connections().leased(), 0u);
  EXPECT_EQ(pool.grants(), 1u);
  EXPECT_EQ(pool.dials(), 1u);
  ASSERT_TRUE(pool.has_channel_pool());
  const v1::ChannelPoolInfo& info = pool.channel_pool();
  EXPECT_EQ(info.channels().ready(), 1u);
  EXPECT_EQ(info.clients(), 1u);
  EXPECT_EQ(info.streams(), 1u);
  EXPECT_EQ(info.waiting_streams(), 0u);
  EXPECT_EQ(info.begun(), 1u);
  ASSERT_EQ(info.addresses_size(), 1);
  const v1::AddressInfo& address = info.addresses(0);
  EXPECT_EQ(address.address(), policy().endpoints[0].address());
  EXPECT_EQ(address.streams(), 1u);
  EXPECT_EQ(address.begun(), 1u);
  EXPECT_EQ(address.ended(), 0u);
  EXPECT_EQ(address.dials(), 1u);
  write(program.fd, kCancel);
  run_until([&] { return channels().streams() == 0; });
  const auto later = show<v1::ListPoolsReply>();
  EXPECT_EQ(later.pools(0).channel_pool().ended(), 1u);
  EXPECT_EQ(later.pools(0).channel_pool().addresses(0).ended(), 1u);
}

TEST_F(ChannelsShown, AddressesCountAsRowsOfAPage) {
  pool::PoolPolicy& other = settings_.pools.emplace_back(settings_.pools[0]);
  other.key = "other";
  start();
  const Program program = come();
  answer();
  const auto first = show<v1::ListPoolsReply>(0, 2);
  ASSERT_EQ(first.pools_size(), 1);
  EXPECT_EQ(first.pools(0).channel_pool().addresses_size(), 1);
  ASSERT_TRUE(first.has_next());
  const auto second = show<v1::ListPoolsReply>(first.next(), 2);
  ASSERT_EQ(second.pools_size(), 1);
  EXPECT_EQ(second.pools(0).key(), "other");
  EXPECT_FALSE(second.has_next());
}

TEST_F(ChannelsShown, TheStatusCountsThemApart) {
  start();
  const Program program = come();
  answer();
  call(program);
  const v1::StatusReply reply = status();
  EXPECT_EQ(reply.connections().leased(), 0u);
  EXPECT_EQ(reply.channels().ready(), 1u);
  EXPECT_EQ(reply.clients(), 1u);
  EXPECT_EQ(reply.streams(), 1u);
  EXPECT_EQ(reply.leases(), 1u);
}

TEST_F(ChannelsShown, ExplainSaysWhatBecomesOfCalls) {
  start();
  const std::string granted = "a connection to berthd would be granted, and ";
  EXPECT_EQ(explain(), granted + "a channel would be dialled for them");
  const Program program = come();
  run_until([&] { return channels().count(channel::State::connecting) == 1; });
  EXPECT_EQ(explain(), granted + "calls would wait for a channel to be ready, 0 calls before them");
  answer();
  call(program);
  EXPECT_EQ(explain(),
            granted + "calls would be carried at once, on one of 1 ready channel with 1 stream");
}

// --- orders ---

TEST_F(ChannelsShown, RenewTellsHowManyAreToBeReplaced) {
  start();
  const Program program = come();
  answer();
  const auto reply = order<v1::RenewReply>(v1::KeyRequest());
  EXPECT_TRUE(reply.channels());
  EXPECT_EQ(reply.closed(), 0u);
  EXPECT_EQ(reply.marked(), 1u);
  const UniqueFd former = std::move(server_);
  answer();
  run_until([&] { return channels().channels() == 1; });
  EXPECT_EQ(channels().counters().of(CloseReason::renewed), 1u);
  EXPECT_EQ(told(pool::EventKind::renew), 1u);
}

TEST_F(ChannelsShown, EvictClosesThoseWithoutStreams) {
  start();
  const Program program = come();
  answer();
  call(program);
  const auto none = order<v1::EvictReply>(v1::EvictRequest());
  EXPECT_TRUE(none.channels());
  EXPECT_EQ(none.closed(), 0u);
  write(program.fd, kCancel);
  run_until([&] { return channels().streams() == 0; });
  EXPECT_EQ(order<v1::EvictReply>(v1::EvictRequest()).closed(), 1u);
  run_until([&] { return told(pool::EventKind::evict) == 2; });
}

TEST_F(ChannelsShown, ExpireTellsThatTheyAreChannels) {
  start();
  {
    const Program program = come();
    answer();
  }
  run_until([&] { return channels().clients() == 0; });
  EXPECT_EQ(order<v1::ExpireReply>(v1::ExpireRequest()).pools_size(), 0);
  const auto second = order<v1::ExpireReply>(v1::ExpireRequest());
  ASSERT_EQ(second.pools_size(), 1);
  EXPECT_TRUE(second.pools(0).channels());
  EXPECT_EQ(second.pools(0).closed(), 1u);
}

TEST_F(ChannelsShown, ADrainWaitsForStreamsAndNotForClients) {
  start();
  const Program program = come();
  answer();
  call(program);
  bool done = false;
  v1::DrainReply reply;
  v1::KeyRequest request;
  request.set_key("up");
  orders_->carry_out(request, reply,
                     Orderer{[&](const absl::Status& status) {
                               EXPECT_TRUE(status.ok()) << status.message();
                               done = true;
                             },
                             [] { return false; }});
  EXPECT_FALSE(done);
  write(program.fd, kCancel);
  run_until([&] { return done; });
  EXPECT_TRUE(reply.channels());
  EXPECT_EQ(channels().clients(), 1u);
}

TEST_F(ChannelsShown, APauseTellsHowManyStreamsAreOpen) {
  start();
  const Program program = come();
  answer();
  call(program);
  v1::SetIntakeRequest pause;
  pause.set_intake(v1::PoolInfo::PAUSED);
  const auto reply = order<v1::SetIntakeReply>(pause);
  EXPECT_EQ(reply.leases(), 1u);
  EXPECT_TRUE(reply.has_streams());
  EXPECT_EQ(reply.streams(), 1u);
  EXPECT_EQ(channels().intake(), pool::Intake::paused);
}

// --- events ---

TEST_F(ChannelsShown, EventsNameChannelsAndTheirCount) {
  start();
  broker_->driver().follow_all(true);
  const Program program = come();
  answer();
  run_until([&] { return told(pool::EventKind::count) == 1; });
  EXPECT_EQ(told(pool::EventKind::connect), 1u);
  EXPECT_EQ(told(pool::EventKind::cache_miss), 1u);
  EXPECT_EQ(told(pool::EventKind::dial), 1u);
  EXPECT_EQ(told(pool::EventKind::dialed), 1u);
  for (const pool::Event& event : events_) {
    if (event.kind == pool::EventKind::dialed) {
      EXPECT_TRUE(event.channel.valid());
    }
    if (event.kind == pool::EventKind::grant) {
      EXPECT_FALSE(event.channel.valid());
    }
  }
}

TEST_F(ChannelsShown, WhatBefallsThePoolIsToldOnce) {
  start();
  const Program program = come();
  answer();
  v1::SetIntakeRequest set;
  for (const auto intake : {v1::PoolInfo::PAUSED, v1::PoolInfo::DISABLED, v1::PoolInfo::OPEN}) {
    set.set_intake(intake);
    order<v1::SetIntakeReply>(set);
  }
  run_until([&] { return told(pool::EventKind::open) > 0; });
  bool turn = false;
  loop::Timer next(loop_, [&] { turn = true; });
  next.arm(loop_.now() + 1ms);
  run_until([&] { return turn; });
  EXPECT_EQ(told(pool::EventKind::pause), 1u);
  EXPECT_EQ(told(pool::EventKind::disable), 1u);
  EXPECT_EQ(told(pool::EventKind::open), 1u);
}

TEST_F(ChannelsShown, WithoutAFollowerEventsDoNotPileUp) {
  start();
  broker_->driver().follow(nullptr);
  const Program program = come();
  answer();
  broker_->driver().follow([this](const pool::Event& event) { events_.push_back(event); });
  run_until([&] { return channels().count(channel::State::ready) == 1; });
  EXPECT_EQ(told(pool::EventKind::dial), 0u);
}

}  // namespace
}  // namespace berth::control
