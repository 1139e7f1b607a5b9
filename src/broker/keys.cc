#include "broker/keys.h"

#include <utility>

#include "base/limits.h"
#include "base/nearest.h"

namespace berth::broker {

std::variant<PoolId, pool::Refusal> Keys::find(SessionId session, std::string_view key) {
  Found found = look_up(key);
  if (const auto* pool = std::get_if<PoolId>(&found)) return *pool;
  if (auto* refusal = std::get_if<pool::Refusal>(&found)) return std::move(*refusal);
  auto* policy = std::get_if<pool::PoolPolicy>(&found);
  if (policy == nullptr) return unknown(session, key);
  if (driver_.depot().dynamic_pools() >= kMaxDynamicPools && !driver_.forget_empty_pool()) {
    return pool::Refusal{
        Code::kQueueFull,
        "all " + std::to_string(kMaxDynamicPools) + " pools that URL keys may make are in use",
        {},
        {}};
  }
  return driver_.add_pool(std::move(*policy), /*dynamic=*/true);
}

Keys::Found Keys::look_up(std::string_view key) const {
  if (const auto pool = driver_.depot().find_pool(key)) return *pool;
  if (dynamic_keys_ && key.find("://") != key.npos) return look_up_url(key);
  if (dynamic_keys_ && key == kSlotKey) return slots();
  return std::monostate();
}

Keys::Found Keys::look_up_url(std::string_view key) const {
  auto parsed = parse_endpoint(key);
  if (const std::string* wrong = std::get_if<std::string>(&parsed)) {
    return pool::Refusal{Code::kInvalid, *wrong, {}, {}};
  }
  const Endpoint& endpoint = std::get<Endpoint>(parsed);
  std::string url = endpoint.url();
  if (const auto pool = driver_.depot().find_pool(url)) return *pool;
  pool::PoolPolicy policy = dynamic_default_;
  if (endpoint.is_service() && policy.resolver != pool::ResolveBy::dns) {
    const std::string text = "\"" + url + "\": a service is found with resolver = \"dns\" only";
    return pool::Refusal{Code::kInvalid, text, {}, {}};
  }
  policy.key = std::move(url);
  policy.endpoints = {endpoint};
  return policy;
}

// Bounded by the fd budget alone.
pool::PoolPolicy Keys::slots() const {
  pool::PoolPolicy policy = dynamic_default_;
  policy.key = kSlotKey;
  policy.endpoints = {{.kind = Endpoint::Kind::slot, .host = {}, .path = {}}};
  policy.max_connections = pool::kUnlimited;
  return policy;
}

pool::Refusal Keys::unknown(SessionId session, std::string_view key) const {
  std::string text = "no pool serves \"" + std::string(key) + "\"";
  const std::vector<std::string_view> keys = driver_.depot().keys(session);
  if (const std::string near = nearest(key, keys); !near.empty()) {
    text += "; did you mean \"" + near + "\"?";
  } else if (dynamic_keys_) {
    text += "; a URL such as tcp://127.0.0.1:6379 serves as a key too";
  } else if (keys.empty()) {
    text += ", nor any other key that this user may lease";
  }
  return {Code::kNoSuchKey, std::move(text), {}, {}};
}

}  // namespace berth::broker
