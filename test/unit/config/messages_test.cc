// What a writer of a file is told.
#include "unit/config/config_test.h"

namespace berth::config {
namespace {

class ConfigMessage : public ConfigTest {};

TEST_F(ConfigMessage, AMistypedSettingIsAnsweredWithTheNearest) {
  EXPECT_EQ(problems_with("max_conections = 5"),
            Lines{"unknown setting \"max_conections\" in [pool.redis]; did you mean "
                  "\"max_connections\"?"});
}

TEST_F(ConfigMessage, AnUnknownSettingIsAnsweredWithAllThatMayStandThere) {
  EXPECT_EQ(problems_in("[daemon]\ncolour = 1\n"),
            Lines{"2: unknown setting \"colour\" in [daemon]; it may hold lease_socket, "
                  "lease_socket_mode, control_socket, control_socket_mode, admins, fd_reserve, "
                  "total_max_idle, max_sessions, max_sessions_per_user, max_leases_per_user, "
                  "max_waiters_per_user, total_stream_buffer, drain_timeout, log_level"});
}

TEST_F(ConfigMessage, ASettingInTheWrongTableIsSentHome) {
  EXPECT_EQ(problems_in("[daemon]\nmax_idle = 1\n"),
            Lines{"2: setting \"max_idle\" belongs into [pool.NAME], not into [daemon]"});
  EXPECT_EQ(problems_with("log_level = \"info\""),
            Lines{"setting \"log_level\" belongs into [daemon], not into [pool.redis]"});
}

TEST_F(ConfigMessage, WhatALaterVersionBringsIsRefusedByName) {
  EXPECT_EQ(problems_with("metrics = true\n[pool.redis.traces]"),
            (Lines{"setting \"metrics\" is not available in this version of berth",
                   "setting \"traces\" is not available in this version of berth"}));
  EXPECT_EQ(problems_in("[daemon]\nmetrics = true\n"),
            Lines{"2: setting \"metrics\" is not available in this version of berth"});
}

TEST_F(ConfigMessage, WhereProgramsConnectIsAPathOrThisHostsLoopback) {
  const std::string what =
      "listen must be the absolute path of a socket, or tcp:// with an address of the loopback, "
      "such as \"tcp://127.0.0.1:6379\"; found ";
  EXPECT_EQ(problems_with("listen = 1"), Lines{what + "1"});
  EXPECT_EQ(problems_with("listen = \"x.sock\""), Lines{what + "\"x.sock\""});
  EXPECT_EQ(problems_with("listen = [\"tcp://0.0.0.0:1\", \"tcp://localhost:1\"]"),
            (Lines{what + "\"tcp://0.0.0.0:1\"", what + "\"tcp://localhost:1\""}));
  EXPECT_EQ(problems_with("listen = [\"/x\", \"/x\"]"), Lines{"listen names \"/x\" twice"});
  EXPECT_EQ(problems_with("listen = [\"/x\", \"tcp://127.0.0.1:1\", \"tcp://[::1]:1\"]"), Lines{});
}

TEST_F(ConfigMessage, WhatIsCarriedCannotBeDirectToo) {
  EXPECT_EQ(
      problems_with("listen = \"/x\"\nhandoff = \"direct\""),
      Lines{"handoff = \"direct\" (line 4) contradicts listen (line 3), whose programs do not "
            "get the server's socket"});
  EXPECT_EQ(problems_with("lazy = true"),
            Lines{"lazy (line 3) is without effect: [pool.redis] has no listen"});
  EXPECT_EQ(problems_with("listen_mode = \"0600\""),
            Lines{"listen_mode (line 3) is without effect: [pool.redis] has no listen"});
  EXPECT_EQ(problems_with("listen = \"/x\"\ngreeting = {expect = \"220\"}"),
            Lines{"listen (line 3): programs wait there for what the server says first, which "
                  "greeting has read by then; say greeting = \"leave\" and warm = \"single-use\""});
}

TEST_F(ConfigMessage, ASocketIsOnePoolsAlone) {
  const std::string pools =
      "[pool.a]\nendpoints = [\"tcp://h:1\"]\nlisten = \"/x\"\n"
      "[pool.b]\nendpoints = [\"tcp://h:1\"]\nlisten = [\"/y\", \"/x\"]\n";
  EXPECT_EQ(problems_in(pools), Lines{"4: listen: \"/x\" is that of [pool.a] already"});
  EXPECT_EQ(problems_in("[daemon]\nlease_socket = \"/y\"\n" + pools),
            (Lines{"6: listen: \"/y\" is that of lease_socket already",
                   "6: listen: \"/x\" is that of [pool.a] already"}));
}

TEST_F(ConfigMessage, AServiceNeedsTheResolverThatFindsIt) {
  const std::string service = "[pool.a]\nendpoints = [\"tcp://h:1\", \"tcp://_a._tcp.b\"]\n";
  const std::string why =
      "tcp://_a._tcp.b is a service (it has no port), which is found with resolver = \"dns\" only, "
      "without via and dial_command";
  EXPECT_EQ(problems_in(service), Lines{"2: " + why});
  EXPECT_EQ(problems_in(service + "resolver = \"system\"\n"), Lines{"3: " + why});
  EXPECT_EQ(problems_in(service + "resolver = \"dns\"\n"), Lines{});
  EXPECT_EQ(problems_with("resolver = \"bind\""),
            Lines{"resolver must be \"system\" or \"dns\"; found \"bind\""});
  EXPECT_EQ(problems_with("dns_refresh = \"999ms\""),
            Lines{"dns_refresh must be from 1s to 365d, or \"never\"; found \"999ms\""});
}

TEST_F(ConfigMessage, WhoSharesWithOthersMustTrustThem) {
  for (const std::string share : {"any", "group"}) {
    EXPECT_EQ(problems_with("share = \"" + share + "\""),
              Lines{"share = \"" + share +
                    "\" (line 3) lets users have what others may have kept a duplicate of; say "
                    "handoff = \"relay\", or, if none of them does, trust_holders = true"});
    EXPECT_EQ(problems_with("share = \"" + share + "\"\ntrust_holders = true"), Lines{});
    EXPECT_EQ(problems_with("share = \"" + share + "\"\nhandoff = \"relay\""), Lines{});
  }
}

TEST_F(ConfigMessage, WhatIsUsedOnceIsNotUsedAgain) {
  const std::string once = "warm = \"single-use\"\n";
  EXPECT_EQ(
      problems_with(once + "reset = {send = \"x\"}"),
      Lines{"reset (line 4) is without effect: what is warm = \"single-use\" (line 3) does not "
            "return"});
  EXPECT_EQ(
      problems_with(once + "max_uses = 3"),
      Lines{"max_uses (line 4) is without effect: what is warm = \"single-use\" (line 3) does "
            "not return"});
  EXPECT_EQ(
      problems_with("max_warm_age = \"3s\""),
      Lines{"max_warm_age (line 3) is without effect: [pool.redis] is not warm = \"single-use\""});
}

TEST_F(ConfigMessage, Programs) {
  const auto problems = [&](const std::string& words) {
    return problems_with("dial_command = " + words);
  };
  const std::string right =
      "dial_command must be an array of a program and its arguments, such as [\"nc\", \"-F\", "
      "\"%h\", \"%p\"]; found ";
  EXPECT_EQ(problems("\"nc -F\""), Lines{right + "\"nc -F\""});
  EXPECT_EQ(problems("[\"/bin/sh\", 1]"), Lines{right + "1"});
  EXPECT_EQ(problems("[]"), Lines{});
  EXPECT_EQ(problems("[\"/bin/sh\", \"%h:%p\", \"100%%\", \"\"]"), Lines{});
  EXPECT_EQ(problems("[\"/no/such\", \"%x\"]"),
            Lines{"dial_command: \"/no/such\": No such file or directory"});
  EXPECT_EQ(problems("[\"/etc/passwd\"]"), Lines{"dial_command: \"/etc/passwd\": not executable"});
  EXPECT_EQ(problems("[\"/etc\"]"), Lines{"dial_command: \"/etc\": not a file"});
  for (const std::string program : {"", "./sh", "bin/sh"}) {
    EXPECT_EQ(problems("[\"" + program + "\"]"),
              Lines{"dial_command: \"" + program +
                    "\": the program is an absolute path, or a name that is found in PATH"});
  }
  const Variable search("PATH", "/usr/bin:/bin");
  EXPECT_EQ(problems("[\"no-such-program\"]"),
            Lines{"dial_command: \"no-such-program\" is not there, or not executable, in PATH, "
                  "\"/usr/bin:/bin\""});
  EXPECT_EQ(problems("[\"sh\", \"%h\", \"--user=%r\"]"),
            Lines{"dial_command: \"--user=%r\": %r means nothing; %h is the endpoint's host, %p "
                  "its port, %% a percent sign"});
  EXPECT_EQ(problems("[\"sh\", \"a\\u0000b\"]"),
            Lines{"dial_command: \"a\\u0000b\": a word has no zero byte"});
  EXPECT_EQ(problems("[\"sh\", \"" + std::string(4097, 'x') + "\"]"),
            Lines{"dial_command: a word is longer than 4096 bytes"});
  std::string many = "[\"sh\"";
  for (int i = 0; i < 64; ++i) many += ", \"x\"";
  EXPECT_EQ(problems(many + "]"), Lines{"dial_command has more than 64 words"});
}

TEST_F(ConfigMessage, AProgramLogsInInsteadOfSteps) {
  const std::string program = "login_command = [\"/bin/sh\"]\n";
  EXPECT_EQ(problems_with(program + "login = {send = \"x\"}"),
            Lines{"login (line 4) and login_command (line 3) both log in; keep one of them"});
  EXPECT_EQ(problems_with(program + "reset = {send = \"x\"}\nrelogin = true"), Lines{});
  EXPECT_EQ(problems_with("reset = {send = \"x\"}\nrelogin = true"),
            Lines{"relogin = true (line 4) is without effect: [pool.redis] has no login"});
}

TEST_F(ConfigMessage, SlotsHaveFewSettings) {
  const std::string slots = "[pool.slot]\nendpoints = [\"slot:\"]\n";
  EXPECT_EQ(problems_in(slots + "max_connections = 9\nmax_waiters = 9\nacquire_timeout = \"1s\"\n"
                                "lease_warn = \"1s\"\nlease_timeout = \"2s\"\n"),
            Lines{});
  const std::string because =
      " is without effect: [pool.slot] lends slots, which carry no connection";
  EXPECT_EQ(problems_in(slots + "min_idle = 1\nsandbox = \"pinned\"\n"),
            (Lines{"3: min_idle (line 3)" + because, "4: sandbox (line 4)" + because}));
  EXPECT_EQ(problems_in(slots + "dial_command = [\"/bin/sh\"]\n"),
            Lines{"3: dial_command (line 3)" + because});
}

TEST_F(ConfigMessage, OutsideOfTheTables) {
  EXPECT_EQ(
      problems_in("min_idle = 3\ncolour = 1\n[pools.redis]\n[deamon]\n[colour2]\nx = 1\n"),
      (Lines{("1: setting \"min_idle\" stands outside of a table; write it below [daemon], "
              "[pool.NAME] or [socket.NAME]"),
             ("2: setting \"colour\" stands outside of a table; write it below [daemon], "
              "[pool.NAME] or [socket.NAME]"),
             "3: unknown table \"pools\"; did you mean [pool.NAME]?",
             "4: unknown table \"deamon\"; did you mean [daemon]?",
             ("5: unknown table \"colour2\"; there may be [daemon], [dynamic], [pool.NAME] and "
              "[socket.NAME]")}));
}

TEST_F(ConfigMessage, TablesThatAreNone) {
  EXPECT_EQ(problems_in("daemon = 3\npool = \"redis\"\n"),
            (Lines{"1: daemon must be a table, [daemon]; found 3",
                   "2: pool must hold tables, [pool.NAME]; found \"redis\""}));
  EXPECT_EQ(problems_in("[pool]\nmax_idle = 3\n"),
            Lines{"2: each pool is a table, [pool.NAME]; found \"max_idle\" in [pool]"});
  EXPECT_EQ(problems_in("[[pool]]\nmax_idle = 3\n"),
            Lines{"1: pool must hold tables, [pool.NAME]; found an array"});
}

TEST_F(ConfigMessage, PoolNames) {
  const std::string text = "endpoints = [\"tcp://h:1\"]\n";
  EXPECT_EQ(problems_in("[pool.\"a.b_c-9\"]\n" + text), Lines{});
  EXPECT_EQ(problems_in("[pool." + std::string(64, 'x') + "]\n" + text), Lines{});
  EXPECT_EQ(problems_in("[pool.Redis]\n" + text),
            Lines{"1: pool name \"Redis\" must be 1 to 64 of the characters a-z, 0-9, '.', '_', "
                  "'-'"});
  EXPECT_EQ(problems_in("[pool.\"\"]\n" + text).size(), 1u);
  EXPECT_EQ(problems_in("[pool.\"a\\n\"]\n" + text).size(), 1u);
  EXPECT_EQ(problems_in("[pool." + std::string(65, 'x') + "]\n" + text).size(), 1u);
}

TEST_F(ConfigMessage, ANameWithDotsNeedsQuotes) {
  EXPECT_EQ(problems_with("[pool.redis.eu]"),
            Lines{"unknown setting \"eu\" in [pool.redis]; a pool name with dots stands in quotes: "
                  "[pool.\"redis.eu\"]"});
}

TEST_F(ConfigMessage, AWrongTypeSaysWhatWouldBeRight) {
  EXPECT_EQ(problems_with("max_idle = \"lots\""),
            Lines{"max_idle must be a whole number of connections, or \"unlimited\" or \"none\"; "
                  "found \"lots\""});
  EXPECT_EQ(problems_with("max_idle = -2"),
            Lines{"max_idle must be a whole number of connections, or \"unlimited\" or \"none\"; "
                  "found -2"});
  EXPECT_EQ(problems_with("max_connections = \"none\""),
            Lines{"max_connections must be a whole number of connections, or \"unlimited\"; found "
                  "\"none\""});
  EXPECT_EQ(problems_with("max_connections = 2.0"),
            Lines{"max_connections must be a whole number of connections, or \"unlimited\"; found "
                  "a number with a fraction"});
  EXPECT_EQ(problems_with("idle_timeout = 600"),
            Lines{"idle_timeout must be a duration with its unit, such as \"250ms\" or \"10m\", or "
                  "\"never\"; found 600"});
  EXPECT_EQ(problems_with("dial_timeout = \"5\""),
            Lines{"dial_timeout must be a duration with its unit, such as \"250ms\" or \"10m\"; "
                  "found \"5\""});
  EXPECT_EQ(problems_with("fail_fast = \"yes\""),
            Lines{"fail_fast must be true or false, without quotes; found \"yes\""});
  EXPECT_EQ(problems_with("idle_order = 2026-01-01"),
            Lines{"idle_order must be \"lifo\" or \"fifo\"; found a date or time"});
  EXPECT_EQ(problems_with("protocol = []"),
            Lines{"protocol must be \"raw\", \"redis\", \"memcached\", \"http1\", \"smtp\", "
                  "\"postgres\", \"mysql\" or \"ldap\"; found an array"});
}

TEST_F(ConfigMessage, AValueOutOfBoundsNamesThem) {
  EXPECT_EQ(problems_with("max_connections = 1000001"),
            Lines{"max_connections must be at most 1000000 connections; found 1000001"});
  EXPECT_EQ(problems_with("max_waiters = 0"),
            Lines{"max_waiters must be a whole number of requests from 1 to 1000000; found 0"});
  EXPECT_EQ(problems_with("acquire_timeout = \"0s\""),
            Lines{"acquire_timeout must be from 1ms to 1d; found \"0s\""});
  EXPECT_EQ(problems_with("acquire_timeout = \"999us\""),
            Lines{"acquire_timeout must be from 1ms to 1d; found \"999us\""});
  EXPECT_EQ(problems_with("idle_timeout = \"366d\""),
            Lines{"idle_timeout must be from 1ms to 365d, or \"never\"; found \"366d\""});
  EXPECT_EQ(problems_in("[daemon]\ndrain_timeout = \"25h\"\nfd_reserve = 3\n"),
            (Lines{"2: drain_timeout must be from 1ms to 1d, or \"0s\"; found \"25h\"",
                   "3: fd_reserve must be a whole number of descriptors from 32 to 1000000; found "
                   "3"}));
}

TEST_F(ConfigMessage, TheLeaseSocket) {
  EXPECT_EQ(problems_in("[daemon]\nlease_socket = \"lease.sock\"\nlease_socket_mode = 666\n"),
            (Lines{"2: lease_socket must be the absolute path of a socket; found \"lease.sock\"",
                   "3: lease_socket_mode must be octal permission bits in quotes, such as "
                   "\"0660\"; found 666"}));
  EXPECT_EQ(problems_in("[daemon]\nlease_socket = \"/" + std::string(107, 'x') + "\"\n"),
            Lines{"2: lease_socket must be at most 107 bytes long; found \"/" +
                  std::string(79, 'x') + "…\""});
  EXPECT_EQ(problems_in("[daemon]\nlease_socket = \"/" + std::string(106, 'x') + "\"\n"), Lines{});
}

TEST_F(ConfigMessage, Endpoints) {
  const auto problems = [&](const std::string& endpoints) {
    return problems_in("[pool.a]\nendpoints = " + endpoints + "\n");
  };
  EXPECT_EQ(problems("\"tcp://h:1\""),
            Lines{"2: endpoints must be an array of strings, such as [\"tcp://127.0.0.1:6379\"]; "
                  "found \"tcp://h:1\""});
  EXPECT_EQ(problems("[]"), Lines{"2: endpoints is empty; a pool needs an endpoint to dial"});
  EXPECT_EQ(problems("[\"tcp://h:1\",\n\"tcp://H:1\"]"),
            Lines{"3: endpoints names tcp://h:1 twice"});
  EXPECT_EQ(problems("[\"tcp://h:1\",\n\"slot:\"]"),
            Lines{"3: endpoints: slot: stands alone; a pool lends slots or connections"});
  EXPECT_EQ(problems("[\n6379,\n\"tcp://h:0\"]"),
            (Lines{"3: endpoints must be an array of strings, such as "
                   "[\"tcp://127.0.0.1:6379\"]; found 6379",
                   "4: endpoints: \"tcp://h:0\": the port must be a number from 1 to 65535"}));
  std::string many = "[";
  for (int port = 1; port <= 64; ++port) many += "\"tcp://h:" + std::to_string(port) + "\",";
  EXPECT_EQ(problems(many + "]"), Lines{});
  EXPECT_EQ(problems(many + "\n\"tcp://h:65\"]"), Lines{"3: endpoints has more than 64 endpoints"});
  EXPECT_EQ(problems("[\"tls://h:1\", \"tls://_x._tcp.y:2\"]"), Lines{});
}

TEST_F(ConfigMessage, Sockets) {
  const std::string pool = "[pool.redis]\nendpoints = [\"tcp://h:1\"]\n";
  EXPECT_EQ(problems_in(pool + "[socket.app1]\nkeys = [\"redsi\", \"x\"]\n"),
            (Lines{"3: [socket.app1] has no path; give it one, such as path = "
                   "\"/run/berth/app1.sock\"",
                   "4: keys: no pool is called \"redsi\"; did you mean \"redis\"?",
                   "4: keys: no pool is called \"x\""}));
  const std::string socket = pool + "[socket.app1]\nkeys = [\"redis\"]\n";
  EXPECT_EQ(
      problems_in(socket + "path = \"app.sock\"\nmode = \"0999\"\nowner = \"nobody:no such\"\n"),
      (Lines{"5: path must be the absolute path of a socket; found \"app.sock\"",
             "6: mode must be octal permission bits in quotes, such as \"0660\"; found \"0999\"",
             "7: owner: unknown group \"no such\""}));
  EXPECT_EQ(problems_in(socket + "path = \"/" + std::string(107, 'x') + "\"\n").size(), 1u);
  EXPECT_EQ(problems_in(socket + "path = \"/x\"\nowner = 3\n"),
            Lines{"6: owner must be a string such as \"www-data\", \"www-data:www-data\" or "
                  "\":www-data\"; found 3"});
  EXPECT_EQ(problems_in(socket + "path = \"/x\"\n[socket.Upper]\npath = \"/y\"\n"),
            Lines{"6: socket name \"Upper\" must be 1 to 64 of the characters a-z, 0-9, '.', '_', "
                  "'-'"});
  EXPECT_EQ(problems_in("socket = 1\n"),
            Lines{"1: socket must hold tables, [socket.NAME]; found 1"});
}

TEST_F(ConfigMessage, TwoSocketsHaveTwoPaths) {
  EXPECT_EQ(problems_in("[socket.a]\npath = \"/x\"\n[socket.b]\npath = \"/x\"\n"
                        "[socket.c]\npath = \"/run/berth/lease.sock\"\n"),
            (Lines{"4: path = \"/x\" is that of [socket.a] already",
                   "6: path = \"/run/berth/lease.sock\" is that of lease_socket already"}));
}

TEST_F(ConfigMessage, DynamicKeys) {
  EXPECT_EQ(
      problems_in("[dynamic]\nallow = [\"tcp://127.0.0.1\", 3]\n"
                  "endpoints = [\"tcp://h:1\"]\nmin_idle = 1\nmax_idel = 1\n"),
      (Lines{"2: allow: \"tcp://127.0.0.1\": the port must be a number, FIRST-LAST, or *",
             ("2: allow must be an array of patterns of URLs, such as [\"tcp://127.0.0.1:*\"]; "
              "found 3"),
             "3: endpoints does not belong in [dynamic]: the URL itself says where to dial",
             ("4: min_idle does not belong in [dynamic]: a pool that a URL makes goes once it is "
              "empty"),
             "5: unknown setting \"max_idel\" in [dynamic]; did you mean \"max_idle\"?"}));
  EXPECT_EQ(problems_in("[dynamic]\nalow = []\n"),
            Lines{"2: unknown setting \"alow\" in [dynamic]; did you mean \"allow\"?"});
  EXPECT_EQ(problems_in("dynamic = 1\n"), Lines{"1: dynamic must be a table, [dynamic]; found 1"});
}

TEST_F(ConfigMessage, HowASocketIsDialled) {
  const std::string keepalive =
      "keepalive must be \"off\", or silence, interval and number of probes, such as \"15s/5s/3\", "
      "of "
      "1s to 32767s, 1s to 32767s and 1 to 127; found ";
  for (const char* text : {"15s", "15s/5s", "15s/5s/3/1", "15s/5s/0", "15s/5s/128", "0s/5s/3",
                           "500ms/5s/3", "1500ms/5s/3", "15s/10h/3", "on", "", "15s/5s/x"}) {
    EXPECT_EQ(problems_with("keepalive = \"" + std::string(text) + "\""),
              Lines{keepalive + "\"" + text + "\""});
  }
  EXPECT_EQ(problems_with("source_address = \"localhost\""),
            Lines{"source_address must be an IPv4 or IPv6 address of this host, such as "
                  "\"192.0.2.7\"; found \"localhost\""});
  EXPECT_EQ(problems_with("interface = \"an-interface-of-16\""),
            Lines{"interface must be the name of a network interface, such as \"eth0\", of at most "
                  "15 bytes; found \"an-interface-of-16\""});
  EXPECT_EQ(problems_in("[pool.a]\nendpoints = [\"unix:///x\"]\ninterface = \"lo\"\n"
                        "keepalive = \"off\"\n"),
            (Lines{"3: interface (line 3) is without effect: no endpoint of [pool.a] is tcp://",
                   "4: keepalive (line 4) is without effect: no endpoint of [pool.a] is tcp://"}));
}

TEST_F(ConfigMessage, Groups) {
  EXPECT_EQ(problems_with("allow_groups = [\"no such group\", \"*\", true]"),
            (Lines{"allow_groups: unknown group \"no such group\"",
                   "allow_groups has no wildcard; name each group",
                   "allow_groups must be an array of group names and numeric group ids; found "
                   "true"}));
}

TEST_F(ConfigMessage, Users) {
  EXPECT_EQ(problems_with("allow_users = [\"root\",\n\"no such user\",\n\"*\", 1.5, -1]"),
            (Lines{"allow_users: unknown user \"no such user\"",
                   "allow_users has no wildcard; name each user",
                   "allow_users must be an array of user names and numeric user ids; found a "
                   "number with a fraction",
                   "allow_users must be an array of user names and numeric user ids; found -1"}));
  EXPECT_EQ(problems_with("allow_users = \"root\""),
            Lines{"allow_users must be an array of user names and numeric user ids; found "
                  "\"root\""});
  // What the C library would take for root, and the id that the kernel takes for no id.
  EXPECT_EQ(problems_with("allow_users = [\"root\\u0000x\"]"),
            Lines{"allow_users: unknown user \"root\\u0000x\""});
  EXPECT_EQ(problems_with("allow_users = [\"4294967295\"]"),
            Lines{"allow_users: unknown user \"4294967295\""});
  EXPECT_EQ(problems_with("allow_users = [\"\"]"), Lines{"allow_users: unknown user \"\""});
}

TEST_F(ConfigMessage, ContradictionsNameBothSettingsAndTheirLines) {
  EXPECT_EQ(problems_in("[pool.a]\nendpoints = [\"tcp://h:1\"]\nmin_idle = 30\n"),
            Lines{"3: min_idle = 30 (line 3) is more than max_connections = 20 (default)"});
  EXPECT_EQ(problems_in("[pool.a]\nmin_idle = 5\nendpoints = [\"tcp://h:1\"]\nmax_idle = 4\n"
                        "max_connections = 3\n"),
            (Lines{"4: min_idle = 5 (line 2) is more than max_idle = 4 (line 4)",
                   "5: min_idle = 5 (line 2) is more than max_connections = 3 (line 5)"}));
  EXPECT_EQ(problems_with("min_idle = 1\nmax_idle = \"none\""),
            Lines{"min_idle = 1 (line 3) contradicts max_idle = \"none\" (line 4)"});
}

TEST_F(ConfigMessage, NoContradictionWhereOneSideIsUnlimitedOrUnknown) {
  EXPECT_EQ(problems_with("min_idle = 30\nmax_connections = \"unlimited\"\nmax_idle = 0"), Lines{});
  EXPECT_EQ(problems_with("min_idle = 30\nmax_connections = \"lots\"").size(), 1u);
  EXPECT_EQ(problems_with("min_idle = 4\nmax_idle = 4\nmax_connections = 4"), Lines{});
  EXPECT_EQ(problems_with("min_idle = 0\nmax_idle = \"none\""), Lines{});
}

TEST_F(ConfigMessage, PoolsThatTogetherContradictTheDaemon) {
  write("pools.d/b.toml", "[pool.b]\nendpoints = [\"tcp://h:1\"]\nmin_idle = 6\n");
  const std::string pool = "[pool.a]\nendpoints = [\"tcp://h:1\"]\nmin_idle = 5\n";
  EXPECT_EQ(problems_in(pool + "[daemon]\ntotal_max_idle = 11\n"), Lines{});
  EXPECT_EQ(problems_in(pool + "[daemon]\ntotal_max_idle = 10\n"),
            Lines{"5: total_max_idle = 10 (line 5) contradicts min_idle of the pools, which ask "
                  "for 11 connections together"});
  EXPECT_EQ(problems_in(pool + "[daemon]\ntotal_max_idle = \"none\"\n").size(), 1u);
}

TEST_F(ConfigMessage, AValueWithoutItsQuotesIsGuessed) {
  for (const char* line : {"idle_timeout = 10m", "protocol = raw", "dial_timeout = 1.5s"}) {
    const Lines problems = problems_with(line);
    ASSERT_EQ(problems.size(), 1u);
    EXPECT_TRUE(problems[0].starts_with("not valid TOML: ")) << problems[0];
    EXPECT_TRUE(problems[0].ends_with("; durations and words stand in quotes, as \"10m\""))
        << problems[0];
  }
  const Lines others = problems_with("min_idle = 1\nmin_idle = 2");
  ASSERT_EQ(others.size(), 1u);
  EXPECT_EQ(others[0].find("quotes"), others[0].npos) << others[0];
}

}  // namespace
}  // namespace berth::config
