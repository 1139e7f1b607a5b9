#include "broker/keys.h"

#include <algorithm>
#include <utility>

#include "base/limits.h"
#include "base/nearest.h"
#include "config/tls_contradictions.h"

namespace berth::broker {

namespace {

const Endpoint kSlots = {.kind = Endpoint::Kind::slot, .host = {}, .path = {}};

}  // namespace

void Keys::reload(config::DynamicSettings dynamic) {
  if (dynamic == dynamic_) return;
  dynamic_ = std::move(dynamic);
  std::vector<PoolId> made;
  driver_.depot().for_each_dynamic_pool([&](const pool::Pool& pool) { made.push_back(pool.id()); });
  for (const PoolId id : made) {
    const Endpoint endpoint = driver_.depot().pool(id).policy().endpoints.front();
    pool::PoolPolicy policy = policy_for(endpoint);
    if (allows(endpoint) && config::fault_of_url_pool(policy).empty()) {
      driver_.reconfigure_pool(id, std::move(policy));
    } else {
      driver_.remove_pool(id);
    }
  }
}

std::variant<PoolId, pool::Refusal> Keys::find(SessionId session, std::string_view key) {
  Found found = look_up(key);
  if (const auto* pool = std::get_if<PoolId>(&found)) return *pool;
  if (auto* refusal = std::get_if<pool::Refusal>(&found)) return std::move(*refusal);
  auto* policy = std::get_if<pool::PoolPolicy>(&found);
  return policy != nullptr ? make(session, std::move(*policy)) : unknown(session, key);
}

// Who may not lease of it makes no pool either, lest he fill the table.
std::variant<PoolId, pool::Refusal> Keys::make(SessionId session, pool::PoolPolicy policy) {
  const pool::SessionInfo& who = driver_.depot().session(session)->info;
  if (auto refusal = pool::Depot::refusal_of_access(who, policy)) return *std::move(refusal);
  if (driver_.depot().dynamic_pools() >= kMaxDynamicPools && !driver_.forget_empty_pool()) {
    return pool::Refusal{
        Code::kQueueFull,
        "all " + std::to_string(kMaxDynamicPools) + " pools that URL keys may make are in use",
        {},
        {}};
  }
  return driver_.add_pool(std::move(policy), /*dynamic=*/true);
}

Keys::Found Keys::look_up(std::string_view key) const {
  if (const auto pool = driver_.depot().find_pool(key)) return *pool;
  if (dynamic_.allow.empty()) return std::monostate();
  if (key.find("://") != key.npos) return look_up_url(key);
  if (key == kSlotKey && allows(kSlots)) return policy_for(kSlots);
  return std::monostate();
}

Keys::Found Keys::look_up_url(std::string_view key) const {
  const auto parsed = parse_endpoint(key);
  if (const std::string* wrong = std::get_if<std::string>(&parsed)) {
    return pool::Refusal{Code::kInvalid, *wrong, {}, {}};
  }
  const Endpoint& endpoint = std::get<Endpoint>(parsed);
  if (const auto pool = driver_.depot().find_pool(endpoint.url())) return *pool;
  if (!allows(endpoint)) {
    return pool::Refusal{
        Code::kNotPermitted, "nothing in allow of [dynamic] matches " + endpoint.url(), {}, {}};
  }
  if (endpoint.is_service() && !dynamic_.policy.finds_services()) {
    const std::string text = "\"" + endpoint.url() +
                             "\": a service is found with resolver = \"dns\" only, without via and "
                             "dial_command";
    return pool::Refusal{Code::kInvalid, text, {}, {}};
  }
  pool::PoolPolicy policy = policy_for(endpoint);
  if (std::string fault = config::fault_of_url_pool(policy); !fault.empty()) {
    return pool::Refusal{Code::kInvalid, std::move(fault), {}, {}};
  }
  return policy;
}

bool Keys::allows(const Endpoint& endpoint) const {
  return std::any_of(dynamic_.allow.begin(), dynamic_.allow.end(),
                     [&](const EndpointPattern& pattern) { return pattern.matches(endpoint); });
}

pool::PoolPolicy Keys::policy_for(const Endpoint& endpoint) const {
  pool::PoolPolicy policy = dynamic_.policy;
  const bool slots = endpoint.kind == Endpoint::Kind::slot;
  policy.key = slots ? std::string(kSlotKey) : endpoint.url();
  policy.endpoints = {endpoint};
  // Bounded by the fd budget alone.
  if (slots) policy.max_connections = pool::kUnlimited;
  return policy;
}

pool::Refusal Keys::unknown(SessionId session, std::string_view key) const {
  std::string text = "no pool serves \"" + std::string(key) + "\"";
  const std::vector<std::string_view> keys = driver_.depot().keys(session);
  if (const std::string near = nearest(key, keys); !near.empty()) {
    text += "; did you mean \"" + near + "\"?";
  } else if (!dynamic_.allow.empty()) {
    text += "; a URL such as tcp://127.0.0.1:6379 serves as a key too";
  } else if (keys.empty()) {
    text += ", nor any other key that this user may lease";
  }
  return {Code::kNoSuchKey, std::move(text), {}, {}};
}

}  // namespace berth::broker
