#include "base/endpoint.h"

#include <sys/un.h>

#include <algorithm>
#include <charconv>

namespace berth {
namespace {

constexpr size_t kMaxHostBytes = 253;  // RFC 1035, section 2.3.4
constexpr size_t kMaxPathBytes = sizeof(sockaddr_un::sun_path) - 1;

constexpr const char* kRight = "write tcp://HOST:PORT, tls://HOST:PORT or unix:///PATH";

using Parsed = std::variant<Endpoint, std::string>;

std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text.substr(0, 100)) out += c >= ' ' && c != 0x7f ? c : '?';
  return out + (text.size() > 100 ? "…\"" : "\"");
}

bool is_host_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '_';
}

// In brackets; '%' precedes a scope.
bool is_address_char(char c) {
  return is_host_char(c) || c == ':' || c == '%';
}

std::string in_lower_case(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return out;
}

std::string fault_of_host(const std::string& host, bool bracketed, std::string_view scheme) {
  if (host.empty()) return "the host is missing; write " + std::string(scheme) + "HOST:PORT";
  if (host.size() > kMaxHostBytes) return "a host name has at most 253 bytes";
  if (!std::all_of(host.begin(), host.end(), bracketed ? is_address_char : is_host_char)) {
    return "the host may have letters, digits, '.', '-' and '_' only";
  }
  return {};
}

// What begins with "_" and has no port.
Parsed parse_service(const std::string& wrong, std::string_view name, std::string_view scheme) {
  Endpoint endpoint;
  endpoint.host = in_lower_case(name);
  if (const std::string fault = fault_of_host(endpoint.host, false, scheme); !fault.empty()) {
    return wrong + fault;
  }
  const size_t protocol = name.find("._");
  const size_t domain = protocol == name.npos ? name.npos : name.find('.', protocol + 1);
  if (domain == name.npos || domain + 1 == name.size()) {
    return wrong + "a service is named as " + std::string(scheme) +
           "_SERVICE._PROTO.DOMAIN; any other host has a port";
  }
  return endpoint;
}

// With its "://"; of tcp.
std::string scheme_of(const Endpoint& endpoint) {
  if (endpoint.grpc) return endpoint.secure ? "grpcs://" : "grpc://";
  return endpoint.secure ? "tls://" : "tcp://";
}

// `scheme`: likewise.
Parsed parse_tcp(std::string_view text, std::string_view rest, const std::string& scheme) {
  const std::string wrong = quoted(text) + ": ";
  while (!rest.empty() && rest.back() == '/') rest.remove_suffix(1);
  std::string_view host;
  std::string_view port;
  const bool bracketed = rest.starts_with('[');
  if (bracketed) {
    const size_t close = rest.find(']');
    if (close == rest.npos) return wrong + "the bracket of the IPv6 address is not closed";
    host = rest.substr(1, close - 1);
    rest.remove_prefix(close + 1);
    if (host.find(':') == host.npos) return wrong + "only an IPv6 address stands in brackets";
    if (!rest.starts_with(':')) {
      return wrong + "the port is missing; write " + scheme + "[ADDRESS]:PORT";
    }
    port = rest.substr(1);
  } else {
    const size_t colon = rest.find(':');
    if (colon == rest.npos && rest.starts_with('_')) return parse_service(wrong, rest, scheme);
    if (colon == rest.npos) return wrong + "the port is missing; write " + scheme + "HOST:PORT";
    host = rest.substr(0, colon);
    port = rest.substr(colon + 1);
    if (port.find(':') != port.npos) {
      return wrong + "an IPv6 address stands in brackets: " + scheme + "[ADDRESS]:PORT";
    }
  }
  if (port.find('/') != port.npos || port.find('?') != port.npos) {
    return wrong + "an endpoint ends with its port; it has no path";
  }
  Endpoint endpoint;
  endpoint.host = in_lower_case(host);
  const std::string fault = fault_of_host(endpoint.host, bracketed, scheme);
  if (!fault.empty()) return wrong + fault;
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), endpoint.port);
  if (error != std::errc{} || end != port.data() + port.size() || endpoint.port == 0) {
    return wrong + "the port must be a number from 1 to 65535";
  }
  return endpoint;
}

Parsed parse_unix(std::string_view text, std::string_view rest) {
  const std::string wrong = quoted(text) + ": ";
  Endpoint endpoint;
  if (rest.starts_with('@')) {
    endpoint.kind = Endpoint::Kind::unix_abstract;
    rest.remove_prefix(1);
    if (rest.empty()) return wrong + "the abstract name is missing; write unix://@NAME";
  } else if (rest.starts_with('/')) {
    endpoint.kind = Endpoint::Kind::unix_path;
    if (rest.back() == '/') return wrong + "the path names a folder, not a socket";
  } else {
    return wrong + "the path must be absolute: unix:///PATH (or unix://@NAME)";
  }
  if (rest.size() > kMaxPathBytes - (endpoint.kind == Endpoint::Kind::unix_abstract ? 1 : 0)) {
    return wrong + "a socket's path has at most 107 bytes";
  }
  if (rest.find('\0') != rest.npos) return wrong + "a socket's path has no zero byte";
  endpoint.path = rest;
  return endpoint;
}

}  // namespace

std::string Endpoint::address() const {
  return (host.find(':') != host.npos ? "[" + host + "]" : host) +
         (is_service() ? "" : ":" + std::to_string(port));
}

std::string Endpoint::certificate_name() const {
  std::string name = host.substr(0, host.find('%'));
  if (is_service()) name = host.substr(host.find('.', host.find("._") + 1) + 1);
  if (name.ends_with('.')) name.pop_back();
  return name;
}

std::string Endpoint::url() const {
  switch (kind) {
    case Kind::tcp: return scheme_of(*this) + address();
    case Kind::unix_path: return "unix://" + path;
    case Kind::unix_abstract: return "unix://@" + path;
    case Kind::slot: return "slot:";
  }
  return {};
}

Parsed parse_endpoint(std::string_view text) {
  if (text == "slot:") return Endpoint{.kind = Endpoint::Kind::slot, .host = {}, .path = {}};
  const size_t colon = text.find("://");
  if (colon == text.npos) return quoted(text) + ": no scheme; " + kRight;
  const std::string scheme = in_lower_case(text.substr(0, colon));
  const std::string_view rest = text.substr(colon + 3);
  const bool grpc = scheme == "grpc" || scheme == "grpcs";
  if (grpc || scheme == "tcp" || scheme == "tls") {
    Parsed parsed = parse_tcp(text, rest, scheme + "://");
    if (auto* endpoint = std::get_if<Endpoint>(&parsed)) {
      endpoint->secure = scheme == "tls" || scheme == "grpcs";
      endpoint->grpc = grpc;
    }
    return parsed;
  }
  if (scheme == "unix") return parse_unix(text, rest);
  return quoted(text) + ": the scheme " + quoted(scheme.substr(0, 20)) + " is not known here; " +
         kRight;
}

}  // namespace berth
