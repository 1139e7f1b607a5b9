#include "config/print.h"

#include "config/catalogue.h"
#include "unit/config/config_test.h"

namespace berth::config {
namespace {

class ConfigPrint : public ConfigTest {
 protected:
  // Loads what was printed, by itself.
  Settings reloaded(const Settings& settings) {
    const Loaded loaded = load_main(print(settings));
    EXPECT_EQ(lines(loaded.problems), Lines{});
    return loaded.settings;
  }
};

TEST_F(ConfigPrint, ShowsEverySettingWithItsUnit) {
  Settings settings;
  settings.pools.push_back({.key = "redis",
                            .endpoints = {{Endpoint::Kind::tcp, "::1", 6379, ""}},
                            .allow_uids = {0, 4000000000},
                            .allow_gids = {},
                            .tenants = {}});
  EXPECT_EQ(print(settings), R"([daemon]
lease_socket = "/run/berth/lease.sock"
lease_socket_mode = "0666"
control_socket = "/run/berth/control.sock"
control_socket_mode = "0660"
admins = []
fd_reserve = 64
total_max_idle = "unlimited"
max_sessions = 4096
max_sessions_per_user = 1024
max_leases_per_user = "unlimited"
max_waiters_per_user = "unlimited"
total_stream_buffer = "1GiB"
drain_timeout = "30s"
log_level = "info"

[pool.redis]
protocol = "raw"
endpoints = ["tcp://[::1]:6379"]
via = "none"
via_password_file = "none"
dial_command = []
ca = "system"
certificate = "none"
private_key = "none"
server_name = ""
verify = "full"
insecure = false
alpn = []
starttls = false
balance = "round_robin"
resolver = "system"
dns_refresh = "30s"
allow_users = [0, 4000000000]  # root, 4000000000
allow_groups = []
share = "user"
trust_holders = false
sandbox = "relay"
handoff = "auto"
listen = []
listen_mode = "0666"
lazy = false
max_connections = 20
max_idle = "unlimited"
min_idle = 0
dial_concurrency = 4
warm = "reuse"
max_warm_age = "45s"
idle_order = "lifo"
max_waiters = 1000
max_uses = "unlimited"
idle_timeout = "10m"
max_lifetime = "30m"
acquire_timeout = "5s"
dial_timeout = "5s"
keepalive = "15s/5s/3"
tcp_user_timeout = "never"
source_address = ""
interface = ""
reset_timeout = "1s"
lease_warn = "never"
lease_timeout = "never"
greeting = "leave"
login = []
login_command = []
check = []
check_after = "30s"
check_interval = "2m"
check_timeout = "1s"
reset = []
relogin = false
fail_fast = true
)");
}

TEST_F(ConfigPrint, TheDefaultsReloadAsThemselves) {
  EXPECT_EQ(reloaded(default_settings(options_)), default_settings(options_));
  options_.user = true;
  options_.own_uid = 1000;
  options_.runtime_dir = "/run/user/1000/berth";
  EXPECT_EQ(reloaded(default_settings(options_)), default_settings(options_));
}

TEST_F(ConfigPrint, ALoadedConfigurationReloadsAsItself) {
  const Loaded loaded = load_main(R"(
[daemon]
lease_socket = "/tmp/a \"quoted\" \\ name\n.sock"
lease_socket_mode = "0600"
control_socket = "/tmp/c.sock"
control_socket_mode = "0666"
admins = ["root", 1]
fd_reserve = 32
total_max_idle = 77
max_sessions = 1
max_sessions_per_user = 2
max_leases_per_user = 3
max_waiters_per_user = 4
total_stream_buffer = "1024GiB"
drain_timeout = "0s"
log_level = "trace"

[pool."with.dots"]
endpoints = ["unix:///tmp/a%20b \"c\"", "tcp://example.org:1", "tcp://_x._tcp.example.org"]
balance = "failover"
resolver = "dns"
dns_refresh = "never"
allow_users = ["root", 1]
share = "any"
trust_holders = true
dial_concurrency = 9
sandbox = "pinned"
max_connections = "unlimited"
max_idle = "none"
idle_order = "fifo"
max_waiters = 1
max_uses = 1
idle_timeout = "never"
max_lifetime = "1500us"
acquire_timeout = "23h"
dial_timeout = "90s"
keepalive = "1h/1s/127"
tcp_user_timeout = "1m"
source_address = "2001:db8::1"
interface = "eth0"
reset_timeout = "1ms"
greeting = {expect_re = '220 .*\d'}
login = [{send = "A\u0000\r\n\"ü\\\\\\xff\\xfe"}, {until_re = "> $", timeout = "1500us"}]
check = [{send = "PING\r\n"}, {expect = "+PONG\r\n", timeout = "500ms"}]
check_after = "0s"
check_interval = "never"
check_timeout = "1h"
reset = [{send = "RESET\r\n"}]
relogin = true
fail_fast = false

[pool.via]
endpoints = ["tcp://h:1", "unix:///x"]
via = "HTTP://al%69ce%20b@Proxy:3128"
keepalive = "off"
listen = ["/run/a.sock", "tcp://127.0.0.2:7", "tcp://[::1]:7"]
listen_mode = "0600"
lazy = true

[pool.0]
endpoints = ["unix://@abstract"]
dial_command = ["sh", "-c", "echo \"$0\" %h\t%% 'ü'", ""]
login_command = ["/bin/sh"]
warm = "single-use"
max_warm_age = "8s"
min_idle = 1

[pool.tls]
endpoints = ["tls://h:1", "tls://_x._tcp.example.org"]
resolver = "dns"
certificate = "/etc/mine.pem"
private_key = "/etc/mine.key"
server_name = "2001:db8::1"
verify = "none"
insecure = true
alpn = ["h2", "odd \"name\" \u00fc"]
handoff = "ktls"

[pool.tls2]
endpoints = ["tls://h:1"]
ca = "/etc/ca.pem"
verify = "chain-only"
handoff = "relay"

[pool.postgres]
endpoints = ["tcp://h:1"]
protocol = "postgres"
starttls = true

[pool.1]
endpoints = ["slot:"]
max_connections = 7
)");
  EXPECT_EQ(lines(loaded.problems), Lines{});
  EXPECT_EQ(reloaded(loaded.settings), loaded.settings);
}

TEST_F(ConfigPrint, WithUserAnEmptyListOfUsersStaysEmpty) {
  options_.user = true;
  options_.own_uid = 1000;
  const Loaded loaded = load_main(
      "[pool.a]\nendpoints = [\"tcp://h:1\"]\nallow_users = []\n[pool.b]\nendpoints = "
      "[\"tcp://h:1\"]\n");
  EXPECT_EQ(reloaded(loaded.settings), loaded.settings);
}

}  // namespace
}  // namespace berth::config
