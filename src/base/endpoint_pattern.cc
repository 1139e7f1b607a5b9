#include "base/endpoint_pattern.h"

#include <charconv>
#include <optional>

namespace berth {
namespace {

constexpr uint16_t kFirstPort = 1;
constexpr uint16_t kLastPort = 65535;

// '*' matches any number of bytes but `stop`. Goes back to the last '*' only, since whatever an
// earlier one could match more of, that one can too, unless `stop` is between.
bool glob(std::string_view pattern, std::string_view text, char stop) {
  size_t p = 0;
  size_t t = 0;
  size_t star = pattern.npos;
  size_t retry = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      retry = t;
    } else if (p < pattern.size() && pattern[p] == text[t]) {
      ++p;
      ++t;
    } else if (star != pattern.npos && text[retry] != stop) {
      p = star + 1;
      t = ++retry;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

bool host_matches(std::string_view pattern, std::string_view host) {
  if (pattern == "*") return true;
  if (!pattern.starts_with("*.")) return pattern == host;
  const std::string_view below = pattern.substr(1);
  return host.size() > below.size() && host.ends_with(below);
}

std::optional<uint16_t> port_of(std::string_view text) {
  uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  const bool whole = error == std::errc{} && end == text.data() + text.size();
  return whole && port != 0 ? std::optional(port) : std::nullopt;
}

struct Ports {
  uint16_t first;
  uint16_t last;
};

std::optional<Ports> ports_of(std::string_view text) {
  if (text == "*") return Ports{kFirstPort, kLastPort};
  const size_t dash = text.find('-');
  const std::optional<uint16_t> first = port_of(text.substr(0, dash));
  const std::optional<uint16_t> last = dash == text.npos ? first : port_of(text.substr(dash + 1));
  if (!first || !last || *first > *last) return std::nullopt;
  return Ports{*first, *last};
}

constexpr std::string_view kTcp = "tcp://";
constexpr std::string_view kTls = "tls://";
static_assert(kTcp.size() == kTls.size());

std::string wrong(std::string_view text, std::string_view why) {
  return "\"" + std::string(text.substr(0, 100)) + "\": " + std::string(why);
}

}  // namespace

EndpointPattern EndpointPattern::every() {
  EndpointPattern pattern;
  pattern.every_ = true;
  return pattern;
}

bool EndpointPattern::matches(const Endpoint& endpoint) const {
  if (every_) return true;
  if (endpoint.kind != kind_ || endpoint.secure != secure_ || endpoint.grpc) return false;
  switch (kind_) {
    case Endpoint::Kind::tcp:
      return endpoint.port >= first_port_ && endpoint.port <= last_port_ &&
             host_matches(name_, endpoint.host);
    case Endpoint::Kind::unix_path: return glob(name_, endpoint.path, '/');
    case Endpoint::Kind::unix_abstract: return glob(name_, endpoint.path, '\0');
    case Endpoint::Kind::slot: return true;
  }
  return false;
}

std::string EndpointPattern::text() const {
  if (every_) return "*";
  switch (kind_) {
    case Endpoint::Kind::tcp: {
      const bool bracketed = name_.find(':') != name_.npos;
      std::string ports = std::to_string(first_port_);
      if (first_port_ != last_port_) ports += "-" + std::to_string(last_port_);
      if (first_port_ == kFirstPort && last_port_ == kLastPort) ports = "*";
      return std::string(secure_ ? kTls : kTcp) + (bracketed ? "[" + name_ + "]" : name_) + ":" +
             ports;
    }
    case Endpoint::Kind::unix_path: return "unix://" + name_;
    case Endpoint::Kind::unix_abstract: return "unix://@" + name_;
    case Endpoint::Kind::slot: return "slot:";
  }
  return {};
}

std::variant<EndpointPattern, std::string> parse_endpoint_pattern(std::string_view text) {
  if (text == "*") return EndpointPattern::every();
  if (text.starts_with("grpc://") || text.starts_with("grpcs://")) {
    return wrong(text, "a channel pool has a table of its own, [pool.NAME]; no URL makes one");
  }
  // The host is read as an endpoint's, with a name in the place of the wildcard and some port.
  std::string plain(text);
  std::optional<Ports> ports;
  std::string_view wildcard;
  if (text.starts_with(kTcp) || text.starts_with(kTls)) {
    const size_t colon = text.rfind(':');
    ports = ports_of(text.substr(colon + 1));
    if (!ports) return wrong(text, "the port must be a number, FIRST-LAST, or *");
    plain = std::string(text.substr(0, colon)) + ":1";
    const std::string_view host = text.substr(kTcp.size(), colon - kTcp.size());
    if (host == "*" || host.starts_with("*.")) {
      wildcard = "*";
      plain.replace(kTcp.size(), 1, "x");
    }
    if (plain.find('*') != plain.npos) {
      return wrong(text, "a * stands for the host as a whole, or at its beginning as in *.example");
    }
  }
  auto parsed = parse_endpoint(plain);
  if (auto* error = std::get_if<std::string>(&parsed)) return std::move(*error);
  const Endpoint& endpoint = std::get<Endpoint>(parsed);
  EndpointPattern pattern;
  pattern.kind_ = endpoint.kind;
  pattern.secure_ = endpoint.secure;
  pattern.name_ = endpoint.kind == Endpoint::Kind::tcp ? endpoint.host : endpoint.path;
  if (!wildcard.empty()) pattern.name_ = std::string(wildcard) + pattern.name_.substr(1);
  if (ports) {
    pattern.first_port_ = ports->first;
    pattern.last_port_ = ports->last;
  }
  return pattern;
}

}  // namespace berth
