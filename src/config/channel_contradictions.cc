#include "config/channel_contradictions.h"

#include <algorithm>
#include <array>
#include <string>

#include "config/catalogue.h"
#include "config/cite.h"
#include "config/text.h"

namespace berth::config {
namespace {

using pool::Balance;
using pool::PoolPolicy;

struct Instead {
  std::string_view setting;
  std::string_view words;
};

// What a channel pool has in the place of a stream pool's settings.
constexpr std::array kInstead = std::to_array<Instead>({
    {"alpn", "which is always offered h2"},
    {"check", "which asks with keepalive_time and health"},
    {"check_after", "which asks with keepalive_time and health"},
    {"check_interval", "which asks with keepalive_time and health"},
    {"check_timeout", "which waits for keepalive_timeout"},
    {"handoff", "whose streams are always carried"},
    {"max_connections", "whose bound is max_channels for each address"},
    {"max_uses", "whose channels end with max_lifetime"},
    {"protocol", "which speaks gRPC and nothing else"},
    {"sandbox", "whose streams are always carried"},
    {"share", "whose channels are shared by all who may use it"},
    {"starttls", "whose TLS begins with the first byte, with grpcs://"},
});

std::string instead_of(std::string_view setting) {
  const auto* const found =
      std::find_if(kInstead.begin(), kInstead.end(),
                   [&](const Instead& each) { return each.setting == setting; });
  return found != kInstead.end() ? ", " + std::string(found->words) : "";
}

// What the setting is of another kind of pool's.
void refuse_balance(const PoolPolicy& pool, Balance wrong, const char* words, const char* why,
                    const Said& said, Report& report) {
  if (pool.balance != wrong || !said.valid("balance")) return;
  report.problem(said.place("balance"), cite(said, "balance", toml_string(words)) + why);
}

}  // namespace

bool mixes_channels(const PoolPolicy& pool, const Said& said, Report& report) {
  if (pool.endpoints.empty()) return false;
  const Endpoint& first = pool.endpoints.front();
  const auto other =
      std::find_if(pool.endpoints.begin(), pool.endpoints.end(), [&](const Endpoint& endpoint) {
        return endpoint.grpc != first.grpc || (first.grpc && endpoint.secure != first.secure);
      });
  if (other == pool.endpoints.end()) return false;
  report.problem(said.place("endpoints"), cite(said, "endpoints") + " has " + first.url() +
                                              " and " + other->url() +
                                              ", which is something else; give each kind a pool "
                                              "of its own");
  return true;
}

void check_channels(const PoolPolicy& pool, const Said& said, Report& report) {
  for (const Setting<PoolPolicy>& setting : pool_settings()) {
    if ((setting.scope & kChannelPools) != 0 || !said.has(setting.name)) continue;
    const std::string name(setting.name);
    report.problem(said.place(name), cite(said, name) + " is without effect: " + title_of(pool) +
                                         " is a channel pool" + instead_of(name));
  }
  refuse_balance(pool, Balance::least_leased, "least_leased",
                 " is for connections, which a channel pool does not lease; say \"least_streams\"",
                 said, report);
  const PoolPolicy unchanged;
  const bool pings = pool.channels.keepalive_time != Duration::zero();
  if (!pings && pool.channels.keepalive_timeout != unchanged.channels.keepalive_timeout &&
      all_valid(said, {"keepalive_time", "keepalive_timeout"})) {
    report.problem(said.place("keepalive_timeout"), cite(said, "keepalive_timeout") +
                                                        " is without effect with " +
                                                        cite(said, "keepalive_time", "\"never\""));
  }
}

void refuse_channel_settings(const PoolPolicy& pool, const Said& said, Report& report) {
  const bool dynamic = pool.key.empty();
  if (!dynamic && pool.endpoints.empty()) return;  // it may become a channel pool
  for (const Setting<PoolPolicy>& setting : pool_settings()) {
    if (setting.scope != kChannelPools || !said.has(setting.name)) continue;
    const std::string name(setting.name);
    report.problem(said.place(name),
                   dynamic ? name + " does not belong in [dynamic]: no URL makes a channel pool"
                           : cite(said, name) + " is without effect: no endpoint of " +
                                 title_of(pool) + " is grpc:// or grpcs://");
  }
  refuse_balance(pool, Balance::least_streams, "least_streams",
                 " is for channel pools; say \"least_leased\"", said, report);
}

}  // namespace berth::config
