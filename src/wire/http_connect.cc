#include "wire/http_connect.h"

#include <string_view>
#include <utility>

#include "base/limits.h"

namespace berth::wire {
namespace {

constexpr std::string_view kVersion = "HTTP/1.";
constexpr int kLoginWanted = 401;  // what a server says, as some proxies do of a wrong password
constexpr int kProxyLoginWanted = 407;
constexpr int kSwitchingProtocols = 101;

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

// "HTTP/1.1 200 Connection established": 200; 0 if it is no status line of HTTP/1.
int status_of(std::string_view line) {
  if (!line.starts_with(kVersion)) return 0;
  line.remove_prefix(kVersion.size());
  if (line.size() < 5 || !is_digit(line[0]) || line[1] != ' ') return 0;
  if (!is_digit(line[2]) || !is_digit(line[3]) || !is_digit(line[4])) return 0;
  if (line.size() > 5 && line[5] != ' ') return 0;
  return (line[2] - '0') * 100 + (line[3] - '0') * 10 + (line[4] - '0');
}

std::string_view reason_of(std::string_view line) {
  constexpr size_t kBefore = kVersion.size() + 6;
  return line.size() > kBefore ? line.substr(kBefore) : std::string_view();
}

const char* words_of(int status) {
  switch (status) {
    case 400: return "it does not understand the request";
    case 403: return "it does not allow it";
    case 405:
    case 501: return "it makes no tunnels";
    case 408: return "it waited for too long";
    case 404:
    case 502: return "it cannot reach the server";
    case 429: return "it was asked too often";
    case 500: return "it has failed";
    case 503: return "it cannot do it now";
    case 504: return "the server does not answer it";
    default: return status >= 300 && status < 400 ? "it sends elsewhere" : "it does not do it";
  }
}

}  // namespace

HttpConnect::HttpConnect(std::shared_ptr<const ProxyAccess> proxy, const Endpoint& server)
    : ProxyHandshake(std::move(proxy), server),
      request_("CONNECT " + target() + " HTTP/1.1\r\nHost: " + target() + "\r\n") {
  if (access().basic().empty()) {
    ask({request_, "\r\n"});
  } else {
    ask({request_, "Proxy-Authorization: Basic ", access().basic().bytes(), "\r\n\r\n"});
  }
}

std::string HttpConnect::moment() const {
  return status_line_.empty() ? "" : " after " + quoted(status_line_);
}

void HttpConnect::take(char c) {
  if (++size_ > kMaxProxyReplyBytes) {
    return fail("its answer has more than " + std::to_string(kMaxProxyReplyBytes) + " bytes, " +
                quoted(status_line_));
  }
  if (!judged_) {
    if (c != '\n') {
      status_line_ += c;
      return;
    }
    return judge();
  }
  if (c != '\n') {
    line_is_empty_ = line_is_empty_ && c == '\r';
    return;
  }
  if (!std::exchange(line_is_empty_, true)) return;
  if (!interim_) return succeed();
  status_line_.clear();
  judged_ = false;
}

void HttpConnect::judge() {
  if (status_line_.ends_with('\r')) status_line_.pop_back();
  const int status = status_of(status_line_);
  if (status < 100) return fail("it does not speak HTTP, but says " + quoted(status_line_));
  interim_ = status < 200 && status != kSwitchingProtocols;
  judged_ = interim_ || (status >= 200 && status < 300);
  if (!judged_) turn_down(status, std::string(reason_of(status_line_)));
}

void HttpConnect::turn_down(int status, const std::string& reason) {
  std::string words = words_of(status);
  if (status == kProxyLoginWanted || status == kLoginWanted) {
    words = access().proxy().user.empty() ? "it wants a user and a password"
                                          : "it does not accept this user and password";
  }
  refused(words + " (" + std::to_string(status) + (reason.empty() ? "" : " " + quoted(reason)) +
          ")");
}

}  // namespace berth::wire
