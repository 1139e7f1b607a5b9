#include "base/proxy.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <optional>
#include <utility>

#include "base/limits.h"

namespace berth {
namespace {

constexpr const char* kRight = "write socks5://[USER@]HOST:PORT or http://[USER@]HOST:PORT";

const char* scheme_of(Proxy::Kind kind) {
  return kind == Proxy::Kind::socks5 ? "socks5" : "http";
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return out;
}

bool is_control(char c) {
  return static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
}

// RFC 3986, section 2.3.
bool is_unreserved(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
         c == '.' || c == '_' || c == '~';
}

std::string percent_encoded(std::string_view bytes) {
  std::string out;
  for (const char c : bytes) {
    char hex[4];
    std::snprintf(hex, sizeof hex, "%%%02X", static_cast<unsigned>(static_cast<unsigned char>(c)));
    out += is_unreserved(c) ? std::string(1, c) : hex;
  }
  return out;
}

std::optional<std::string> percent_decoded(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    size_t used = 1;
    char c = text[0];
    if (c == '%') {
      const std::string_view digits = text.substr(1, 2);
      unsigned byte = 0;
      const char* const end = digits.data() + digits.size();
      if (digits.size() < 2 || std::from_chars(digits.data(), end, byte, 16).ptr != end) return {};
      c = static_cast<char>(byte);
      used = 3;
    }
    out += c;
    text.remove_prefix(used);
  }
  return out;
}

// What is wrong with a user, or "".
std::string check_user(Proxy::Kind kind, const std::string& user) {
  if (user.empty()) return std::string("the user is missing before the '@'; ") + kRight;
  if (user.size() > kMaxProxyUserBytes) {
    return "the user has more than " + std::to_string(kMaxProxyUserBytes) + " bytes";
  }
  if (std::any_of(user.begin(), user.end(), is_control)) {
    return "the user has a control character";
  }
  if (kind == Proxy::Kind::http && user.find(':') != user.npos) {
    return "a ':' in the user would end it for an HTTP proxy";
  }
  return {};
}

}  // namespace

std::string Proxy::url() const {
  const std::string at = user.empty() ? "" : percent_encoded(user) + "@";
  return std::string(scheme_of(kind)) + "://" + at + server.address();
}

std::string Proxy::name() const {
  return std::string("proxy ") + scheme_of(kind) + "://" + server.address();
}

std::variant<Proxy, std::string> parse_proxy(std::string_view text) {
  const size_t colon = text.find("://");
  const std::string scheme = lower(text.substr(0, colon == text.npos ? 0 : colon));
  if (scheme == "socks5h") {
    return "socks5h:// is socks5:// here: the proxy looks up the names of servers in any case";
  }
  if (scheme != "socks5" && scheme != "http") {
    return std::string("the scheme must be socks5:// or http://; ") + kRight;
  }
  Proxy proxy;
  proxy.kind = scheme == "http" ? Proxy::Kind::http : Proxy::Kind::socks5;
  std::string_view rest = text.substr(colon + 3);
  if (const size_t at = rest.rfind('@'); at != rest.npos) {
    const std::string_view user = rest.substr(0, at);
    rest.remove_prefix(at + 1);
    if (user.find(':') != user.npos) {
      return "a password does not stand in the URL, which is no secret; put it into a file and "
             "name that with via_password_file";
    }
    std::optional<std::string> decoded = percent_decoded(user);
    if (!decoded)
      return "a '%' in the user is followed by two hexadecimal digits; '%' itself is %25";
    if (std::string wrong = check_user(proxy.kind, *decoded); !wrong.empty()) return wrong;
    proxy.user = *std::move(decoded);
  }
  auto server = parse_endpoint("tcp://" + std::string(rest));
  auto* endpoint = std::get_if<Endpoint>(&server);
  if (endpoint == nullptr || endpoint->port == 0) {
    return std::string(
               "HOST is a name, an IPv4 address or an IPv6 address in brackets, and PORT a "
               "number from 1 to 65535; ") +
           kRight;
  }
  proxy.server = std::move(*endpoint);
  return proxy;
}

}  // namespace berth
