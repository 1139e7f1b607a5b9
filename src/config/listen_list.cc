#include "config/listen_list.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <utility>
#include <variant>

#include "base/limits.h"
#include "config/kinds.h"
#include "config/text.h"

namespace berth::config {
namespace {

bool is_loopback(const Endpoint& endpoint) {
  in_addr four;
  in6_addr six;
  if (inet_pton(AF_INET, endpoint.host.c_str(), &four) == 1) {
    return ntohl(four.s_addr) >> IN_CLASSA_NSHIFT == IN_LOOPBACKNET;
  }
  return inet_pton(AF_INET6, endpoint.host.c_str(), &six) == 1 && IN6_IS_ADDR_LOOPBACK(&six);
}

constexpr std::string_view kExpected =
    "the absolute path of a socket, or tcp:// with an address of the loopback, such as "
    "\"tcp://127.0.0.1:6379\"";

std::optional<Endpoint> read_one(const Value& value, Reading& reading) {
  const auto* text = value.get<std::string>();
  if (text == nullptr || !text->starts_with("tcp://")) {
    if (text == nullptr || !text->starts_with('/')) {
      reading.wrong(value, kExpected);
      return std::nullopt;
    }
    auto path = SocketPath{}.read(value, reading);
    if (!path) return std::nullopt;
    return Endpoint{.kind = Endpoint::Kind::unix_path, .host = {}, .path = *std::move(path)};
  }
  auto parsed = parse_endpoint(*text);
  if (const std::string* wrong = std::get_if<std::string>(&parsed)) {
    reading.refuse(value, ": " + *wrong);
    return std::nullopt;
  }
  if (is_loopback(std::get<Endpoint>(parsed))) return std::get<Endpoint>(std::move(parsed));
  // Nobody says there who he is, so who is on another host must not be let in.
  reading.wrong(value, kExpected);
  return std::nullopt;
}

std::string text_of(const Endpoint& endpoint) {
  return toml_string(endpoint.kind == Endpoint::Kind::tcp ? endpoint.url() : endpoint.path);
}

}  // namespace

std::optional<std::vector<Endpoint>> ListenList::read(const Value& value, Reading& reading) const {
  const auto* items = value.get<Array>();
  if (items == nullptr) {
    auto only = read_one(value, reading);
    return only ? std::optional(std::vector{*std::move(only)}) : std::nullopt;
  }
  std::vector<Endpoint> listen;
  for (const Value& item : *items) {
    auto one = read_one(item, reading);
    if (!one) continue;  // told already
    if (std::find(listen.begin(), listen.end(), *one) != listen.end()) {
      reading.refuse(item, " names " + text_of(*one) + " twice");
    } else {
      listen.push_back(*std::move(one));
    }
  }
  if (items->size() > kMaxListenSockets) {
    reading.refuse((*items)[kMaxListenSockets],
                   " has more than " + std::to_string(kMaxListenSockets) + " sockets");
  }
  return reading.failed() ? std::nullopt : std::optional(std::move(listen));
}

std::string ListenList::write(const std::vector<Endpoint>& listen) const {
  std::string out = "[";
  for (const Endpoint& endpoint : listen) out += (out.size() > 1 ? ", " : "") + text_of(endpoint);
  return out + "]";
}

}  // namespace berth::config
