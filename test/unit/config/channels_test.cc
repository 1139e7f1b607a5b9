// Channel pools in the configuration: their settings, and what does not go with them.
#include "config/print.h"
#include "config/tls_contradictions.h"
#include "unit/config/config_test.h"

namespace berth::config {
namespace {

using namespace std::chrono_literals;

class ConfigChannels : public ConfigTest {
 protected:
  // The problems of one channel pool with these settings, without places.
  Lines problems_of(const std::string& settings, const std::string& endpoint = "grpc://h:1") {
    Lines out;
    const std::string pool = "[pool.api]\nendpoints = [\"" + endpoint + "\"]\n";
    for (const Problem& problem : load_main(pool + settings + "\n").problems) {
      out.push_back(problem.text);
    }
    return out;
  }

  pool::PoolPolicy pool_of(const std::string& settings,
                           const std::string& endpoint = "grpc://h:1") {
    EXPECT_EQ(problems_of(settings, endpoint), Lines{});
    const std::string pool = "[pool.api]\nendpoints = [\"" + endpoint + "\"]\n";
    const Loaded loaded = load_main(pool + settings + "\n");
    return loaded.settings.pools.empty() ? pool::PoolPolicy() : loaded.settings.pools.front();
  }
};

constexpr uint32_t bit(unsigned code) {
  return 1u << code;
}

TEST_F(ConfigChannels, GrpcEndpointsMakeAChannelPool) {
  const pool::PoolPolicy pool = pool_of("");
  EXPECT_TRUE(pool.carries_channels());
  EXPECT_FALSE(pool.has_connections());
  EXPECT_FALSE(pool.uses_tls());
  EXPECT_EQ(pool.channels, pool::ChannelSettings());
  EXPECT_EQ(pool.tls.alpn, Lines{});
}

TEST_F(ConfigChannels, GrpcsSpeaksTlsAndOffersHttp2) {
  const pool::PoolPolicy pool = pool_of("server_name = \"api.example\"", "grpcs://h:1");
  EXPECT_TRUE(pool.carries_channels() && pool.uses_tls());
  EXPECT_EQ(pool.tls.alpn, Lines{"h2"});
}

TEST_F(ConfigChannels, ThatOfPlainConnectionsIsNone) {
  const Loaded loaded = load_main("[pool.a]\nendpoints = [\"tls://h:1\"]\n");
  EXPECT_TRUE(loaded.settings.pools.front().has_connections());
  EXPECT_EQ(loaded.settings.pools.front().tls.alpn, Lines{});
}

TEST_F(ConfigChannels, EverySettingIsRead) {
  const pool::PoolPolicy pool = pool_of(R"(balance = "least_streams"
retry_buffer = "1MiB"
max_channels = 2
max_streams_per_channel = 50
max_waiting_streams = 7
drain_timeout = "1m"
keepalive_time = "10s"
keepalive_timeout = "2s"
health = "grpc.health.v1"
retry = {attempts = 4, codes = ["UNAVAILABLE", "ABORTED"], backoff = "50ms"}
max_header_bytes = "8KiB"
stream_buffer = "16KiB"
compression = "snappy"
access_log = true)");
  EXPECT_EQ(pool.balance, pool::Balance::least_streams);
  const pool::ChannelSettings expected = {
      .max_channels = 2,
      .max_streams_per_channel = 50,
      .max_waiting_streams = 7,
      .drain_timeout = 1min,
      .keepalive_time = 10s,
      .keepalive_timeout = 2s,
      .retry = {.attempts = 4, .codes = bit(14) | bit(10), .backoff = 50ms, .buffer = 1 << 20},
      .health = true,
      .max_header_bytes = 8 << 10,
      .stream_buffer = 16 << 10,
      .compression = Compression::snappy,
      .access_log = true};
  EXPECT_EQ(pool.channels, expected);
}

TEST_F(ConfigChannels, WhatIsDialledAndWhoMayIsSaidAsElsewhere) {
  pool_of(R"(via = "socks5://proxy:1080"
ca = "/etc/ca.pem"
certificate = "/etc/mine.pem"
private_key = "/etc/mine.key"
verify = "chain-only"
balance = "failover"
resolver = "dns"
dns_refresh = "5s"
allow_users = ["root"]
listen = ["/run/x.sock", "tcp://127.0.0.1:9000"]
listen_mode = "0600"
idle_timeout = "1m"
max_lifetime = "1h"
acquire_timeout = "1s"
dial_timeout = "1s"
max_waiters = 3
lease_warn = "1h"
lease_timeout = "2h"
keepalive = "off"
tcp_user_timeout = "10s"
fail_fast = false)",
          "grpcs://h:1");
  pool_of("dial_command = [\"/bin/sh\"]");
  pool_of("resolver = \"dns\"", "grpc://_api._tcp.example");
}

TEST_F(ConfigChannels, ItsSocketIsNamedAfterIt) {
  const auto path = [&](const std::string& settings) {
    const pool::PoolPolicy pool = pool_of(settings);
    return pool.listen.empty() ? "none" : pool.listen.front().path;
  };
  EXPECT_EQ(path(""), "/run/berth/sockets/api.sock");
  EXPECT_EQ(path("listen_mode = \"0600\""), "/run/berth/sockets/api.sock");
  EXPECT_EQ(path("listen = \"/run/other.sock\""), "/run/other.sock");
  EXPECT_EQ(path("listen = []"), "none");
  options_.runtime_dir = "/run/user/1000/berth";
  options_.user = true;
  EXPECT_EQ(path(""), "/run/user/1000/berth/sockets/api.sock");
}

TEST_F(ConfigChannels, ASocketWithoutRoomIsAskedFor) {
  options_.runtime_dir = "/" + std::string(90, 'x');
  EXPECT_EQ(problems_of(""),
            Lines{"[pool.api] has no place for its socket: " + options_.runtime_dir +
                  "/sockets/api.sock is too long; give it one with listen"});
  EXPECT_EQ(problems_of("listen = \"/x\""), Lines{});
}

TEST_F(ConfigChannels, ABadNameIsToldOnce) {
  EXPECT_EQ(problems_in("[pool.\"" + std::string(100, 'x') +
                        "\"]\nendpoints = "
                        "[\"grpc://h:1\"]\n")
                .size(),
            1u);
}

TEST_F(ConfigChannels, NoOtherPoolListensAtItsSocket) {
  EXPECT_EQ(problems_in("[pool.api]\nendpoints = [\"grpc://h:1\"]\n[pool.b]\nendpoints = "
                        "[\"tcp://h:1\"]\nlisten = \"/run/berth/sockets/api.sock\"\n"),
            Lines{"3: listen: \"/run/berth/sockets/api.sock\" is that of [pool.api] already"});
}

TEST_F(ConfigChannels, KindsOfEndpointsDoNotMix) {
  const auto problems = [&](const std::string& first, const std::string& second) {
    return problems_in("[pool.a]\nendpoints = [\"" + first + "\", \"" + second +
                       "\"]\nmax_channels = 1\n");
  };
  const auto mixed = [](const std::string& first, const std::string& second) {
    return Lines{"2: endpoints (line 2) has " + first + " and " + second +
                 ", which is something else; give each kind a pool of its own"};
  };
  for (const std::string other : {"tcp://h:1", "tls://h:1", "unix:///x", "grpcs://h:1"}) {
    EXPECT_EQ(problems("grpc://h:1", other), mixed("grpc://h:1", other));
    EXPECT_EQ(problems(other, "grpc://h:1"), mixed(other, "grpc://h:1"));
  }
  EXPECT_EQ(problems("grpc://h:1", "grpc://h:2"), Lines{});
}

TEST_F(ConfigChannels, WhatBelongsToStreamPoolsIsRefused) {
  const std::string why = " (line 3) is without effect: [pool.api] is a channel pool";
  for (const char* setting :
       {"min_idle = 1", "max_idle = 1", "warm = \"reuse\"", "idle_order = \"lifo\"",
        "trust_holders = true", "reset_timeout = \"1s\"", "greeting = \"leave\"", "login = []",
        "login_command = []", "reset = []", "relogin = false", "lazy = true",
        "dial_concurrency = 1", "max_warm_age = \"1s\""}) {
    const std::string name = std::string(setting).substr(0, std::string(setting).find(' '));
    EXPECT_EQ(problems_of(setting), Lines{name + why});
  }
  EXPECT_EQ(problems_of("protocol = \"redis\""),
            Lines{"protocol" + why + ", which speaks gRPC and nothing else"});
  EXPECT_EQ(problems_of("max_connections = 1"),
            Lines{"max_connections" + why + ", whose bound is max_channels for each address"});
  EXPECT_EQ(problems_of("check = [{send = \"x\"}]"),
            Lines{"check" + why + ", which asks with keepalive_time and health"});
  EXPECT_EQ(problems_of("handoff = \"ktls\""),
            Lines{"handoff" + why + ", whose streams are always carried"});
  EXPECT_EQ(problems_of("alpn = [\"h2\"]", "grpcs://h:1"),
            Lines{"alpn" + why + ", which is always offered h2"});
  EXPECT_EQ(problems_of("starttls = true"),
            Lines{"starttls" + why + ", whose TLS begins with the first byte, with grpcs://"});
}

TEST_F(ConfigChannels, WhatBelongsToChannelPoolsIsRefusedElsewhere) {
  for (const char* setting :
       {"max_channels = 1", "max_streams_per_channel = 1", "max_waiting_streams = 1",
        "drain_timeout = \"1s\"", "keepalive_time = \"1m\"", "keepalive_timeout = \"1s\"",
        "retry = {attempts = 1}", "retry_buffer = \"1B\"", "health = \"none\"",
        "max_header_bytes = \"8KiB\"", "stream_buffer = \"16KiB\"", "compression = \"none\"",
        "access_log = true"}) {
    const std::string name = std::string(setting).substr(0, std::string(setting).find(' '));
    EXPECT_EQ(problems_with(setting),
              Lines{name + " (line 3) is without effect: no endpoint of [pool.redis] is grpc:// or "
                           "grpcs://"});
    EXPECT_EQ(problems_in("[dynamic]\n" + std::string(setting) + "\n"),
              Lines{"2: " + name + " does not belong in [dynamic]: no URL makes a channel pool"});
    EXPECT_EQ(problems_in("[pool.slot]\nendpoints = [\"slot:\"]\n" + std::string(setting) + "\n"),
              Lines{"3: " + name +
                    " (line 3) is without effect: [pool.slot] lends slots, which carry no "
                    "connection"});
  }
}

TEST_F(ConfigChannels, OfUnknownEndpointsNothingIsSaid) {
  EXPECT_EQ(problems_in("[pool.a]\nendpoints = [\"grcp://h:1\"]\nmax_channels = 2\nbalance = "
                        "\"least_streams\"\n")
                .size(),
            1u);
}

TEST_F(ConfigChannels, EachKindCountsWhatItCarries) {
  EXPECT_EQ(problems_of("balance = \"least_leased\""),
            Lines{"balance = \"least_leased\" (line 3) is for connections, which a channel pool "
                  "does not lease; say \"least_streams\""});
  EXPECT_EQ(problems_with("balance = \"least_streams\""),
            Lines{"balance = \"least_streams\" (line 3) is for channel pools; say "
                  "\"least_leased\""});
}

TEST_F(ConfigChannels, PlainOnesHaveNoCertificates) {
  EXPECT_EQ(problems_of("ca = \"/x\"\nserver_name = \"y\""),
            (Lines{"ca (line 3) is without effect: no endpoint of [pool.api] is grpcs://",
                   "server_name (line 4) is without effect: no endpoint of [pool.api] is "
                   "grpcs://"}));
  EXPECT_EQ(problems_of("certificate = \"/x\"", "grpcs://h:1"),
            Lines{"certificate (line 3) needs a private_key beside it"});
  EXPECT_EQ(problems_of("verify = \"none\"", "grpcs://h:1").size(), 1u);
}

TEST_F(ConfigChannels, AServiceNeedsNameServers) {
  EXPECT_EQ(problems_of("", "grpc://_api._tcp.example").size(), 1u);
  EXPECT_EQ(problems_of("via = \"socks5://p:1\"\ndial_command = [\"/bin/sh\"]").size(), 1u);
}

TEST_F(ConfigChannels, WithoutASocketItHasNoMode) {
  EXPECT_EQ(problems_of("listen = []\nlisten_mode = \"0600\""),
            Lines{"listen_mode (line 4) is without effect: [pool.api] has no listen"});
}

TEST_F(ConfigChannels, PingsAreNotSentMoreOftenThanServersBear) {
  EXPECT_EQ(problems_of("keepalive_time = \"9s\""),
            Lines{"keepalive_time must be from 10s to 365d, or \"never\"; found \"9s\""});
  EXPECT_EQ(pool_of("keepalive_time = \"never\"").channels.keepalive_time, 0s);
  EXPECT_EQ(problems_of("keepalive_time = 0\nkeepalive_timeout = \"1s\""),
            Lines{"keepalive_timeout (line 4) is without effect with keepalive_time = \"never\" "
                  "(line 3)"});
}

TEST_F(ConfigChannels, AValueOutOfBoundsNamesThem) {
  EXPECT_EQ(problems_of("max_channels = 0"),
            Lines{"max_channels must be a whole number of channels from 1 to 1000; found 0"});
  EXPECT_EQ(problems_of("max_streams_per_channel = \"none\""),
            Lines{"max_streams_per_channel must be a whole number of streams, or \"unlimited\"; "
                  "found \"none\""});
  EXPECT_EQ(problems_of("max_waiting_streams = 0"),
            Lines{"max_waiting_streams must be a whole number of streams from 1 to 1000000; found "
                  "0"});
  EXPECT_EQ(problems_of("stream_buffer = \"1KiB\""),
            Lines{"stream_buffer must be from 16KiB to 16MiB; found \"1KiB\""});
  EXPECT_EQ(problems_of("max_header_bytes = \"2MiB\""),
            Lines{"max_header_bytes must be from 8KiB to 1MiB; found \"2MiB\""});
  for (const char* size : {"65536", "\"64k\"", "\"64 KiB\""}) {
    EXPECT_EQ(problems_of("retry_buffer = " + std::string(size)),
              Lines{"retry_buffer must be a size with its unit, B, KiB, MiB or GiB, such as "
                    "\"64KiB\"; found " +
                    std::string(size)});
  }
  EXPECT_EQ(problems_of("health = true"),
            Lines{"health must be \"none\" or \"grpc.health.v1\"; found true"});
}

TEST_F(ConfigChannels, ARetryIsOfWhatIsUnavailableUnlessItSaysMore) {
  const pool::RetrySettings retry = pool_of("retry = {attempts = 3}").channels.retry;
  EXPECT_EQ(retry.attempts, 3u);
  EXPECT_EQ(retry.codes, bit(14));
  EXPECT_EQ(retry.backoff, 100ms);
  EXPECT_EQ(pool_of("retry = {attempts = 1}").channels.retry, pool::RetrySettings());
  EXPECT_EQ(pool_of("[pool.api.retry]\nattempts = 2").channels.retry.attempts, 2u);
}

TEST_F(ConfigChannels, TheBufferOfRetriesMayStandBeforeThem) {
  for (const char* text : {"retry_buffer = \"1B\"\nretry = {attempts = 2}",
                           "retry = {attempts = 2}\nretry_buffer = \"1B\""}) {
    EXPECT_EQ(pool_of(text).channels.retry.buffer, 1u);
    EXPECT_EQ(pool_of(text).channels.retry.attempts, 2u);
  }
}

TEST_F(ConfigChannels, AttemptsCountTheFirstCall) {
  EXPECT_EQ(problems_of("retry = {attempts = 0}"),
            Lines{"retry: attempts = 0: the first call counts as an attempt, so 1 is never to "
                  "repeat it"});
  EXPECT_EQ(problems_of("retry = {attempts = 11}"),
            Lines{"retry: attempts must be a whole number of calls from 1 to 10; found 11"});
  EXPECT_EQ(problems_of("retry = {}"),
            Lines{"retry needs attempts, which counts the first call, as in {attempts = 3, codes = "
                  "[\"UNAVAILABLE\"], backoff = \"100ms\"}"});
  EXPECT_EQ(problems_of("retry = {attempts = 1, codes = [\"ABORTED\"]}"),
            Lines{"retry: with attempts = 1, which is the first call, codes is without effect"});
  EXPECT_EQ(problems_of("retry = {attempts = 1, backoff = \"1s\"}"),
            Lines{"retry: with attempts = 1, which is the first call, backoff is without effect"});
}

TEST_F(ConfigChannels, ARetrySaysWhatIsWrongWithIt) {
  EXPECT_EQ(problems_of("retry = 3"),
            Lines{"retry must be a table, such as {attempts = 3, codes = [\"UNAVAILABLE\"], "
                  "backoff = \"100ms\"}; found 3"});
  EXPECT_EQ(problems_of("retry = {attempts = 2, backof = \"1s\"}"),
            Lines{"retry has an unknown \"backof\"; did you mean \"backoff\"?"});
  EXPECT_EQ(problems_of("retry = {attempts = 2, whatever = 1}"),
            Lines{"retry has an unknown \"whatever\"; it may hold attempts, codes and backoff"});
  EXPECT_EQ(problems_of("retry = {attempts = 2, backoff = \"0s\"}"),
            Lines{"retry: backoff must be from 1ms to 1m; found \"0s\""});
  const auto codes = [&](const std::string& list) {
    return problems_of("retry = {attempts = 2, codes = " + list + "}");
  };
  EXPECT_EQ(codes("\"UNAVAILABLE\""),
            Lines{"retry: codes must be an array of statuses of gRPC, such as [\"UNAVAILABLE\"]; "
                  "found \"UNAVAILABLE\""});
  EXPECT_EQ(codes("[14]"), Lines{"retry: codes must be an array of statuses of gRPC, such as "
                                 "[\"UNAVAILABLE\"]; found 14"});
  EXPECT_EQ(codes("[]"), Lines{"retry: codes is empty; name a status that is worth another call"});
  EXPECT_EQ(codes("[\"UNAVAILBLE\", \"14\"]"),
            (Lines{"retry: codes: gRPC has no status \"UNAVAILBLE\"; did you mean "
                   "\"UNAVAILABLE\"?",
                   "retry: codes: gRPC has no status \"14\"; they are called as UNAVAILABLE "
                   "is"}));
  EXPECT_EQ(codes("[\"OK\"]"), Lines{"retry: codes: a call that ends with OK is over"});
  EXPECT_EQ(codes("[\"ABORTED\", \"ABORTED\"]"), Lines{"retry: codes names ABORTED twice"});
}

TEST_F(ConfigChannels, WhatIsPrintedReloadsAsItself) {
  const Loaded loaded = load_main(R"(
[pool.plain]
endpoints = ["grpc://h:1", "grpc://_x._tcp.example"]
resolver = "dns"
balance = "least_streams"
max_channels = 2
max_streams_per_channel = 50
max_waiting_streams = 7
drain_timeout = "0s"
keepalive_time = "never"
retry = {attempts = 10, codes = ["CANCELLED", "UNAUTHENTICATED"], backoff = "1500us"}
retry_buffer = "0B"
health = "grpc.health.v1"
max_header_bytes = "9000B"
stream_buffer = "1MiB"
compression = "gzip"
access_log = true
listen = []

[pool."with.dots"]
endpoints = ["grpcs://h:1"]
certificate = "/etc/mine.pem"
private_key = "/etc/mine.key"
lease_timeout = "1h"
)");
  EXPECT_EQ(lines(loaded.problems), Lines{});
  const Loaded again = load_main(print(loaded.settings));
  EXPECT_EQ(lines(again.problems), Lines{});
  EXPECT_EQ(again.settings, loaded.settings);
}

TEST_F(ConfigChannels, WhatIsPrintedOfOneIsWhatItHas) {
  const std::string text = print(load_main("[pool.a]\nendpoints = [\"grpc://h:1\"]\n").settings);
  const auto says = [&](const char* line) { return text.find(line) != text.npos; };
  EXPECT_TRUE(says("\nlisten = [\"/run/berth/sockets/a.sock\"]\n"));
  EXPECT_TRUE(says(R"(
max_channels = 4
max_streams_per_channel = "unlimited"
max_waiting_streams = 10000
drain_timeout = "30s"
keepalive_time = "5m"
keepalive_timeout = "20s"
health = "none"
retry = {attempts = 1}
retry_buffer = "64KiB"
stream_buffer = "256KiB"
max_header_bytes = "64KiB"
compression = "none"
access_log = false
)"));
  EXPECT_FALSE(says("min_idle"));
  EXPECT_FALSE(says("max_connections"));
}

TEST_F(ConfigChannels, AUrlMakesNone) {
  for (const char* url : {"grpc://h:1", "grpcs://h:1"}) {
    pool::PoolPolicy policy;
    policy.endpoints = {std::get<Endpoint>(parse_endpoint(url))};
    EXPECT_EQ(fault_of_url_pool(policy),
              "\"" + std::string(url) +
                  "\": a channel pool has a table of its own, [pool.NAME]; no URL makes one");
  }
}

}  // namespace
}  // namespace berth::config
