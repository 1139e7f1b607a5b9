#include <fcntl.h>
#include <poll.h>

#include "broker/broker.h"

#include <netinet/tcp.h>

#include <functional>
#include <map>

#include "config/catalogue.h"
#include "unit/broker/in_process.h"

namespace berth::broker {
namespace {

TEST_F(BrokerTest, GrantedSocketIsConnectedAndBlocking) {
  start();
  Client client(settings_.daemon.lease_socket);
  greet(client);
  std::vector<UniqueFd> fds;
  const wire::Grant grant = lease(client, &fds);
  ASSERT_EQ(1u, fds.size());
  EXPECT_FALSE(grant.leases[0].reused);
  EXPECT_EQ(0, fcntl(fds[0].get(), F_GETFL) & O_NONBLOCK);
  UniqueFd server = upstream_.accept();
  EXPECT_EQ(2, write(fds[0].get(), "hi", 2));
  char bytes[3];
  EXPECT_EQ(2, read(server.get(), bytes, sizeof bytes));
}

TEST_F(BrokerTest, ConnectionThatTheServerClosedIsReplacedBeforeTheGrant) {
  start();
  Client client(settings_.daemon.lease_socket);
  greet(client);
  const wire::Grant first = lease(client);
  UniqueFd server = upstream_.accept();
  client.send(wire::Release{first.leases[0].lease_id, Outcome::kReuse, 50});
  EXPECT_EQ(Code::kOk, expect<wire::Released>(client).code);
  server.reset();
  std::vector<UniqueFd> fds;
  const wire::Grant second = lease(client, &fds);
  EXPECT_FALSE(second.leases[0].reused);
  ASSERT_EQ(1u, fds.size());
}

TEST_F(BrokerTest, IdleConnectionThatTheServerClosesGoesWithinASecond) {
  start();
  Client client(settings_.daemon.lease_socket);
  greet(client);
  const wire::Grant grant = lease(client);
  UniqueFd server = upstream_.accept();
  client.send(wire::Release{grant.leases[0].lease_id, Outcome::kReuse, 0});
  run_until([&] { return pool().count(pool::State::idle) == 1; });
  server.reset();
  const TimePoint closed = loop_.now();
  run_until([&] { return pool().total() == 0; });
  EXPECT_LE(loop_.now() - closed, 1100ms);
}

TEST_F(BrokerTest, UnsentBytesAreAwaitedBeforeAConnectionIsJudged) {
  policy().reset_timeout = 8s;
  start();
  Client client(settings_.daemon.lease_socket);
  greet(client);
  std::vector<UniqueFd> fds;
  const wire::Grant grant = lease(client, &fds);
  UniqueFd server = upstream_.accept();
  const std::vector<char> much(4 << 20);
  ASSERT_EQ(0, fcntl(fds[0].get(), F_SETFL, O_NONBLOCK));
  while (write(fds[0].get(), much.data(), much.size()) > 0) {
  }
  fds.clear();
  client.send(wire::Release{grant.leases[0].lease_id, Outcome::kReuse, 0});
  run_until([&] { return pool().count(pool::State::resetting) == 1; });
  ASSERT_EQ(0, fcntl(server.get(), F_SETFL, O_NONBLOCK));
  std::vector<char> sink(1 << 20);
  run_until([&] {
    while (read(server.get(), sink.data(), sink.size()) > 0) {
    }
    return pool().count(pool::State::idle) == 1;
  });
}

TEST_F(BrokerTest, UnsentBytesThatNobodyReadsCloseTheConnection) {
  policy().reset_timeout = 50ms;
  start();
  Client client(settings_.daemon.lease_socket);
  greet(client);
  std::vector<UniqueFd> fds;
  const wire::Grant grant = lease(client, &fds);
  UniqueFd server = upstream_.accept();
  const std::vector<char> much(4 << 20);
  ASSERT_EQ(0, fcntl(fds[0].get(), F_SETFL, O_NONBLOCK));
  while (write(fds[0].get(), much.data(), much.size()) > 0) {
  }
  client.send(wire::Release{grant.leases[0].lease_id, Outcome::kReuse, 0});
  run_until([&] { return pool().total() == 0; });
}

// Such a look takes a byte of what the server has answered.
TEST_F(BrokerTest, WhatIsBeingResetIsNotLookedAtForUnsentBytes) {
  policy().reset = {{Step::Kind::send, "RESET\n", {}, {}},
                    {Step::Kind::expect, "+RESET\n", {}, {}}};
  policy().reset_timeout = 8s;
  start();
  Client client(settings_.daemon.lease_socket);
  greet(client);
  const wire::Grant grant = lease(client);
  UniqueFd server = upstream_.accept();
  client.send(wire::Release{grant.leases[0].lease_id, Outcome::kReuse, 0});
  char asked[16];
  run_until([&] { return recv(server.get(), asked, sizeof asked, MSG_DONTWAIT) == 6; });
  ASSERT_EQ(7, send(server.get(), "+RESET\n", 7, MSG_NOSIGNAL));
  // The answer is there when the loop turns next, and every timer of such a look is due.
  const auto due = std::chrono::steady_clock::now() + 70ms;
  while (std::chrono::steady_clock::now() < due) {
  }
  run_until([&] { return pool().count(pool::State::resetting) == 0; });
  EXPECT_EQ(pool().count(pool::State::idle), 1u);
}

TEST_F(BrokerTest, OptionsAreRestoredForAnotherSession) {
  policy().max_connections = 1;
  start();
  Client one(settings_.daemon.lease_socket), two(settings_.daemon.lease_socket);
  greet(one);
  greet(two);
  std::vector<UniqueFd> fds;
  const wire::Grant grant = lease(one, &fds);
  UniqueFd server = upstream_.accept();
  const int off = 0, low = 100;
  ASSERT_EQ(0, setsockopt(fds[0].get(), IPPROTO_TCP, TCP_NODELAY, &off, sizeof off));
  ASSERT_EQ(0, setsockopt(fds[0].get(), SOL_SOCKET, SO_RCVLOWAT, &low, sizeof low));
  fds.clear();
  one.send(wire::Release{grant.leases[0].lease_id, Outcome::kReuse, 0});
  const wire::Grant again = lease(two, &fds);
  EXPECT_TRUE(again.leases[0].reused);
  int value = 0;
  socklen_t size = sizeof value;
  ASSERT_EQ(0, getsockopt(fds[0].get(), IPPROTO_TCP, TCP_NODELAY, &value, &size));
  EXPECT_NE(0, value);
  ASSERT_EQ(0, getsockopt(fds[0].get(), SOL_SOCKET, SO_RCVLOWAT, &value, &size));
  EXPECT_EQ(1, value);
}

TEST_F(BrokerTest, ClientThatDoesNotReadIsDroppedAndOthersNeverNotice) {
  start();
  Client deaf(settings_.daemon.lease_socket), other(settings_.daemon.lease_socket);
  greet(deaf);
  greet(other);
  run_until([&] {
    for (int i = 0; i < 100; ++i) {
      if (!deaf.send(wire::ListKeys{1, ""}) && errno != EAGAIN) return true;
    }
    return false;
  });
  EXPECT_EQ(1u, lease(other).leases.size());
}

TEST_F(BrokerTest, ALeaseBeyondItsTimeoutIsShutDownThenBothEndsAreReset) {
  policy().lease_timeout = 50ms;
  start();
  Client client(settings_.daemon.lease_socket);
  greet(client);
  std::vector<UniqueFd> fds;
  const wire::Grant grant = lease(client, &fds);
  UniqueFd server = upstream_.accept();
  const auto revoked = expect<wire::Revoked>(client);
  EXPECT_EQ(grant.leases[0].lease_id, revoked.lease_id);
  EXPECT_EQ("it was held longer than lease_timeout allows", revoked.message);
  char byte;
  EXPECT_EQ(0, read(fds[0].get(), &byte, 1));
  EXPECT_EQ(0, read(server.get(), &byte, 1));
  pollfd end{server.get(), 0, 0};
  EXPECT_EQ(0, poll(&end, 1, 0)) << "not yet reset: the server may still say farewell";
  const TimePoint shut_down = loop_.now();
  run_until([&] { return poll(&end, 1, 0) > 0 && (end.revents & POLLERR) != 0; });
  EXPECT_GE(loop_.now() - shut_down, 900ms);
  EXPECT_EQ(1u + 2u, broker_->driver().depot().budget().used()) << "lease socket and session";
}

TEST_F(BrokerTest, WhatIsRevokedFreesItsPlaceAtOnce) {
  policy().max_connections = 1;
  policy().lease_timeout = 50ms;
  start();
  Client client(settings_.daemon.lease_socket);
  greet(client);
  lease(client);
  client.send(wire::LeaseRequest{++request_, "up", 1, 900, ""});
  expect<wire::Revoked>(client);
  expect<wire::Grant>(client);
}

TEST_F(BrokerTest, AFollowerIsToldWhatHappensInOrder) {
  start();
  std::vector<pool::EventKind> told;
  broker_->driver().follow([&](const pool::Event& event) { told.push_back(event.kind); });
  broker_->driver().follow_all(true);
  Client client(settings_.daemon.lease_socket);
  greet(client);
  const wire::Grant grant = lease(client);
  client.send(wire::Release{grant.leases[0].lease_id, Outcome::kReuse, 50});
  expect<wire::Released>(client);
  broker_->driver().evict(pool().id(), 1);
  using Kind = pool::EventKind;
  EXPECT_EQ(told, (std::vector{Kind::dial, Kind::dialed, Kind::grant, Kind::release, Kind::evict,
                               Kind::close}));
}

// Each setting of a pool changed by itself: whether that renews is what the catalogue, and with it
// berthd.toml(5), says.
TEST_F(BrokerTest, AReloadRenewsForTheSettingsOfWhichTheManualSaysSo) {
  static const Steps kSteps = {{Step::Kind::send, "QUIT\r\n", {}, {}}};
  const std::map<std::string, std::function<void(pool::PoolPolicy&)>> changes = {
      {"protocol", [](auto& p) { p.protocol = "redis"; }},
      {"endpoints", [](auto& p) { p.endpoints[0].port ^= 1; }},
      {"via", [](auto& p) { p.via = std::get<Proxy>(parse_proxy("http://h:1")); }},
      {"via_password_file", [](auto& p) { p.via_password.path = "/p"; }},
      {"ca", [](auto& p) { p.tls.ca = "/ca"; }},
      {"certificate", [](auto& p) { p.tls.certificate = "/c"; }},
      {"private_key", [](auto& p) { p.tls.private_key = "/k"; }},
      {"server_name", [](auto& p) { p.tls.server_name = "h"; }},
      {"verify", [](auto& p) { p.tls.verify = TlsVerify::chain_only; }},
      {"insecure", [](auto& p) { p.insecure = true; }},
      {"alpn", [](auto& p) { p.tls.alpn = {"h2"}; }},
      {"starttls", [](auto& p) { p.starttls = true; }},
      {"allow_users", [](auto& p) { p.allow_uids.push_back(4711); }},
      {"allow_groups", [](auto& p) { p.allow_gids.push_back(4711); }},
      {"share", [](auto& p) { p.share = pool::Share::socket; }},
      {"sandbox", [](auto& p) { p.sandbox = pool::Sandbox::pinned; }},
      {"handoff", [](auto& p) { p.handoff = pool::Handoff::relay; }},
      {"listen",
       [this](auto& p) {
         p.listen = {{.kind = Endpoint::Kind::unix_path, .host = {}, .path = folder_ + "/l.sock"}};
       }},
      {"listen_mode", [](auto& p) { p.listen_mode = 0600; }},
      {"lazy", [](auto& p) { p.lazy = true; }},
      {"max_connections", [](auto& p) { p.max_connections = 7; }},
      {"max_idle", [](auto& p) { p.max_idle = 7; }},
      {"min_idle", [](auto& p) { p.min_idle = 1; }},
      {"balance", [](auto& p) { p.balance = pool::Balance::failover; }},
      {"resolver", [](auto& p) { p.resolver = pool::ResolveBy::dns; }},
      {"dns_refresh", [](auto& p) { p.dns_refresh = 7s; }},
      {"idle_order", [](auto& p) { p.idle_order = pool::IdleOrder::fifo; }},
      {"max_waiters", [](auto& p) { p.max_waiters = 7; }},
      {"max_uses", [](auto& p) { p.max_uses = 70; }},
      {"idle_timeout", [](auto& p) { p.idle_timeout = 7min; }},
      {"max_lifetime", [](auto& p) { p.max_lifetime = 7min; }},
      {"acquire_timeout", [](auto& p) { p.acquire_timeout = 7s; }},
      {"dial_timeout", [](auto& p) { p.dial_timeout = 7s; }},
      {"reset_timeout", [](auto& p) { p.reset_timeout = 7s; }},
      {"keepalive", [](auto& p) { p.keepalive.count = 7; }},
      {"tcp_user_timeout", [](auto& p) { p.tcp_user_timeout = 7s; }},
      {"source_address", [](auto& p) { p.source_address = "127.0.0.7"; }},
      {"interface", [](auto& p) { p.interface = "lo"; }},
      {"lease_warn", [](auto& p) { p.lease_warn = 7min; }},
      {"lease_timeout", [](auto& p) { p.lease_timeout = 7min; }},
      {"greeting", [](auto& p) { p.greeting = kSteps; }},
      {"login", [](auto& p) { p.login = kSteps; }},
      {"dial_command", [](auto& p) { p.dial_command = {"/bin/false"}; }},
      {"login_command", [](auto& p) { p.login_command = {"/bin/false"}; }},
      {"check", [](auto& p) { p.check = kSteps; }},
      {"check_after", [](auto& p) { p.check_after = 7s; }},
      {"check_interval", [](auto& p) { p.check_interval = 7min; }},
      {"check_timeout", [](auto& p) { p.check_timeout = 7s; }},
      {"reset", [](auto& p) { p.reset = kSteps; }},
      {"relogin", [](auto& p) { p.relogin = true; }},
      {"fail_fast", [](auto& p) { p.fail_fast = false; }},
      {"trust_holders", [](auto& p) { p.trust_holders = true; }},
      {"dial_concurrency", [](auto& p) { p.dial_concurrency = 7; }},
      {"warm", [](auto& p) { p.warm = pool::Warm::single_use; }},
      {"max_warm_age", [](auto& p) { p.max_warm_age = 7s; }},
      {"max_channels", [](auto& p) { p.channels.max_channels = 7; }},
      {"max_streams_per_channel", [](auto& p) { p.channels.max_streams_per_channel = 7; }},
      {"max_waiting_streams", [](auto& p) { p.channels.max_waiting_streams = 7; }},
      {"drain_timeout", [](auto& p) { p.channels.drain_timeout = 7s; }},
      {"keepalive_time", [](auto& p) { p.channels.keepalive_time = 7min; }},
      {"keepalive_timeout", [](auto& p) { p.channels.keepalive_timeout = 7s; }},
      {"retry", [](auto& p) { p.channels.retry.attempts = 7; }},
      {"retry_buffer", [](auto& p) { p.channels.retry.buffer = 7; }},
      {"health", [](auto& p) { p.channels.health = true; }},
      {"max_header_bytes", [](auto& p) { p.channels.max_header_bytes = 7000; }},
      {"stream_buffer", [](auto& p) { p.channels.stream_buffer = 70000; }},
      {"compression", [](auto& p) { p.channels.compression = Compression::gzip; }},
      {"access_log", [](auto& p) { p.channels.access_log = true; }},
  };
  start();
  const pool::PoolPolicy original = policy();
  for (const auto& setting : config::pool_settings()) {
    ASSERT_TRUE(changes.contains(std::string(setting.name))) << setting.name;
    policy() = original;
    ASSERT_TRUE(broker_->reload(settings_).ok());
    changes.at(std::string(setting.name))(policy());
    ASSERT_NE(policy(), original) << setting.name;
    const auto done = broker_->reload(settings_);
    if (setting.name == "sandbox" && !done.ok()) continue;  // no pins here
    ASSERT_TRUE(done.ok()) << setting.name;
    EXPECT_EQ(done->changed, std::vector<std::string>{"up"}) << setting.name;
    EXPECT_EQ(!done->renewed.empty(), setting.effect == config::Effect::renew) << setting.name;
    EXPECT_EQ(pool().policy(), policy()) << setting.name;
  }
}

TEST_F(BrokerTest, AReloadTellsWhichSettingsOfTheDaemonWaitForARestart) {
  start();
  const config::DaemonSettings before = settings_.daemon;
  settings_.daemon.lease_socket = folder_ + "/other.sock";
  settings_.daemon.lease_socket_mode = 0600;
  settings_.daemon.control_socket = folder_ + "/other-control.sock";
  settings_.daemon.control_socket_mode = 0600;
  settings_.daemon.admins = {4711};
  settings_.daemon.fd_reserve = 65;
  settings_.daemon.total_max_idle = 7;
  settings_.daemon.max_sessions = 7;
  settings_.daemon.max_sessions_per_user = 7;
  settings_.daemon.max_leases_per_user = 7;
  settings_.daemon.max_waiters_per_user = 7;
  settings_.daemon.total_stream_buffer = 77 << 20;
  settings_.daemon.drain_timeout = 7s;
  settings_.daemon.log_level = "warn";
  const auto done = broker_->reload(settings_);
  ASSERT_TRUE(done.ok());
  std::vector<std::string> expected;
  for (const auto& setting : config::daemon_settings()) {
    ASSERT_NE(setting.kind.write(before), setting.kind.write(settings_.daemon)) << setting.name;
    if (setting.effect == config::Effect::restart) expected.emplace_back(setting.name);
    EXPECT_EQ(setting.effect == config::Effect::restart,
              setting.kind.write(broker_->settings()) == setting.kind.write(before))
        << setting.name;
  }
  EXPECT_EQ(done->at_restart, expected);
}

TEST_F(BrokerTest, AReloadAddsAndRemovesPools) {
  start();
  Client client(settings_.daemon.lease_socket);
  greet(client);
  const wire::Grant held = lease(client);
  settings_.pools[0].key = "new";
  const auto done = broker_->reload(settings_);
  ASSERT_TRUE(done.ok());
  EXPECT_EQ(done->added, std::vector<std::string>{"new"});
  EXPECT_EQ(done->removed, std::vector<std::string>{"up"});
  client.send(wire::LeaseRequest{++request_, "up", 1, {}, ""});
  EXPECT_EQ(Code::kNoSuchKey, expect<wire::Refusal>(client).code);
  client.send(wire::LeaseRequest{++request_, "new", 1, {}, ""});
  expect<wire::Grant>(client);
  client.send(wire::Release{held.leases[0].lease_id, Outcome::kReuse, 50});
  EXPECT_EQ(Code::kOk, expect<wire::Released>(client).code);
}

TEST_F(BrokerTest, AReloadThatCannotBeKeptChangesNothing) {
  start();
  policy().min_idle = 900;
  policy().max_connections = 1000;
  EXPECT_EQ(absl::StatusCode::kResourceExhausted, broker_->reload(settings_).status().code());
  EXPECT_EQ(0, pool().policy().min_idle);
}

TEST_F(BrokerTest, SlowReaderGetsEveryAnswer) {
  policy().max_connections = 0;
  start();
  Client slow(settings_.daemon.lease_socket);
  greet(slow);
  constexpr uint64_t kRequests = 450;  // more than its socket holds, fewer than would drop it
  uint64_t sent = 0;
  run_until([&] {
    while (sent < kRequests && slow.send(wire::Release{1, Outcome::kReuse, sent + 1})) ++sent;
    return sent == kRequests;
  });
  for (uint64_t i = 1; i <= kRequests; ++i) {
    EXPECT_EQ(i, expect<wire::Released>(slow).request_id);
  }
}

TEST_F(BrokerTest, SessionThatDoesNotSayHelloFirstIsToldSo) {
  start();
  Client rude(settings_.daemon.lease_socket);
  EXPECT_TRUE(rude.send(wire::Cancel{1}));
  const wire::Goodbye goodbye = expect<wire::Goodbye>(rude);
  EXPECT_EQ(Code::kInvalid, goodbye.code);
  EXPECT_EQ("the first frame must be Hello", goodbye.message);
  run_until([&] { return !rude.receive() && rude.closed(); });
}

TEST_F(BrokerTest, SessionsMayHoldHalfOfTheDescriptors) {
  settings_.daemon.fd_reserve = 0;
  start(40);
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 0; i < 10; ++i) {
    clients.push_back(std::make_unique<Client>(settings_.daemon.lease_socket));
    greet(*clients.back());
  }
  Client late(settings_.daemon.lease_socket);
  late.send(wire::Hello{});
  EXPECT_EQ(Code::kTooManySessions, expect<wire::Goodbye>(late).code);
  EXPECT_EQ(1u, lease(*clients.front()).leases.size());
  clients.pop_back();
  run_until([&] { return broker_->driver().depot().budget().used() == 1 + 9 * 2 + 1; });
  Client next(settings_.daemon.lease_socket);
  greet(next);
}

TEST_F(BrokerTest, MinIdleBeyondThreeQuartersOfTheDescriptorsIsRefused) {
  settings_.daemon.fd_reserve = 0;
  policy().min_idle = 31;
  policy().max_connections = 40;
  broker_ = std::make_unique<Broker>(loop_, settings_, 40);
  const absl::Status opened = broker_->open(listeners_);
  EXPECT_EQ(
      "min_idle of all pools is 31 together, more than three quarters of the 40 descriptors that "
      "the fd limit (RLIMIT_NOFILE) leaves",
      opened.message());
}

TEST_F(BrokerTest, ADetachedConnectionIsTheClientsAlone) {
  policy().max_connections = 1;
  start();
  std::vector<UniqueFd> first, second;
  {
    Client client(settings_.daemon.lease_socket);
    greet(client);
    for (std::vector<UniqueFd>* fds : {&first, &second}) {
      client.send(wire::LeaseRequest{++request_, "up", 1, {}, "", true});
      const auto grant = expect<wire::Grant>(client, fds);
      EXPECT_TRUE(grant.leases[0].detached);
      client.send(wire::Release{grant.leases[0].lease_id, Outcome::kDiscard, 50});
      EXPECT_EQ(Code::kNoSuchLease, expect<wire::Released>(client).code);
    }
  }
  run_until([&] { return broker_->driver().depot().budget().used() == 1; });  // the lease socket
  UniqueFd server = upstream_.accept();
  ASSERT_EQ(1u, first.size());
  EXPECT_EQ(2, write(first[0].get(), "hi", 2));
  char bytes[3];
  EXPECT_EQ(2, read(server.get(), bytes, sizeof bytes));
  first.clear();
  EXPECT_EQ(0, read(server.get(), bytes, sizeof bytes)) << "its close is the connection's end";
}

TEST_F(BrokerTest, EndGivesEverythingBack) {
  start();
  {
    Client client(settings_.daemon.lease_socket);
    greet(client);
    lease(client);
  }
  run_until([&] { return pool().total() == 0; });
  EXPECT_EQ(1u, broker_->driver().depot().budget().used());  // the lease socket
}

TEST_F(BrokerTest, ShutdownAwaitsLeasesAndRefusesTheRest) {
  start();
  Client client(settings_.daemon.lease_socket);
  greet(client);
  const wire::Grant grant = lease(client);
  bool done = false;
  broker_->shut_down(10s, [&] { done = true; });
  client.send(wire::LeaseRequest{99, "up", 1, {}, ""});
  EXPECT_EQ(Code::kShuttingDown, expect<wire::Refusal>(client).code);
  EXPECT_FALSE(done);
  client.send(wire::Release{grant.leases[0].lease_id, Outcome::kReuse, 0});
  run_until([&] { return done; });
  EXPECT_EQ(Code::kShuttingDown, expect<wire::Goodbye>(client).code);
}

TEST_F(BrokerTest, ShutdownRevokesWhatIsStillOut) {
  start();
  Client client(settings_.daemon.lease_socket);
  greet(client);
  const wire::Grant grant = lease(client);
  UniqueFd server = upstream_.accept();
  bool done = false;
  broker_->shut_down(5ms, [&] { done = true; });
  EXPECT_EQ(grant.leases[0].lease_id, expect<wire::Revoked>(client).lease_id);
  run_until([&] { return done; });
  char byte;
  EXPECT_EQ(0, read(server.get(), &byte, 1));
}

}  // namespace
}  // namespace berth::broker
