#include "net/resolve.h"

#include <netdb.h>
#include <netinet/in.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>

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

void collect(const addrinfo* list, std::vector<SocketAddress>& out) {
  for (; list != nullptr && out.size() < kMaxResolvedAddresses; list = list->ai_next) {
    const SocketAddress address = copy(*list);
    if (std::find(out.begin(), out.end(), address) == out.end()) out.push_back(address);
  }
}

// AI_ADDRCONFIG does not count loopback addresses, so it would hide ::1 of a host that has no
// other IPv6 address; local names go without it.
bool is_local_name(std::string_view host) {
  return host == "localhost" || host.ends_with(".localhost");
}

}  // namespace

Resolved resolve_blocking(const Endpoint& endpoint) {
  Resolved out;
  if (const auto literal = literal_address(endpoint)) {
    out.addresses.push_back(*literal);
    return out;
  }
  Found found;
  int error = ask(endpoint, is_local_name(endpoint.host) ? 0 : AI_ADDRCONFIG, found);
  if (error == EAI_NONAME || error == EAI_ADDRFAMILY || error == EAI_NODATA) {
    error = ask(endpoint, 0, found);
  }
  if (error != 0) {
    out.error = "cannot resolve \"" + endpoint.host + "\": " + reason(error);
    return out;
  }
  collect(found.get(), out.addresses);
  if (out.addresses.empty()) out.error = "\"" + endpoint.host + "\" resolves to no address";
  return out;
}

}  // namespace berth::net
