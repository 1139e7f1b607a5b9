// Files: which are read, in which order, and what may stand in them.
#include "config/load.h"

#include <sys/stat.h>
#include <unistd.h>

#include "unit/config/config_test.h"

namespace berth::config {
namespace {

using pool::PoolPolicy;

class ConfigLoad : public ConfigTest {};

TEST_F(ConfigLoad, AFileWithEverySettingLandsInTheSettings) {
  write("password", "hunter2");
  ASSERT_EQ(::chmod(path("password").c_str(), 0600), 0);
  const Variable credentials("CREDENTIALS_DIRECTORY", folder_.c_str());
  const Loaded loaded = load_main(R"(
[daemon]
lease_socket = "/tmp/l.sock"
lease_socket_mode = "0660"
control_socket = "/tmp/c.sock"
control_socket_mode = "0666"
admins = ["root", 7]
fd_reserve = 100
total_max_idle = 50
max_sessions = 10
max_sessions_per_user = 5
max_leases_per_user = 6
max_waiters_per_user = 7
total_stream_buffer = "16MiB"
drain_timeout = "0s"
log_level = "off"

[pool.redis]
protocol = "redis"
endpoints = ["TCP://Example.Org:6379", "unix:///x"]
via = "socks5://alice@Proxy:1080"
via_password_file = "%d/password"
balance = "least_leased"
allow_users = ["root", 0, 4000000000, "12345678"]
allow_groups = ["daemon", 4000000000, 1]
share = "socket"
trust_holders = true
sandbox = "pinned"
dial_concurrency = 9
warm = "reuse"
max_connections = "unlimited"
max_idle = "none"
min_idle = 0
idle_order = "fifo"
max_waiters = 7
max_uses = 100
idle_timeout = "never"
max_lifetime = "1d"
acquire_timeout = "250ms"
dial_timeout = "2s"
keepalive = "1m/10s/4"
tcp_user_timeout = "20s"
source_address = "::1"
interface = "lo"
reset_timeout = "3s"
greeting = {send = "g"}
login = {send = "l"}
check = {send = "c"}
check_after = "0s"
check_interval = "4m"
check_timeout = "5s"
reset = {send = "r"}
relogin = true
fail_fast = false
)");
  EXPECT_EQ(lines(loaded.problems), Lines{});
  EXPECT_EQ(lines(loaded.warnings), Lines{});
  const DaemonSettings daemon = {.lease_socket = "/tmp/l.sock",
                                 .lease_socket_mode = 0660,
                                 .control_socket = "/tmp/c.sock",
                                 .control_socket_mode = 0666,
                                 .admins = {0, 7},
                                 .fd_reserve = 100,
                                 .total_max_idle = 50,
                                 .max_sessions = 10,
                                 .max_sessions_per_user = 5,
                                 .max_leases_per_user = 6,
                                 .max_waiters_per_user = 7,
                                 .total_stream_buffer = 16 << 20,
                                 .drain_timeout = 0s,
                                 .log_level = "off"};
  EXPECT_EQ(loaded.settings.daemon, daemon);
  const Endpoint proxy = {Endpoint::Kind::tcp, "proxy", 1080, ""};
  const PoolPolicy redis = {.key = "redis",
                            .protocol = "redis",
                            .endpoints = {{Endpoint::Kind::tcp, "example.org", 6379, ""},
                                          {Endpoint::Kind::unix_path, "", 0, "/x"}},
                            .via = Proxy{Proxy::Kind::socks5, proxy, "alice"},
                            .via_password = {"%d/password", Secret::of("hunter2")},
                            .balance = pool::Balance::least_leased,
                            .idle_order = pool::IdleOrder::fifo,
                            .max_connections = pool::kUnlimited,
                            .max_idle = pool::kNone,
                            .min_idle = 0,
                            .max_waiters = 7,
                            .dial_concurrency = 9,
                            .max_uses = 100,
                            .idle_timeout = 0s,
                            .max_lifetime = 24h,
                            .acquire_timeout = 250ms,
                            .dial_timeout = 2s,
                            .reset_timeout = 3s,
                            .keepalive = {60s, 10s, 4},
                            .tcp_user_timeout = 20s,
                            .source_address = "::1",
                            .interface = "lo",
                            .greeting = {{Step::Kind::send, "g", {}, {}}},
                            .login = {{Step::Kind::send, "l", {}, {}}},
                            .check = {{Step::Kind::send, "c", {}, {}}},
                            .reset = {{Step::Kind::send, "r", {}, {}}},
                            .relogin = true,
                            .check_after = 0s,
                            .check_interval = 4min,
                            .check_timeout = 5s,
                            .fail_fast = false,
                            .share = pool::Share::socket,
                            .trust_holders = true,
                            .sandbox = pool::Sandbox::pinned,
                            .allow_uids = {0, 4000000000, 12345678},
                            .allow_gids = {1, 4000000000},
                            .tenants = {}};
  EXPECT_EQ(loaded.settings.pools, std::vector{redis});
  EXPECT_TRUE(loaded.settings.dynamic.allow.empty());
}

TEST_F(ConfigLoad, WhatIsNotWrittenHasItsDefault) {
  const Loaded loaded = load_main("[daemon]\n[pool]\n[pool.a]\nendpoints = [\"unix://@x\"]\n");
  EXPECT_EQ(lines(loaded.problems), Lines{});
  EXPECT_EQ(loaded.settings.daemon, DaemonSettings{});
  PoolPolicy a;
  a.key = "a";
  a.endpoints = {{Endpoint::Kind::unix_abstract, "", 0, "x"}};
  EXPECT_EQ(loaded.settings.pools, std::vector{a});
}

TEST_F(ConfigLoad, ReadsWhatTlsIsSpoken) {
  const Variable credentials("CREDENTIALS_DIRECTORY", "/run/credentials/berthd.service");
  const Loaded loaded = load_main(R"([pool.a]
endpoints = ["tls://DB.example:1"]
ca = "/etc/ca"
certificate = "/etc/mine.pem"
private_key = "%d/key"
server_name = "Other.Example."
verify = "chain-only"
alpn = ["postgresql"]
handoff = "ktls"
allow_users = [0]
)");
  EXPECT_EQ(lines(loaded.problems), Lines{});
  EXPECT_EQ(lines(loaded.warnings), Lines{});
  const PoolPolicy& a = loaded.settings.pools.at(0);
  EXPECT_TRUE(a.uses_tls());
  EXPECT_EQ(a.tls, (TlsSettings{.ca = "/etc/ca",
                                .certificate = "/etc/mine.pem",
                                .private_key = "/run/credentials/berthd.service/key",
                                .server_name = "other.example",
                                .verify = TlsVerify::chain_only,
                                .alpn = {"postgresql"}}));
  EXPECT_EQ(a.handoff, pool::Handoff::ktls);
  EXPECT_EQ(a.certificate_name(a.endpoints[0]), "other.example");
}

TEST_F(ConfigLoad, PoolsOfTlsAreThoseWhoseEndpointsOrFirstStepsSaySo) {
  const auto pool = [&](const std::string& endpoint, const std::string& settings) {
    const Loaded loaded =
        load_main("[pool.a]\nendpoints = [\"" + endpoint + "://h:1\"]\n" + settings);
    EXPECT_EQ(lines(loaded.problems), Lines{});
    return loaded.settings.pools.at(0);
  };
  EXPECT_TRUE(pool("tls", "").uses_tls());
  EXPECT_EQ(pool("tls", "").certificate_name(pool("tls", "").endpoints[0]), "h");
  EXPECT_TRUE(pool("tcp", "greeting = {tls = \"start\"}").uses_tls());
  EXPECT_TRUE(pool("tcp", "login = {tls = \"start\"}").uses_tls());
  EXPECT_TRUE(pool("tcp", "protocol = \"smtp\"\nstarttls = true").uses_tls());
  EXPECT_FALSE(pool("tcp", "protocol = \"smtp\"").uses_tls());
}

TEST_F(ConfigLoad, LimitsMayBeNumbersOrWords) {
  const auto pool = [&](const std::string& settings) {
    return load_main("[pool.a]\nendpoints = [\"unix://@x\"]\n" + settings).settings.pools.at(0);
  };
  EXPECT_EQ(pool("max_idle = 0").max_idle, pool::kUnlimited);
  EXPECT_EQ(pool("max_idle = \"unlimited\"").max_idle, pool::kUnlimited);
  EXPECT_EQ(pool("max_idle = -1").max_idle, pool::kNone);
  EXPECT_EQ(pool("max_idle = \"none\"").max_idle, pool::kNone);
  EXPECT_EQ(pool("idle_timeout = 0").idle_timeout, 0s);
  EXPECT_EQ(pool("idle_timeout = \"0s\"").idle_timeout, 0s);
}

TEST_F(ConfigLoad, AProgramIsFoundInThePath) {
  for (const char* name : {"first", "second"}) std::filesystem::create_directory(path(name));
  write("first/program", "not executable");
  write("second/program", "#!/bin/sh\n");
  ASSERT_EQ(::chmod(path("second/program").c_str(), 0755), 0);
  const std::string folders = "::.:" + path("nowhere") + ":" + path("first") + ":" + path("second");
  const Variable search("PATH", folders.c_str());
  const Loaded loaded =
      load_main("[pool.a]\nendpoints = [\"unix://@x\"]\nlogin_command = [\"program\", \"%h\"]\n");
  EXPECT_EQ(lines(loaded.problems), Lines{});
  EXPECT_EQ(loaded.settings.pools.at(0).login_command, (Command{path("second/program"), "%h"}));
}

TEST_F(ConfigLoad, PoolsOfTheFolderFollowThoseOfTheMainFileInLexicalOrder) {
  write("pools.d/20-b.toml", "[pool.b]\nendpoints = [\"tcp://h:1\"]\nallow_users = [0]\n");
  write("pools.d/10-a.toml",
        "[pool.z]\nendpoints = [\"tcp://h:1\"]\nallow_users = [0]\n"
        "[pool.a]\nendpoints = [\"tcp://h:1\"]\nallow_users = [0]\n");
  write("pools.d/.#10-a.toml", "left by an editor");
  write("pools.d/30-c.toml.bak", "left by somebody");
  const Loaded loaded = load_main("[pool.m]\nendpoints = [\"tcp://h:1\"]\nallow_users = [0]\n");
  EXPECT_EQ(lines(loaded.problems), Lines{});
  Lines keys;
  for (const PoolPolicy& pool : loaded.settings.pools) keys.push_back(pool.key);
  EXPECT_EQ(keys, (Lines{"m", "z", "a", "b"}));
  EXPECT_EQ(loaded.files,
            (Lines{path("berthd.toml"), path("pools.d/10-a.toml"), path("pools.d/20-b.toml")}));
}

TEST_F(ConfigLoad, AllProblemsOfAllFilesAreToldInOrder) {
  write("pools.d/a.toml", "[pool.a]\nendpoints = [\"h:1\"]\nshare = \"all\"\n");
  write("pools.d/b.toml", "[pool.b\n");
  write("pools.d/c.toml", "[daemon]\n[pool.c]\n");
  const Loaded loaded = load_main(R"([pool.m]
endpoints = ["tcp://h:1"]
min_idle = "some"
[daemon]
log_level = "loud"
max_sesions = 5
)");
  EXPECT_EQ(lines(loaded.problems),
            (Lines{
                ("DIR/berthd.toml:3: min_idle must be a whole number of connections from 0 to "
                 "100000; found \"some\""),
                ("DIR/berthd.toml:5: log_level must be \"trace\", \"debug\", \"info\", \"warn\", "
                 "\"error\" or \"off\"; found \"loud\""),
                ("DIR/berthd.toml:6: unknown setting \"max_sesions\" in [daemon]; did you mean "
                 "\"max_sessions\"?"),
                ("DIR/pools.d/a.toml:2: endpoints: \"h:1\": no scheme; write tcp://HOST:PORT, "
                 "tls://HOST:PORT or unix:///PATH"),
                ("DIR/pools.d/a.toml:3: share must be \"user\", \"socket\", \"group\" or \"any\"; "
                 "found \"all\""),
                "DIR/pools.d/b.toml:1: not valid TOML: …",
                ("DIR/pools.d/c.toml:1: [daemon] stands in the main file only; this file may hold "
                 "[pool.NAME] and [socket.NAME] tables"),
                ("DIR/pools.d/c.toml:2: [pool.c] has no endpoints; give it one, such as endpoints "
                 "= [\"tcp://127.0.0.1:6379\"]"),
            }));
}

TEST_F(ConfigLoad, APoolInTwoFilesNamesBothPlaces) {
  write("pools.d/a.toml", "\n\n[pool.redis]\nendpoints = [\"tcp://h:1\"]\n");
  const Loaded loaded = load_main("# ours\n[pool.redis]\nendpoints = [\"tcp://h:1\"]\n");
  EXPECT_EQ(lines(loaded.problems),
            Lines{"DIR/pools.d/a.toml:3: pool \"redis\" is defined a second time; it is "
                  "DIR/berthd.toml:2 already"});
}

TEST_F(ConfigLoad, APoolTwiceInOneFileNamesBothLines) {
  EXPECT_EQ(problems_in("[pool.redis]\nendpoints = [\"tcp://h:1\"]\n\n  [pool.redis] # again\n"),
            Lines{"4: [pool.redis] stands here for the second time; it is at line 1 already"});
}

TEST_F(ConfigLoad, ASettingTwiceInOneTableIsASyntaxErrorWithItsLine) {
  EXPECT_EQ(problems_in("[pool.redis]\nmin_idle = 1\nmin_idle = 2\n"),
            Lines{"3: not valid TOML: …"});
}

TEST_F(ConfigLoad, AMissingMainFileMattersOnlyIfItWasNamed) {
  EXPECT_EQ(lines(load(options_).problems),
            Lines{"DIR/berthd.toml: cannot be read: No such file or directory"});
  options_.main_file_named = false;
  EXPECT_EQ(lines(load(options_).problems), Lines{});
  EXPECT_EQ(load(options_).settings, default_settings(options_));
  options_.main_file = "";
  EXPECT_EQ(lines(load(options_).problems), Lines{});
}

TEST_F(ConfigLoad, AMissingFolderOfPoolsIsFine) {
  options_.pools_dir = path("nowhere");
  EXPECT_EQ(lines(load_main("").problems), Lines{});
}

TEST_F(ConfigLoad, WhatCannotBeReadIsAProblem) {
  std::filesystem::create_directory(path("pools.d/x.toml"));
  options_.pools_dir = path("pools.d");
  EXPECT_EQ(lines(load_main("").problems),
            Lines{"DIR/pools.d/x.toml: cannot be read: Is a directory"});
  options_.pools_dir = path("berthd.toml");
  EXPECT_EQ(lines(load_main("").problems),
            Lines{"DIR/berthd.toml: cannot be read: Not a directory"});
}

TEST_F(ConfigLoad, AHugeFileIsRefused) {
  EXPECT_EQ(lines(load_main(std::string(5'000'000, '#')).problems),
            Lines{"DIR/berthd.toml: is larger than 4 MiB"});
}

TEST_F(ConfigLoad, AnyBytesAreAnswered) {
  EXPECT_EQ(load_main(std::string("\0\0", 2)).problems.size(), 1u);
  EXPECT_EQ(load_main("a = \"\xff\"").problems.size(), 1u);
  EXPECT_EQ(load_main("a = " + std::string(100'000, '[')).problems.size(), 1u);
  for (const char* header :
       {"[", "[\n]", "[=", "[[=", "[[[a]]]", "[ .a]", "[a.]", "[\"a", "]", "a = [}"}) {
    EXPECT_EQ(problems_in(header), Lines{"1: not valid TOML: …"}) << header;
  }
  for (const char* stray : {"größe = 1", "a = “10m”", "é = 1", "[é]", "a = [1979-05-27\"é"}) {
    EXPECT_EQ(problems_in(stray), Lines{"1: not valid TOML: …"}) << stray;
  }
  EXPECT_EQ(load_main("[pool." + std::string(100'000, 'x') + "]").problems.size(), 2u);
}

TEST_F(ConfigLoad, TheSystemDaemonDeniesByDefaultAndSaysSo) {
  const Loaded loaded = load_main("\n[pool.redis]\nendpoints = [\"tcp://h:1\"]\n");
  EXPECT_EQ(lines(loaded.problems), Lines{});
  EXPECT_EQ(lines(loaded.warnings),
            Lines{"DIR/berthd.toml:2: nobody may lease from [pool.redis]: it allows no users and "
                  "no groups, and no socket has its key"});
  EXPECT_EQ(loaded.settings.pools.at(0).allow_uids, std::vector<uint32_t>{});
  EXPECT_EQ(loaded.settings.daemon.lease_socket, "/run/berth/lease.sock");
  EXPECT_EQ(loaded.settings.daemon.lease_socket_mode, 0666u);
  EXPECT_EQ(loaded.settings.daemon.control_socket, "/run/berth/control.sock");
  EXPECT_EQ(loaded.settings.daemon.control_socket_mode, 0660u);
}

TEST_F(ConfigLoad, AUsersDaemonServesThatUser) {
  options_.user = true;
  options_.own_uid = 1234;
  options_.runtime_dir = "/run/user/1234/berth";
  const Loaded loaded = load_main(R"([pool.mine]
endpoints = ["tcp://h:1"]
[pool.shared]
endpoints = ["tcp://h:1"]
allow_users = [1234, 1235]
[pool.closed]
endpoints = ["tcp://h:1"]
allow_users = []
)");
  EXPECT_EQ(lines(loaded.problems), Lines{});
  EXPECT_EQ(lines(loaded.warnings),
            Lines{"DIR/berthd.toml:6: nobody may lease from [pool.closed]: it allows no users and "
                  "no groups, and no socket has its key"});
  const auto& pools = loaded.settings.pools;
  EXPECT_EQ(pools.at(0).allow_uids, (std::vector<uint32_t>{1234}));
  EXPECT_EQ(pools.at(1).allow_uids, (std::vector<uint32_t>{1234, 1235}));
  EXPECT_EQ(pools.at(2).allow_uids, (std::vector<uint32_t>{}));
  EXPECT_EQ(loaded.settings.daemon.lease_socket, "/run/user/1234/berth/lease.sock");
  EXPECT_EQ(loaded.settings.daemon.lease_socket_mode, 0600u);
  EXPECT_EQ(loaded.settings.daemon.control_socket, "/run/user/1234/berth/control.sock");
  EXPECT_EQ(loaded.settings.daemon.control_socket_mode, 0600u);
  EXPECT_EQ(loaded.settings.dynamic.allow, std::vector{EndpointPattern::every()});
  EXPECT_EQ(loaded.settings.dynamic.policy.allow_uids, (std::vector<uint32_t>{1234}));
}

TEST_F(ConfigLoad, DynamicKeysHaveAPolicyOfTheirOwn) {
  const Loaded loaded = load_main(R"([dynamic]
allow = ["tcp://127.0.0.1:*", "slot:"]
allow_groups = [7]
max_connections = 3
[pool.other]
endpoints = ["tcp://h:1"]
allow_users = [0]
)");
  EXPECT_EQ(lines(loaded.problems), Lines{});
  EXPECT_EQ(lines(loaded.warnings), Lines{});
  const DynamicSettings& dynamic = loaded.settings.dynamic;
  ASSERT_EQ(dynamic.allow.size(), 2u);
  EXPECT_EQ(dynamic.allow[0].text(), "tcp://127.0.0.1:*");
  EXPECT_EQ(dynamic.policy.allow_gids, std::vector<uint32_t>{7});
  EXPECT_EQ(dynamic.policy.max_connections, 3);
  EXPECT_EQ(loaded.settings.pools.at(0).max_connections, PoolPolicy().max_connections);
}

TEST_F(ConfigLoad, DynamicKeysForNobodyAreWarnedOf) {
  EXPECT_EQ(lines(load_main("[dynamic]\nallow = [\"*\"]\n").warnings),
            Lines{"DIR/berthd.toml:1: nobody may lease by URL: [dynamic] allows no users and no "
                  "groups"});
  EXPECT_EQ(lines(load_main("[dynamic]\nallow_users = [0]\n").warnings),
            Lines{"DIR/berthd.toml:1: no URL is a key: [dynamic] allows none"});
}

TEST_F(ConfigLoad, ASocketsKeysAdmitItsTenantWhereverTheyStand) {
  write("pools.d/app.toml",
        "[socket.app]\npath = \"/x\"\nkeys = [\"late\", \"early\", \"late\"]\n");
  write("pools.d/late.toml", "[pool.late]\nendpoints = [\"tcp://h:1\"]\n");
  const Loaded loaded = load_main(
      "[pool.early]\nendpoints = [\"tcp://h:1\"]\n"
      "[pool.other]\nendpoints = [\"tcp://h:1\"]\nallow_users = [0]\n"
      "[socket.empty]\npath = \"/y\"\nowner = \"nobody:7\"\n");
  EXPECT_EQ(lines(loaded.problems), Lines{});
  EXPECT_EQ(lines(loaded.warnings),
            Lines{"DIR/berthd.toml:6: nothing can be leased at [socket.empty]: it has no keys"});
  const auto& pools = loaded.settings.pools;
  EXPECT_EQ(pools.at(0).tenants, std::vector<std::string>{"app"});
  EXPECT_EQ(pools.at(1).tenants, std::vector<std::string>{});
  EXPECT_EQ(pools.at(2).tenants, std::vector<std::string>{"app"});
  const SocketSettings empty = {"empty", "/y", 0600, {65534, 7}, {}};
  const SocketSettings app = {"app", "/x", 0600, {}, {"late", "early"}};
  EXPECT_EQ(loaded.settings.sockets, (std::vector{empty, app}));
}

}  // namespace
}  // namespace berth::config
