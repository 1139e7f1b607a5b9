#include "net/resolve.h"

#include <netdb.h>
#include <netinet/in.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <string>
#include <utility>

#include "base/unique_fd.h"

namespace berth::net {
namespace {

struct FreeAddresses {
  void operator()(addrinfo* list) const { freeaddrinfo(list); }
};
using Found = std::unique_ptr<addrinfo, FreeAddresses>;

std::string reason(int error) {
  return error == EAI_SYSTEM ? strerrordesc_np(errno) : gai_strerror(error);
}

int ask(const Endpoint& endpoint, int flags, Found& found) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_protocol = IPPROTO_TCP;
  hints.ai_flags = AI_NUMERICSERV | flags;
  addrinfo* list = nullptr;
  const std::string port = std::to_string(endpoint.port);
  const int error = getaddrinfo(endpoint.host.c_str(), port.c_str(), &hints, &list);
  found.reset(list);
  return error;
}

SocketAddress copy(const addrinfo& info) {
  SocketAddress out;
  std::memcpy(&out.storage, info.ai_addr, info.ai_addrlen);
  out.length = info.ai_addrlen;
  return out;
}

Answer collect(const addrinfo* list) {
  Answer answer;
  std::vector<SocketAddress>& addresses = answer.targets.emplace_back().addresses;
  for (; list != nullptr; list = list->ai_next) {
    const SocketAddress address = copy(*list);
    if (std::find(addresses.begin(), addresses.end(), address) != addresses.end()) continue;
    answer.complete = addresses.size() < kMaxResolvedAddresses;
    if (!answer.complete) break;
    addresses.push_back(address);
  }
  return answer;
}

Answer failure(std::string text) {
  Answer answer;
  answer.error = std::move(text);
  return answer;
}

// AI_ADDRCONFIG does not count loopback addresses, so it would hide ::1 of a host that has no
// other IPv6 address; local names go without it.
bool is_local_name(std::string_view host) {
  return host == "localhost" || host.ends_with(".localhost");
}

}  // namespace

Answer resolve_blocking(const Endpoint& endpoint) {
  if (const auto literal = literal_address(endpoint))
    return {{{0, 0, {*literal}}}, true, Duration::max(), {}};
  if (endpoint.is_service()) {
    return failure("\"" + endpoint.host + "\" is a service, which the system does not resolve");
  }
  Found found;
  int error = ask(endpoint, is_local_name(endpoint.host) ? 0 : AI_ADDRCONFIG, found);
  if (error == EAI_NONAME || error == EAI_ADDRFAMILY || error == EAI_NODATA) {
    error = ask(endpoint, 0, found);
  }
  if (error != 0) return failure("cannot resolve \"" + endpoint.host + "\": " + reason(error));
  Answer answer = collect(found.get());
  if (!answer.targets[0].addresses.empty()) return answer;
  return failure("\"" + endpoint.host + "\" resolves to no address");
}

// connect(2) of a datagram socket looks for the route, and no more.
bool has_route(const SocketAddress& address) {
  const UniqueFd probe(socket(address.family(), SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  return probe.valid() && connect(probe.get(), address.raw(), address.length) == 0;
}

}  // namespace berth::net
