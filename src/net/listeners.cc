#include "net/listeners.h"

#include <absl/strings/str_join.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cstddef>
#include <utility>

#include "base/check.h"
#include "base/log.h"

namespace berth::net {
namespace {

int option(int fd, int name) {
  int value = 0;
  socklen_t length = sizeof value;
  return getsockopt(fd, SOL_SOCKET, name, &value, &length) == 0 ? value : -1;
}

std::string family_words(int family) {
  switch (family) {
    case AF_UNIX: return "a Unix";
    case AF_INET: return "an IPv4";
    case AF_INET6: return "an IPv6";
    default: return fmt::format("a family {}", family);
  }
}

std::string type_words(int type) {
  switch (type) {
    case SOCK_STREAM: return "stream";
    case SOCK_SEQPACKET: return "sequential-packet";
    case SOCK_DGRAM: return "datagram";
    default: return fmt::format("type {}", type);
  }
}

std::string describe(int fd) {
  const int type = option(fd, SO_TYPE);
  if (type < 0) return "not a socket";
  return fmt::format("{} {} socket{}", family_words(option(fd, SO_DOMAIN)), type_words(type),
                     option(fd, SO_ACCEPTCONN) == 1 ? "" : " that does not listen");
}

absl::Status check(const PassedSocket& passed, int type) {
  const int fd = passed.fd.get();
  if (option(fd, SO_DOMAIN) == AF_UNIX && option(fd, SO_TYPE) == type &&
      option(fd, SO_ACCEPTCONN) == 1) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(fmt::format(
      "descriptor {}, passed as \"{}\", is {}; it must be a listening Unix {} socket, as {}= of a "
      ".socket unit with Accept=no makes it",
      fd, passed.name, describe(fd), type_words(type),
      type == SOCK_STREAM ? "ListenStream" : "ListenSequentialPacket"));
}

std::string path_of(int fd) {
  sockaddr_un address{};
  socklen_t length = sizeof address;
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length) != 0) return "?";
  std::string path(address.sun_path, length - offsetof(sockaddr_un, sun_path));
  if (!path.empty() && path.front() == '\0') return "@" + path.substr(1);
  return path.substr(0, path.find('\0'));
}

absl::StatusOr<Listener> make(const ListenSpec& spec) {
  absl::StatusOr<UniqueFd> fd = spec.type == SOCK_STREAM
                                    ? listen_stream(spec.file, spec.backlog)
                                    : listen_seqpacket(spec.file, spec.backlog);
  if (!fd.ok()) return fd.status();
  log().info("{}: listens on {}", spec.name, spec.file.path);
  return Listener::made(*std::move(fd), spec.file.path);
}

absl::StatusOr<Listener> adopt(PassedSocket passed, const ListenSpec& spec) {
  if (absl::Status good = check(passed, spec.type); !good.ok()) return good;
  Listener listener = Listener::passed(std::move(passed.fd));
  if (listener.path() == spec.file.path) {
    log().info("{}: listens on {}, as passed", spec.name, spec.file.path);
  } else {
    log().warn("{}: listens on {}, as passed, and not on {}, as configured", spec.name,
               listener.path(), spec.file.path);
  }
  return listener;
}

}  // namespace

Listener::Listener(UniqueFd fd, std::string path, FileIdentity file)
    : fd_(std::move(fd)), path_(std::move(path)), file_(file) {}

Listener Listener::made(UniqueFd fd, std::string path) {
  const FileIdentity file = identify_file(path);
  return {std::move(fd), std::move(path), file};
}

Listener Listener::passed(UniqueFd fd) {
  const int flags = fcntl(fd.get(), F_GETFL) | O_NONBLOCK;
  BERTH_CHECK(fcntl(fd.get(), F_SETFL, flags) == 0, "a socket can be made nonblocking");
  std::string path = path_of(fd.get());
  return {std::move(fd), std::move(path), {}};
}

Listener::Listener(Listener&& other) noexcept
    : fd_(std::move(other.fd_)),
      path_(std::move(other.path_)),
      file_(std::exchange(other.file_, {})) {}

Listener::~Listener() {
  if (file_ != FileIdentity{} && identify_file(path_) == file_) unlink_socket(path_);
}

absl::StatusOr<Listener> Listeners::open(const ListenSpec& spec) {
  names_.push_back(spec.name);
  const auto named = [&](const PassedSocket& passed) { return passed.name == spec.name; };
  const auto found = std::find_if(passed_.begin(), passed_.end(), named);
  if (found == passed_.end()) return make(spec);
  PassedSocket passed = std::move(*found);
  passed_.erase(found);
  if (std::any_of(passed_.begin(), passed_.end(), named)) {
    return absl::InvalidArgumentError(
        fmt::format("more than one descriptor is passed as \"{}\"", spec.name));
  }
  return adopt(std::move(passed), spec);
}

absl::StatusOr<Listener> Listeners::open_tcp(const std::string& name, const Endpoint& endpoint,
                                             int backlog) {
  absl::StatusOr<UniqueFd> fd = listen_tcp(endpoint, backlog);
  if (!fd.ok()) return fd.status();
  log().info("{}: listens on {}", name, endpoint.url());
  return Listener::made(*std::move(fd), endpoint.url());
}

absl::Status Listeners::check_all_used() const {
  if (passed_.empty()) return absl::OkStatus();
  const PassedSocket& first = passed_.front();
  return absl::InvalidArgumentError(fmt::format(
      "descriptor {} is passed as \"{}\", which names no socket of berthd's; FileDescriptorName= "
      "of its .socket unit must be one of: {}",
      first.fd.get(), first.name, absl::StrJoin(names_, ", ")));
}

}  // namespace berth::net
