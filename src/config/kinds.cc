#include "config/kinds.h"

#include <sys/un.h>

#include <algorithm>
#include <array>

#include "base/limits.h"
#include "config/later.h"
#include "pool/policy.h"

namespace berth::config {
namespace {

constexpr size_t kMaxUsers = 1024;  // each lease request searches them
constexpr std::array<std::string_view, 3> kLaterSchemes = {"tls", "grpc", "grpcs"};

std::string range(int64_t min, int64_t max) {
  return std::to_string(min) + " to " + std::to_string(max);
}

std::string range(Duration min, Duration max) {
  return duration_text(min) + " to " + duration_text(max);
}

// What stands before "://".
std::string_view scheme_of(std::string_view text) {
  const size_t end = text.find("://");
  return end == text.npos ? std::string_view() : text.substr(0, end);
}

std::optional<Endpoint> read_endpoint(const Value& value, Reading& reading) {
  const auto* text = value.get<std::string>();
  if (text == nullptr) {
    reading.wrong(value, "an array of strings, such as [\"tcp://127.0.0.1:6379\"]");
    return std::nullopt;
  }
  const std::string_view scheme = scheme_of(*text);
  if (std::find(kLaterSchemes.begin(), kLaterSchemes.end(), scheme) != kLaterSchemes.end()) {
    reading.refuse(value, ": " + shown(*text) + ": " + std::string(scheme) + "://" + kNotYet);
    return std::nullopt;
  }
  auto parsed = parse_endpoint(*text);
  if (auto* endpoint = std::get_if<Endpoint>(&parsed)) return std::move(*endpoint);
  reading.refuse(value, ": " + std::get<std::string>(parsed));
  return std::nullopt;
}

std::optional<uint32_t> read_user(const Value& value, Reading& reading) {
  if (const auto* id = value.get<int64_t>(); id != nullptr && *id >= 0 && *id <= kMaxUid) {
    return static_cast<uint32_t>(*id);
  }
  const auto* name = value.get<std::string>();
  if (name == nullptr) {
    reading.wrong(value, "an array of user names and numeric user ids");
    return std::nullopt;
  }
  if (*name == "*") {
    reading.refuse(value, " has no wildcard; name each user");
    return std::nullopt;
  }
  const auto found = reading.users().find(*name);
  if (const auto* uid = std::get_if<uint32_t>(&found)) return *uid;
  reading.refuse(value, ": " + std::get<std::string>(found));
  return std::nullopt;
}

}  // namespace

void Reading::wrong(const Value& value, std::string_view expected) {
  refuse(value, " must be " + std::string(expected) + "; found " + describe(value));
}

void Reading::refuse(const Value& value, std::string_view text) {
  failed_ = true;
  report_.problem(value.place, std::string(name_).append(text));
}

std::optional<int64_t> Whole::read(const Value& value, Reading& reading) const {
  const auto* number = value.get<int64_t>();
  if (number != nullptr && *number >= min && *number <= max) return *number;
  reading.wrong(value, "a whole number of " + std::string(unit) + " from " + range(min, max));
  return std::nullopt;
}

std::string Whole::bounds() const {
  return range(min, max);
}

std::optional<int64_t> Limit::read(const Value& value, Reading& reading) const {
  const auto* word = value.get<std::string>();
  const auto* number = value.get<int64_t>();
  const int64_t least = none == NoneIs::allowed ? pool::kNone : pool::kUnlimited;
  if (word != nullptr && *word == "unlimited") return pool::kUnlimited;
  if (word != nullptr && *word == "none" && none == NoneIs::allowed) return pool::kNone;
  if (number != nullptr && *number > max) {
    reading.wrong(value, "at most " + std::to_string(max) + " " + std::string(unit));
  } else if (number != nullptr && *number >= least) {
    return *number;
  } else {
    reading.wrong(value, expected());
  }
  return std::nullopt;
}

std::string Limit::expected() const {
  return "a whole number of " + std::string(unit) + ", or \"unlimited\"" +
         (none == NoneIs::allowed ? " or \"none\"" : "");
}

std::string Limit::words(int64_t number) const {
  if (number == pool::kUnlimited) return toml_string("unlimited");
  return number == pool::kNone ? toml_string("none") : std::to_string(number);
}

std::string Limit::bounds() const {
  return range(1, max);
}

std::optional<Duration> Time::parse(const Value& value) const {
  const auto* text = value.get<std::string>();
  const auto* number = value.get<int64_t>();
  if (zero == ZeroIs::never) {
    if (text != nullptr && *text == "never") return Duration::zero();
    if (number != nullptr && *number == 0) return Duration::zero();
  }
  return text != nullptr ? parse_duration(*text) : std::nullopt;
}

std::optional<Duration> Time::read(const Value& value, Reading& reading) const {
  const std::optional<Duration> duration = parse(value);
  if (!duration) {
    reading.wrong(value, std::string("a duration with its unit, such as \"250ms\" or \"10m\"") +
                             (zero == ZeroIs::never ? ", or \"never\"" : ""));
    return std::nullopt;
  }
  const bool meant_zero = *duration == Duration::zero() && zero != ZeroIs::refused;
  if (meant_zero || (*duration >= min && *duration <= max)) return duration;
  reading.wrong(value, "from " + range(min, max) +
                           (zero == ZeroIs::never     ? ", or \"never\""
                            : zero == ZeroIs::allowed ? ", or \"0s\""
                                                      : ""));
  return std::nullopt;
}

std::string Time::write(Duration duration) const {
  const bool never = duration == Duration::zero() && zero == ZeroIs::never;
  return toml_string(never ? "never" : duration_text(duration));
}

std::string Time::bounds() const {
  return range(min, max);
}

std::optional<bool> Flag::read(const Value& value, Reading& reading) const {
  if (const auto* flag = value.get<bool>()) return *flag;
  reading.wrong(value, "true or false, without quotes");
  return std::nullopt;
}

std::optional<size_t> read_word(const Value& value, const std::vector<std::string_view>& words,
                                const std::vector<LaterWord>& later, Reading& reading) {
  const auto* text = value.get<std::string>();
  const auto word = text != nullptr ? std::find(words.begin(), words.end(), *text) : words.end();
  if (word != words.end()) return static_cast<size_t>(word - words.begin());
  for (const LaterWord& unavailable : later) {
    if (text == nullptr || unavailable.word != *text) continue;
    std::string why(unavailable.why);
    if (why.empty()) why = "; only " + alternatives(words) + " is";
    reading.refuse(value, " = " + toml_string(*text) + kNotYet + why);
    return std::nullopt;
  }
  reading.wrong(value, alternatives(words));
  return std::nullopt;
}

std::optional<std::string> SocketPath::read(const Value& value, Reading& reading) const {
  constexpr size_t kMaxBytes = sizeof(sockaddr_un::sun_path) - 1;
  const auto* path = value.get<std::string>();
  const bool is_path = path != nullptr && path->starts_with('/') && !path->ends_with('/') &&
                       path->find('\0') == path->npos;
  if (is_path && path->size() <= kMaxBytes) return *path;
  reading.wrong(value, is_path ? "at most " + std::to_string(kMaxBytes) + " bytes long"
                               : "the absolute path of a socket");
  return std::nullopt;
}

std::optional<mode_t> FileMode::read(const Value& value, Reading& reading) const {
  const auto* text = value.get<std::string>();
  const std::optional<mode_t> mode = text != nullptr ? parse_mode(*text) : std::nullopt;
  if (!mode) reading.wrong(value, "octal permission bits in quotes, such as \"0660\"");
  return mode;
}

std::optional<std::vector<Endpoint>> EndpointList::read(const Value& value,
                                                        Reading& reading) const {
  const auto* items = value.get<Array>();
  if (items == nullptr) {
    reading.wrong(value, "an array of strings, such as [\"tcp://127.0.0.1:6379\"]");
    return std::nullopt;
  }
  std::vector<Endpoint> endpoints;
  for (const Value& item : *items) {
    auto endpoint = read_endpoint(item, reading);
    if (!endpoint) continue;
    if (std::find(endpoints.begin(), endpoints.end(), *endpoint) != endpoints.end()) {
      reading.refuse(item, " names " + endpoint->url() + " twice");
    }
    if (endpoint->kind == Endpoint::Kind::slot && items->size() > 1) {
      reading.refuse(item, ": slot: stands alone; a pool lends slots or connections");
    }
    endpoints.push_back(std::move(*endpoint));
  }
  if (items->empty()) reading.refuse(value, " is empty; a pool needs an endpoint to dial");
  if (items->size() > kMaxEndpoints) {
    reading.refuse((*items)[kMaxEndpoints],
                   " has more than " + std::to_string(kMaxEndpoints) + " endpoints");
  }
  return reading.failed() ? std::nullopt : std::optional(std::move(endpoints));
}

std::string EndpointList::write(const std::vector<Endpoint>& endpoints) const {
  std::string out = "[";
  for (const Endpoint& endpoint : endpoints) {
    out += (out.size() > 1 ? ", " : "") + toml_string(endpoint.url());
  }
  return out + "]";
}

// No message quotes the value: it may have a password.
std::optional<std::optional<Proxy>> ProxyUrl::read(const Value& value, Reading& reading) const {
  const auto* text = value.get<std::string>();
  if (text == nullptr) {
    reading.refuse(value, " must be the URL of a proxy in quotes, or \"none\"");
    return std::nullopt;
  }
  if (*text == "none") return std::optional<Proxy>();
  auto parsed = parse_proxy(*text);
  if (auto* proxy = std::get_if<Proxy>(&parsed)) return std::optional<Proxy>(std::move(*proxy));
  reading.refuse(value, ": " + std::get<std::string>(parsed));
  return std::nullopt;
}

std::string ProxyUrl::write(const std::optional<Proxy>& proxy) const {
  return toml_string(proxy ? proxy->url() : "none");
}

std::optional<std::vector<uint32_t>> UserList::read(const Value& value, Reading& reading) const {
  const auto* items = value.get<Array>();
  if (items == nullptr) {
    reading.wrong(value, "an array of user names and numeric user ids");
    return std::nullopt;
  }
  if (items->size() > kMaxUsers) {
    reading.refuse(value, " has more than " + std::to_string(kMaxUsers) + " users");
    return std::nullopt;
  }
  std::vector<uint32_t> uids;
  for (const Value& item : *items) {
    const std::optional<uint32_t> uid = read_user(item, reading);
    if (uid && std::find(uids.begin(), uids.end(), *uid) == uids.end()) uids.push_back(*uid);
  }
  return reading.failed() ? std::nullopt : std::optional(std::move(uids));
}

// Ids, since they are what counts; the names follow for people.
std::string UserList::write(const std::vector<uint32_t>& uids) const {
  std::string ids;
  std::string names;
  for (const uint32_t uid : uids) {
    const std::string name = user_name(uid);
    ids += (ids.empty() ? "" : ", ") + std::to_string(uid);
    names += (names.empty() ? "" : ", ") + (name.empty() ? std::to_string(uid) : name);
  }
  return "[" + ids + "]" + (names.empty() ? "" : "  # " + names);
}

}  // namespace berth::config
