#include "config/catalogue.h"

#include "config/command_line.h"
#include "config/kinds.h"
#include "config/listen_list.h"
#include "config/presets.h"
#include "config/retry_table.h"
#include "config/secret_path.h"
#include "config/step_list.h"

namespace berth::config {
namespace {

using pool::Balance;
using pool::Handoff;
using pool::IdleOrder;
using pool::PoolPolicy;
using pool::ResolveBy;
using pool::Sandbox;
using pool::Share;
using pool::Warm;

// More connections than the kernel's default ceiling of descriptors (fs.nr_open) are a slip.
constexpr int64_t kMostConnections = 1'000'000;
constexpr int64_t kMostMinIdle = 100'000;
// Fewer would leave berthd without its own descriptors: loop, log, gRPC, files being read.
constexpr int64_t kLeastReserve = 32;
constexpr int64_t kMostDials = 1'000;
constexpr int64_t kMostUses = 1'000'000'000;

constexpr int64_t kMostChannels = 1'000;
constexpr int64_t kMostStreams = 1'000'000;  // each that waits costs memory
// RFC 9113, 4.2: what every peer may send in one frame.
constexpr uint64_t kLeastStreamBytes = 16 << 10;
constexpr uint64_t kMostStreamBytes = 16 << 20;
constexpr uint64_t kMostTotalStreamBytes = uint64_t{1} << 40;
// What gRPC's own libraries take by default.
constexpr uint64_t kLeastHeaders = 8 << 10;
constexpr uint64_t kMostHeaders = 1 << 20;

constexpr Duration kLeastPing = 10s;    // gRPC's proposal A8: no client asks more often
constexpr Duration kShortest = 1ms;     // the resolution of the loop's timer
constexpr Duration kLeastRefresh = 1s;  // name servers are others' machines
constexpr Duration kHour = 1h;
constexpr Duration kDay = 24h;
constexpr Duration kYear = 365 * kDay;

Words<std::string> protocols() {
  std::vector<std::string_view> words;
  for (const Preset& preset : presets()) words.push_back(preset.protocol);
  return {words, {words.begin(), words.end()}};
}

Words<Share> shares() {
  return {{"user", "socket", "group", "any"},
          {Share::user, Share::socket, Share::group, Share::any}};
}

Words<Warm> warmths() {
  return {{"reuse", "single-use"}, {Warm::reuse, Warm::single_use}};
}

Words<Balance> balances() {
  return {{"round_robin", "least_leased", "least_streams", "failover"},
          {Balance::round_robin, Balance::least_leased, Balance::least_streams, Balance::failover}};
}

Words<ResolveBy> resolvers() {
  return {{"system", "dns"}, {ResolveBy::system, ResolveBy::dns}};
}

Words<Sandbox> sandboxes() {
  return {{"relay", "pinned"}, {Sandbox::relay, Sandbox::pinned}};
}

Words<Handoff> handoffs() {
  return {{"auto", "direct", "ktls", "relay"},
          {Handoff::automatic, Handoff::direct, Handoff::ktls, Handoff::relay}};
}

Words<TlsVerify> verifications() {
  return {{"full", "chain-only", "none"},
          {TlsVerify::full, TlsVerify::chain_only, TlsVerify::none}};
}

Words<bool> healths() {
  return {{"none", "grpc.health.v1"}, {false, true}};
}

Words<Compression> compressions() {
  return {{"none", "snappy", "gzip"}, {Compression::none, Compression::snappy, Compression::gzip}};
}

Words<IdleOrder> idle_orders() {
  return {{"lifo", "fifo"}, {IdleOrder::lifo, IdleOrder::fifo}};
}

template <class Member, class Rule>
Kind<PoolPolicy> channels(Member pool::ChannelSettings::*member, Rule rule) {
  return field(&PoolPolicy::channels, member, std::move(rule));
}

Words<std::string> log_levels() {
  const std::vector<std::string_view> words = {"trace", "debug", "info", "warn", "error", "off"};
  return {words, {words.begin(), words.end()}};
}

}  // namespace

const std::vector<Setting<DaemonSettings>>& daemon_settings() {
  using D = DaemonSettings;
  static const std::vector<Setting<D>> settings = {
      {"lease_socket", field(&D::lease_socket, SocketPath{}), Effect::restart},
      {"lease_socket_mode", field(&D::lease_socket_mode, FileMode{}), Effect::restart},
      {"control_socket", field(&D::control_socket, SocketPath{}), Effect::restart},
      {"control_socket_mode", field(&D::control_socket_mode, FileMode{}), Effect::restart},
      {"admins", field(&D::admins, AccountList{Accounts::Kind::user})},
      {"fd_reserve", field(&D::fd_reserve, Whole{"descriptors", kLeastReserve, kMostConnections}),
       Effect::restart},
      {"total_max_idle",
       field(&D::total_max_idle, Limit{"connections", kMostConnections, NoneIs::allowed})},
      {"max_sessions", field(&D::max_sessions, Whole{"sessions", 1, kMostConnections})},
      {"max_sessions_per_user",
       field(&D::max_sessions_per_user, Whole{"sessions", 1, kMostConnections})},
      {"max_leases_per_user",
       field(&D::max_leases_per_user, Limit{"leases", kMostConnections, NoneIs::refused})},
      {"max_waiters_per_user",
       field(&D::max_waiters_per_user, Limit{"requests", kMostConnections, NoneIs::refused})},
      {"total_stream_buffer",
       field(&D::total_stream_buffer, Size{kMostStreamBytes, kMostTotalStreamBytes})},
      {"drain_timeout", field(&D::drain_timeout, Time{kShortest, kDay, ZeroIs::allowed})},
      {"log_level", field(&D::log_level, log_levels())},
  };
  return settings;
}

const std::vector<Setting<PoolPolicy>>& pool_settings() {
  using P = PoolPolicy;
  using C = pool::ChannelSettings;
  static const std::vector<Setting<P>> settings = {
      {"protocol", field(&P::protocol, protocols()), Effect::renew, kStreamPools | kSlotPools},
      {"endpoints", field(&P::endpoints, EndpointList{}), Effect::renew, kAllPools},
      {"via", field(&P::via, ProxyUrl{}), Effect::renew},
      {"via_password_file", field(&P::via_password, SecretPath{}), Effect::renew},
      {"dial_command", field(&P::dial_command, CommandLine{}), Effect::renew},
      {"ca", field(&P::tls, &TlsSettings::ca, FilePath{"system", "system", true}), Effect::renew},
      {"certificate", field(&P::tls, &TlsSettings::certificate, FilePath{}), Effect::renew},
      {"private_key", field(&P::tls, &TlsSettings::private_key, FilePath{}), Effect::renew},
      {"server_name", field(&P::tls, &TlsSettings::server_name, ServerName{}), Effect::renew},
      {"verify", field(&P::tls, &TlsSettings::verify, verifications()), Effect::renew},
      {"insecure", field(&P::insecure, Flag{}), Effect::renew},
      {"alpn", field(&P::tls, &TlsSettings::alpn, ProtocolList{}), Effect::renew, kStreamPools},
      {"starttls", field(&P::starttls, Flag{}), Effect::renew, kStreamPools},
      {"balance", field(&P::balance, balances())},
      {"resolver", field(&P::resolver, resolvers()), Effect::new_dials},
      {"dns_refresh", field(&P::dns_refresh, Time{kLeastRefresh, kYear, ZeroIs::never}),
       Effect::new_dials},
      {"allow_users", field(&P::allow_uids, AccountList{Accounts::Kind::user}), Effect::reload,
       kAllPools},
      {"allow_groups", field(&P::allow_gids, AccountList{Accounts::Kind::group}), Effect::reload,
       kAllPools},
      {"share", field(&P::share, shares()), Effect::renew, kStreamPools},
      {"trust_holders", field(&P::trust_holders, Flag{}), Effect::reload, kStreamPools},
      {"sandbox", field(&P::sandbox, sandboxes()), Effect::reload, kStreamPools},
      {"handoff", field(&P::handoff, handoffs()), Effect::reload, kStreamPools},
      {"listen", field(&P::listen, ListenList{})},
      {"listen_mode", field(&P::listen_mode, FileMode{})},
      {"lazy", field(&P::lazy, Flag{}), Effect::reload, kStreamPools},
      {"max_connections",
       field(&P::max_connections, Limit{"connections", kMostConnections, NoneIs::refused}),
       Effect::reload, kStreamPools | kSlotPools},
      {"max_idle", field(&P::max_idle, Limit{"connections", kMostConnections, NoneIs::allowed}),
       Effect::reload, kStreamPools},
      {"min_idle", field(&P::min_idle, Whole{"connections", 0, kMostMinIdle}), Effect::reload,
       kStreamPools},
      {"dial_concurrency", field(&P::dial_concurrency, Whole{"dials", 1, kMostDials}),
       Effect::reload, kStreamPools},
      {"warm", field(&P::warm, warmths()), Effect::renew, kStreamPools},
      {"max_warm_age", field(&P::max_warm_age, Time{kShortest, kDay, ZeroIs::refused}),
       Effect::new_dials, kStreamPools},
      {"idle_order", field(&P::idle_order, idle_orders()), Effect::reload, kStreamPools},
      {"max_waiters", field(&P::max_waiters, Whole{"requests", 1, kMostConnections}),
       Effect::reload, kAllPools},
      {"max_uses", field(&P::max_uses, Limit{"leases", kMostUses, NoneIs::refused}), Effect::reload,
       kStreamPools},
      {"idle_timeout", field(&P::idle_timeout, Time{kShortest, kYear, ZeroIs::never})},
      {"max_lifetime", field(&P::max_lifetime, Time{kShortest, kYear, ZeroIs::never}),
       Effect::new_dials},
      {"acquire_timeout", field(&P::acquire_timeout, Time{kShortest, kDay, ZeroIs::refused}),
       Effect::reload, kAllPools},
      {"dial_timeout", field(&P::dial_timeout, Time{kShortest, kHour, ZeroIs::refused})},
      {"keepalive", field(&P::keepalive, KeepaliveTimes{}), Effect::new_dials},
      {"tcp_user_timeout", field(&P::tcp_user_timeout, Time{kShortest, kDay, ZeroIs::never}),
       Effect::new_dials},
      {"source_address", field(&P::source_address, AddressLiteral{}), Effect::new_dials},
      {"interface", field(&P::interface, InterfaceName{}), Effect::new_dials},
      {"reset_timeout", field(&P::reset_timeout, Time{kShortest, kHour, ZeroIs::refused}),
       Effect::reload, kStreamPools},
      {"lease_warn", field(&P::lease_warn, Time{kShortest, kYear, ZeroIs::never}), Effect::reload,
       kAllPools},
      {"lease_timeout", field(&P::lease_timeout, Time{kShortest, kYear, ZeroIs::never}),
       Effect::reload, kAllPools},
      {"greeting", field(&P::greeting, StepList{"leave", StepList::Tls::may_start}),
       Effect::new_dials, kStreamPools},
      {"login", field(&P::login, StepList{{}, StepList::Tls::may_start}), Effect::renew,
       kStreamPools},
      {"login_command", field(&P::login_command, CommandLine{}), Effect::renew, kStreamPools},
      {"check", field(&P::check, StepList{}), Effect::reload, kStreamPools},
      {"check_after", field(&P::check_after, Time{kShortest, kYear, ZeroIs::allowed}),
       Effect::reload, kStreamPools},
      {"check_interval", field(&P::check_interval, Time{kShortest, kYear, ZeroIs::never}),
       Effect::reload, kStreamPools},
      {"check_timeout", field(&P::check_timeout, Time{kShortest, kHour, ZeroIs::refused}),
       Effect::reload, kStreamPools},
      {"reset", field(&P::reset, StepList{}), Effect::reload, kStreamPools},
      {"relogin", field(&P::relogin, Flag{}), Effect::renew, kStreamPools},
      {"fail_fast", field(&P::fail_fast, Flag{})},
      {"max_channels", channels(&C::max_channels, Whole{"channels", 1, kMostChannels}),
       Effect::reload, kChannelPools},
      {"max_streams_per_channel",
       channels(&C::max_streams_per_channel, Limit{"streams", kMostStreams, NoneIs::refused}),
       Effect::reload, kChannelPools},
      {"max_waiting_streams", channels(&C::max_waiting_streams, Whole{"streams", 1, kMostStreams}),
       Effect::reload, kChannelPools},
      {"drain_timeout", channels(&C::drain_timeout, Time{kShortest, kDay, ZeroIs::allowed}),
       Effect::reload, kChannelPools},
      {"keepalive_time", channels(&C::keepalive_time, Time{kLeastPing, kYear, ZeroIs::never}),
       Effect::reload, kChannelPools},
      {"keepalive_timeout",
       channels(&C::keepalive_timeout, Time{kShortest, kHour, ZeroIs::refused}), Effect::reload,
       kChannelPools},
      {"health", channels(&C::health, healths()), Effect::reload, kChannelPools},
      {"retry", within(&P::channels, retry_kind()), Effect::reload, kChannelPools},
      {"retry_buffer",
       within(&P::channels,
              field(&C::retry, &pool::RetrySettings::buffer, Size{0, kMostStreamBytes})),
       Effect::reload, kChannelPools},
      {"stream_buffer", channels(&C::stream_buffer, Size{kLeastStreamBytes, kMostStreamBytes}),
       Effect::new_dials, kChannelPools},
      {"max_header_bytes", channels(&C::max_header_bytes, Size{kLeastHeaders, kMostHeaders}),
       Effect::new_dials, kChannelPools},
      {"compression", channels(&C::compression, compressions()), Effect::reload, kChannelPools},
      {"access_log", channels(&C::access_log, Flag{}), Effect::reload, kChannelPools},
  };
  return settings;
}

const std::vector<Setting<DynamicSettings>>& dynamic_settings() {
  static const std::vector<Setting<DynamicSettings>> settings = {
      {"allow", field(&DynamicSettings::allow, EndpointPatternList{})},
  };
  return settings;
}

const std::vector<Setting<SocketSettings>>& socket_settings() {
  using S = SocketSettings;
  static const std::vector<Setting<S>> settings = {
      {"path", field(&S::path, SocketPath{}), Effect::restart},
      {"mode", field(&S::mode, FileMode{}), Effect::restart},
      {"owner", field(&S::owner, Owner{}), Effect::restart},
      {"keys", field(&S::keys, KeyList{})},
  };
  return settings;
}

}  // namespace berth::config
