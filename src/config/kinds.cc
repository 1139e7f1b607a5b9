#include "config/kinds.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <sys/un.h>

#include <algorithm>
#include <charconv>

#include "base/limits.h"
#include "config/later.h"
#include "pool/policy.h"

namespace berth::config {
namespace {

using namespace std::chrono_literals;

constexpr size_t kMaxAccounts = 1024;  // each lease request searches them
constexpr size_t kMaxKeys = 1024;
constexpr size_t kMaxAlpn = 16;        // each handshake names them
constexpr size_t kMaxAlpnBytes = 255;  // RFC 7301, section 3.1
constexpr size_t kMaxPatterns = 256;   // each new URL is compared with them

std::string range(int64_t min, int64_t max) {
  return std::to_string(min) + " to " + std::to_string(max);
}

std::string range(Duration min, Duration max) {
  return duration_text(min) + " to " + duration_text(max);
}

std::optional<Endpoint> read_endpoint(const Value& value, Reading& reading) {
  const auto* text = value.get<std::string>();
  if (text == nullptr) {
    reading.wrong(value, "an array of strings, such as [\"tcp://127.0.0.1:6379\"]");
    return std::nullopt;
  }
  auto parsed = parse_endpoint(*text);
  if (auto* endpoint = std::get_if<Endpoint>(&parsed)) return std::move(*endpoint);
  reading.refuse(value, ": " + std::get<std::string>(parsed));
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

std::optional<uint64_t> Size::read(const Value& value, Reading& reading) const {
  const auto* text = value.get<std::string>();
  const std::optional<uint64_t> bytes = text != nullptr ? parse_size(*text) : std::nullopt;
  if (bytes && *bytes >= min && *bytes <= max) return bytes;
  reading.wrong(value, bytes ? "from " + bounds()
                             : "a size with its unit, B, KiB, MiB or GiB, such as \"64KiB\"");
  return std::nullopt;
}

namespace {

// The kernel's bounds: MAX_TCP_KEEPIDLE, MAX_TCP_KEEPINTVL, MAX_TCP_KEEPCNT of include/net/tcp.h.
constexpr Duration kLongestKeepalive = 32767s;
constexpr int kMostProbes = 127;

std::optional<Duration> whole_seconds(std::string_view text) {
  const std::optional<Duration> time = parse_duration(text);
  if (!time || *time < 1s || *time > kLongestKeepalive || *time % 1s != 0s) return std::nullopt;
  return time;
}

std::optional<Keepalive> parse_keepalive(std::string_view text) {
  const size_t first = text.find('/');
  const size_t second = first == text.npos ? text.npos : text.find('/', first + 1);
  if (second == text.npos) return std::nullopt;
  const auto idle = whole_seconds(text.substr(0, first));
  const auto interval = whole_seconds(text.substr(first + 1, second - first - 1));
  const std::string_view digits = text.substr(second + 1);
  int count = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), count);
  const bool whole = error == std::errc{} && end == digits.data() + digits.size();
  if (!idle || !interval || !whole || count < 1 || count > kMostProbes) return std::nullopt;
  return Keepalive{*idle, *interval, count};
}

}  // namespace

std::optional<Keepalive> KeepaliveTimes::read(const Value& value, Reading& reading) const {
  const auto* text = value.get<std::string>();
  if (text != nullptr && *text == "off") return Keepalive{0s, 0s, 0};
  if (text != nullptr) {
    if (auto keepalive = parse_keepalive(*text)) return keepalive;
  }
  reading.wrong(
      value,
      "\"off\", or silence, interval and number of probes, such as \"15s/5s/3\", of 1s to "
      "32767s, 1s to 32767s and 1 to 127");
  return std::nullopt;
}

std::string KeepaliveTimes::write(const Keepalive& keepalive) const {
  if (keepalive.idle == 0s) return toml_string("off");
  return toml_string(duration_text(keepalive.idle) + "/" + duration_text(keepalive.interval) + "/" +
                     std::to_string(keepalive.count));
}

std::optional<std::string> AddressLiteral::read(const Value& value, Reading& reading) const {
  const auto* text = value.get<std::string>();
  in6_addr address;
  if (text != nullptr && (text->empty() || inet_pton(AF_INET, text->c_str(), &address) == 1 ||
                          inet_pton(AF_INET6, text->c_str(), &address) == 1)) {
    return *text;
  }
  reading.wrong(value, "an IPv4 or IPv6 address of this host, such as \"192.0.2.7\"");
  return std::nullopt;
}

std::optional<std::string> InterfaceName::read(const Value& value, Reading& reading) const {
  const auto* text = value.get<std::string>();
  if (text != nullptr && text->size() < IFNAMSIZ && text->find('\0') == text->npos &&
      text->find('/') == text->npos) {
    return *text;
  }
  reading.wrong(value, "the name of a network interface, such as \"eth0\", of at most 15 bytes");
  return std::nullopt;
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

std::optional<std::vector<EndpointPattern>> EndpointPatternList::read(const Value& value,
                                                                      Reading& reading) const {
  constexpr std::string_view kExpected =
      "an array of patterns of URLs, such as [\"tcp://127.0.0.1:*\"]";
  const auto* items = value.get<Array>();
  if (items == nullptr) {
    reading.wrong(value, kExpected);
    return std::nullopt;
  }
  if (items->size() > kMaxPatterns) {
    reading.refuse(value, " has more than " + std::to_string(kMaxPatterns) + " patterns");
    return std::nullopt;
  }
  std::vector<EndpointPattern> patterns;
  for (const Value& item : *items) {
    const auto* text = item.get<std::string>();
    if (text == nullptr) {
      reading.wrong(item, kExpected);
      continue;
    }
    auto parsed = parse_endpoint_pattern(*text);
    if (auto* pattern = std::get_if<EndpointPattern>(&parsed)) {
      patterns.push_back(std::move(*pattern));
    } else {
      reading.refuse(item, ": " + std::get<std::string>(parsed));
    }
  }
  return reading.failed() ? std::nullopt : std::optional(std::move(patterns));
}

std::string EndpointPatternList::write(const std::vector<EndpointPattern>& patterns) const {
  std::string out = "[";
  for (const EndpointPattern& pattern : patterns) {
    out += (out.size() > 1 ? ", " : "") + toml_string(pattern.text());
  }
  return out + "]";
}

std::optional<FileOwner> Owner::read(const Value& value, Reading& reading) const {
  const auto* text = value.get<std::string>();
  if (text == nullptr || *text == ":") {
    reading.wrong(value, "a string such as \"www-data\", \"www-data:www-data\" or \":www-data\"");
    return std::nullopt;
  }
  const size_t colon = std::min(text->find(':'), text->size());
  FileOwner owner;
  const auto find = [&](Accounts::Kind kind, std::string_view name, std::optional<uint32_t>& id) {
    if (name.empty()) return;
    const FoundId found = reading.accounts().find(kind, name);
    if (const auto* known = std::get_if<uint32_t>(&found)) {
      id = *known;
    } else {
      reading.refuse(value, ": " + std::get<std::string>(found));
    }
  };
  find(Accounts::Kind::user, std::string_view(*text).substr(0, colon), owner.uid);
  if (colon < text->size()) {
    find(Accounts::Kind::group, std::string_view(*text).substr(colon + 1), owner.gid);
  }
  return reading.failed() ? std::nullopt : std::optional(owner);
}

std::string Owner::write(const FileOwner& owner) const {
  std::string out = owner.uid ? std::to_string(*owner.uid) : "";
  if (owner.gid) out += ":" + std::to_string(*owner.gid);
  return toml_string(out);
}

std::optional<std::string> ServerName::read(const Value& value, Reading& reading) const {
  const auto* text = value.get<std::string>();
  if (text != nullptr && text->empty()) return *text;
  if (text != nullptr) {
    in6_addr address;
    if (inet_pton(AF_INET6, text->c_str(), &address) == 1) return *text;
    const auto parsed = parse_endpoint("tls://" + *text + ":1");
    const auto* endpoint = std::get_if<Endpoint>(&parsed);
    if (endpoint != nullptr && text->find('[') == text->npos) return endpoint->certificate_name();
  }
  reading.wrong(value, "the name or the address of a host, such as \"db.example\"");
  return std::nullopt;
}

std::optional<std::vector<std::string>> ProtocolList::read(const Value& value,
                                                           Reading& reading) const {
  const auto* items = value.get<Array>();
  if (items == nullptr) {
    reading.wrong(value, "an array of names of protocols, such as [\"http/1.1\"]");
    return std::nullopt;
  }
  if (items->size() > kMaxAlpn) {
    reading.refuse(value, " has more than " + std::to_string(kMaxAlpn) + " protocols");
    return std::nullopt;
  }
  std::vector<std::string> protocols;
  for (const Value& item : *items) {
    const auto* name = item.get<std::string>();
    const bool right = name != nullptr && !name->empty() && name->size() <= kMaxAlpnBytes &&
                       name->find('\0') == name->npos;
    if (!right) {
      reading.wrong(item, "an array of names of 1 to " + std::to_string(kMaxAlpnBytes) + " bytes");
    } else if (std::find(protocols.begin(), protocols.end(), *name) != protocols.end()) {
      reading.refuse(item, " names " + shown(*name) + " twice");
    } else {
      protocols.push_back(*name);
    }
  }
  return reading.failed() ? std::nullopt : std::optional(std::move(protocols));
}

std::string ProtocolList::write(const std::vector<std::string>& protocols) const {
  std::string out = "[";
  for (const std::string& name : protocols) {
    out += (out.size() > 1 ? ", " : "") + toml_string(name);
  }
  return out + "]";
}

std::optional<std::vector<std::string>> KeyList::read(const Value& value, Reading& reading) const {
  const auto* items = value.get<Array>();
  if (items == nullptr) {
    reading.wrong(value, "an array of names of pools");
    return std::nullopt;
  }
  if (items->size() > kMaxKeys) {
    reading.refuse(value, " has more than " + std::to_string(kMaxKeys) + " keys");
    return std::nullopt;
  }
  std::vector<std::string> keys;
  for (const Value& item : *items) {
    const auto* key = item.get<std::string>();
    if (key == nullptr) {
      reading.wrong(item, "an array of names of pools");
    } else if (std::find(keys.begin(), keys.end(), *key) == keys.end()) {
      keys.push_back(*key);
    }
  }
  return reading.failed() ? std::nullopt : std::optional(std::move(keys));
}

std::string KeyList::write(const std::vector<std::string>& keys) const {
  std::string out = "[";
  for (const std::string& key : keys) out += (out.size() > 1 ? ", " : "") + toml_string(key);
  return out + "]";
}

std::string AccountList::expected() const {
  const std::string word = word_for(kind);
  return "an array of " + word + " names and numeric " + word + " ids";
}

std::optional<std::vector<uint32_t>> AccountList::read(const Value& value, Reading& reading) const {
  const auto* items = value.get<Array>();
  if (items == nullptr) {
    reading.wrong(value, expected());
    return std::nullopt;
  }
  if (items->size() > kMaxAccounts) {
    reading.refuse(value,
                   " has more than " + std::to_string(kMaxAccounts) + " " + word_for(kind) + "s");
    return std::nullopt;
  }
  std::vector<uint32_t> ids;
  for (const Value& item : *items) {
    const std::optional<uint32_t> id = read_one(item, reading);
    if (id && std::find(ids.begin(), ids.end(), *id) == ids.end()) ids.push_back(*id);
  }
  return reading.failed() ? std::nullopt : std::optional(std::move(ids));
}

std::optional<uint32_t> AccountList::read_one(const Value& value, Reading& reading) const {
  if (const auto* id = value.get<int64_t>(); id != nullptr && *id >= 0 && *id <= kMaxAccountId) {
    return static_cast<uint32_t>(*id);
  }
  const auto* name = value.get<std::string>();
  if (name == nullptr) {
    reading.wrong(value, expected());
    return std::nullopt;
  }
  if (*name == "*") {
    reading.refuse(value, " has no wildcard; name each " + word_for(kind));
    return std::nullopt;
  }
  const FoundId found = reading.accounts().find(kind, *name);
  if (const auto* id = std::get_if<uint32_t>(&found)) return *id;
  reading.refuse(value, ": " + std::get<std::string>(found));
  return std::nullopt;
}

// Ids, since they are what counts; the names follow for people.
std::string AccountList::write(const std::vector<uint32_t>& ids) const {
  std::string numbers;
  std::string names;
  for (const uint32_t id : ids) {
    const std::string name = name_of(kind, id);
    numbers += (numbers.empty() ? "" : ", ") + std::to_string(id);
    names += (names.empty() ? "" : ", ") + (name.empty() ? std::to_string(id) : name);
  }
  return "[" + numbers + "]" + (names.empty() ? "" : "  # " + names);
}

}  // namespace berth::config
