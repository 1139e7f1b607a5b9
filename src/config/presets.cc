#include "config/presets.h"

#include <algorithm>
#include <map>
#include <string>
#include <utility>

#include "base/check.h"
#include "config/catalogue.h"
#include "config/document.h"

namespace berth::config {

// berthd.toml(5), "PROTOCOLS", shows all of it to users, with the same texts.
//
// A reset asks twice, in two ways, wherever the protocol has no answer that is this reset's alone:
// an answer that the last holder did not wait for may still come, and is neither.
const std::vector<Preset>& presets() {
  static const std::vector<Preset> table = {
      {.protocol = "raw", .values = {}},

      // https://redis.io/docs/latest/commands/reset/: undoes AUTH, SELECT, MULTI, WATCH, SUBSCRIBE,
      // MONITOR, CLIENT and HELLO. A server that does not know it (before 6.2) says so, and the
      // connection is closed. Where the holders log in, a server that wants a password answers
      // PING with -NOAUTH, and is as alive as any.
      //
      // In 7.0 it leaves SCRIPT DEBUG, which refuses to be pipelined, and CLIENT NO-EVICT. Those
      // are undone before, while whoever did them is logged in; a user who may not undo them, or
      // a server that does not know them, has not done them.
      {.protocol = "redis",
       .values =
           {
               {"check", R"([{send = "PING\r\n"}, {expect = "+PONG\r\n"}])", kPoolLogsIn},
               {"check", R"([{send = "PING\r\n"}, {expect_re = '\+PONG|-NOAUTH .*'}])",
                kHoldersLogIn},
               {"reset",
                R"([{send = "SCRIPT DEBUG NO\r\n"},
         {expect_re = '\+OK|-NOPERM .*|-ERR unknown command .SCRIPT.,.*'},
         {send = "CLIENT NO-EVICT OFF\r\nRESET\r\nPING\r\n"},
         {expect_re = '\+OK|-NOPERM .*|-ERR Unknown subcommand .*'}, {expect = "+RESET\r\n"},
         {expect_re = '\+PONG|-NOAUTH .*'}])",
                kReused},
               {"relogin", "true", kPoolLogsIn | kReused | kPresetReset},
           }},

      // doc/protocol.txt of memcached. The text protocol keeps no state between commands but half
      // a command, which swallows the questions; but a login, by SASL or for memcached -Y, holds.
      // Before 1.6, mn is unknown: ERROR.
      {.protocol = "memcached",
       .values =
           {
               {"check", R"([{send = "version\r\n"}, {expect_re = 'VERSION .*'}])"},
               {"reset",
                R"([{send = "version\r\nmn\r\n"}, {expect_re = 'VERSION .*'},
         {expect_re = 'MN|ERROR'}])",
                kReused},
           },
       .login_stays = true},

      // Nothing can be asked without a request of one's own. Below nginx's 75 s and its 65 s in
      // Debian; less, such as Apache's 5 s, is learnt. NTLM logs in a connection, not a request.
      {.protocol = "http1", .values = {{"idle_timeout", R"("60s")"}}, .login_stays = true},

      // RFC 5321. EHLO is as good as RSET (4.1.4), and its answer has several lines, as RSET's
      // never has; that of one line comes only from servers without any extension. The name is an
      // address literal, which servers take that want a name to have dots (4.1.3). They wait five
      // minutes for a command (4.5.3.2.7), and some count the messages, such as Exim up to 1000.
      // RFC 4954: AUTH holds until the connection ends. RFC 3207: STARTTLS is offered in the answer
      // to EHLO (4), which is said again afterwards (4.2).
      {.protocol = "smtp",
       .values =
           {
               {"greeting", R"([{until_re = '^220 .*\n'}])", kStaysPlain},
               {"greeting",
                R"([{until_re = '^220 .*\n'},
         {send = "EHLO [127.0.0.1]\r\n"}, {until_re = '^250 .*\n'},
         {send = "STARTTLS\r\n"}, {expect_re = '220 .*'}, {tls = "start"}])",
                kStartsTls},
               {"login", R"([{send = "EHLO [127.0.0.1]\r\n"}, {until_re = '^250 .*\n'}])",
                kHoldersLogIn | kGreetingRead},
               {"check", R"([{send = "NOOP\r\n"}, {expect_re = '250 .*'}])", kGreetingRead},
               {"reset",
                R"([{send = "RSET\r\n"}, {expect_re = '250 .*'},
         {send = "EHLO [127.0.0.1]\r\n"}, {expect_re = '250-.*'}, {until_re = '^250 .*\n'}])",
                kReused},
               {"idle_timeout", R"("4m")"},
               {"max_uses", "100", kReused},
           },
       .login_stays = true},

      // PostgreSQL, "Message Formats" and "DISCARD". The server gives up on a client that does not
      // log in within authentication_timeout, 60 s. Before the end of an answer settings may be
      // reported that have changed (ParameterStatus). In a transaction, DISCARD ALL is an error.
      // "SSL Session Encryption": one byte answers SSLRequest, and a client must not take more.
      {.protocol = "postgres",
       .values =
           {
               {"greeting",
                R"([{send = '\x00\x00\x00\x08\x04\xd2\x16\x2f'}, {expect = "S"}, {tls = "start"}])",
                kStartsTls},
               {"warm", R"("single-use")", kHoldersLogIn},
               {"max_warm_age", R"("45s")", kSingleUse},
               {"check",
                R"([{send = 'Q\x00\x00\x00\x05\x00'},
         {expect = 'I\x00\x00\x00\x04Z\x00\x00\x00\x05I'}])",
                kPoolLogsIn},
               {"reset",
                R"([{send = 'Q\x00\x00\x00\x10DISCARD ALL\x00'},
         {until_re = 'C\x00\x00\x00\x10DISCARD ALL\x00'}, {until_re = 'Z\x00\x00\x00\x05I'},
         {send = 'Q\x00\x00\x00\x05\x00'},
         {expect = 'I\x00\x00\x00\x04Z\x00\x00\x00\x05I'}])",
                kPoolLogsIn | kReused},
           },
       .clients_log_in = true},

      // The server waits for a login for connect_timeout, 10 s; once logged in, for hours. No
      // reset: COM_RESET_CONNECTION leaves the database that was chosen.
      {.protocol = "mysql",
       .values = {{"warm", R"("single-use")"},
                  {"max_warm_age", R"("7s")", kHoldersLogIn | kSingleUse}},
       .clients_log_in = true},

      // RFC 4511. An anonymous bind (4.2) abandons what is under way and forgets who was bound. The
      // message ids are the highest there is, which holders do not reach. Where the pool binds, the
      // check asks for the root DSE, without attributes ("1.1", 4.5.1.8). Answers come with short
      // or with long lengths (X.690, 8.1.3). That to StartTLS (4.14) may have a text of any length
      // where it ends with the name of what was asked for.
      {.protocol = "ldap",
       .values =
           {
               {"greeting",
                R"([{send = '\x30\x20\x02\x04\x7f\xff\xff\xff\x77\x18\x80\x161.3.6.1.4.1.1466.20037'},
         {until_re = '\x02\x04\x7f\xff\xff\xff\x78((\x07|\x84\x00\x00\x00\x07)\x0a\x01\x00\x04\x00\x04\x00|[^\x0a]{1,5}\x0a\x01\x00\x04\x00\x04[^\x8a]*\x8a\x161\.3\.6\.1\.4\.1\.1466\.20037)'},
         {tls = "start"}])",
                kStartsTls},
               {"check",
                R"([{send = '\x30\x0f\x02\x04\x7f\xff\xff\xff\x60\x07\x02\x01\x03\x04\x00\x80\x00'},
         {until_re = '\x02\x04\x7f\xff\xff\xff\x61(\x07|\x84\x00\x00\x00\x07)\x0a\x01\x00\x04\x00\x04\x00'}])",
                kHoldersLogIn},
               {"check",
                R"([{send = '\x30\x2d\x02\x04\x7f\xff\xff\xff\x63\x25\x04\x00\x0a\x01\x00\x0a\x01\x00'},
         {send = '\x02\x01\x00\x02\x01\x00\x01\x01\x00\x87\x0bobjectClass\x30\x05\x04\x031.1'},
         {until_re = '\x02\x04\x7f\xff\xff\xff\x65(\x07|\x84\x00\x00\x00\x07)\x0a\x01\x00\x04\x00\x04\x00'}])",
                kPoolLogsIn},
               {"reset",
                R"([{send = '\x30\x0f\x02\x04\x7f\xff\xff\xff\x60\x07\x02\x01\x03\x04\x00\x80\x00'},
         {until_re = '\x02\x04\x7f\xff\xff\xff\x61(\x07|\x84\x00\x00\x00\x07)\x0a\x01\x00\x04\x00\x04\x00'}])",
                kReused},
               {"relogin", "true", kPoolLogsIn | kReused | kPresetReset},
           }},
  };
  return table;
}

namespace {

const Setting<pool::PoolPolicy>& setting_called(std::string_view name) {
  const auto& all = pool_settings();
  const auto found = std::find_if(all.begin(), all.end(),
                                  [name](const auto& setting) { return setting.name == name; });
  BERTH_CHECK(found != all.end(), "a preset brings settings that there are");
  return *found;
}

Value parsed(std::string_view text) {
  auto document = parse_toml("value = " + std::string(text));
  Table* const table = std::get_if<Table>(&document);
  BERTH_CHECK(table != nullptr, "a preset's values are TOML");
  return std::move(table->front().value);
}

// Parsed once, since a thousand pools may have the same protocol.
std::map<std::string_view, Value> parse_all() {
  std::map<std::string_view, Value> values;
  for (const Preset& preset : presets()) {
    for (const PresetValue& each : preset.values) values.emplace(each.value, parsed(each.value));
  }
  return values;
}

void bring(const PresetValue& brought, pool::PoolPolicy& pool) {
  static const std::map<std::string_view, Value> values = parse_all();
  std::vector<Problem> problems;
  Report report("", problems, problems);
  Accounts accounts;
  const Setting<pool::PoolPolicy>& setting = setting_called(brought.setting);
  Reading reading(setting.name, report, accounts);
  setting.kind.read(values.at(brought.value), reading, pool);
  BERTH_CHECK(problems.empty(), "a preset's values are right");
}

unsigned conditions_of(const pool::PoolPolicy& pool, const Said& said, bool logs_in) {
  return (logs_in ? kPoolLogsIn : kHoldersLogIn) |
         (pool.warm == pool::Warm::reuse ? kReused : kSingleUse) |
         (pool.greeting.empty() ? 0u : kGreetingRead) | (said.has("reset") ? 0u : kPresetReset) |
         (pool.starttls ? kStartsTls : kStaysPlain);
}

}  // namespace

const Preset& preset_of(const pool::PoolPolicy& pool) {
  const auto& all = presets();
  const auto found = std::find_if(all.begin(), all.end(), [&](const Preset& preset) {
    return preset.protocol == pool.protocol;
  });
  BERTH_CHECK(found != all.end(), "a pool's protocol is one of the presets");
  return *found;
}

void bring_preset(pool::PoolPolicy& pool, Said& said) {
  if (!pool.has_connections()) return;
  const bool logs_in = pool.logs_in();
  for (const PresetValue& value : preset_of(pool).values) {
    if (said.has(value.setting) || said.brought(value.setting)) continue;
    if ((value.when & ~conditions_of(pool, said, logs_in)) != 0) continue;
    bring(value, pool);
    said.bring(value.setting, pool.protocol);
  }
}

}  // namespace berth::config
