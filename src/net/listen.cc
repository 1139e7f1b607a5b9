#include "net/listen.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/status/status.h"
#include "base/check.h"
#include "base/poll_one.h"
#include "net/address.h"
#include "net/errno_status.h"

namespace berth::net {
namespace {

std::string attempt(const std::string& path) {
  return "listen on " + path;
}

sockaddr_un address_of(const std::string& path) {
  sockaddr_un out{};
  out.sun_family = AF_UNIX;
  std::memcpy(out.sun_path, path.data(), path.size());
  return out;
}

absl::Status check_length(const std::string& path) {
  if (path.empty()) return absl::InvalidArgumentError("listen: the socket's path is empty");
  if (path.size() < sizeof(sockaddr_un::sun_path)) return absl::OkStatus();
  return absl::InvalidArgumentError(attempt(path) + ": the path has " +
                                    std::to_string(path.size()) +
                                    " bytes, a socket's may have 107");
}

UniqueFd open_socket(int type) {
  return UniqueFd(socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
}

template <class Call>
int with_address(Call call, int fd, const std::string& path) {
  const sockaddr_un address = address_of(path);
  return call(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 ? 0 : errno;
}

bool is_socket(const std::string& path) {
  struct stat info;
  return lstat(path.c_str(), &info) == 0 && S_ISSOCK(info.st_mode);
}

// Only a refused connection proves that nobody serves the file: a full backlog, another socket
// type or a missing permission mean that somebody may.
absl::Status remove_stale(int type, const std::string& path) {
  if (!is_socket(path)) {
    return absl::AlreadyExistsError(attempt(path) + ": a file that is not a socket is there");
  }
  const UniqueFd probe = open_socket(type);
  if (!probe.valid()) return errno_status(errno, attempt(path));
  const int error = with_address(connect, probe.get(), path);
  if (error == ENOENT) return absl::OkStatus();
  if (error != ECONNREFUSED) {
    return absl::AlreadyExistsError(attempt(path) + ": another process serves this socket");
  }
  unlink(path.c_str());
  return absl::OkStatus();
}

absl::Status bind_error(int error_number, const std::string& path) {
  if (error_number == ENOENT) {
    return absl::NotFoundError(attempt(path) + ": its folder does not exist");
  }
  return errno_status(error_number, attempt(path));
}

absl::Status bind_path(int type, int fd, const std::string& path) {
  int error = with_address(bind, fd, path);
  if (error == EADDRINUSE) {
    if (absl::Status status = remove_stale(type, path); !status.ok()) return status;
    error = with_address(bind, fd, path);
  }
  return error == 0 ? absl::OkStatus() : bind_error(error, path);
}

constexpr uint32_t kUnchanged = UINT32_MAX;  // chown(2)

absl::Status give_to(const std::string& path, const FileOwner& owner) {
  const uid_t uid = owner.uid.value_or(kUnchanged);
  const gid_t gid = owner.gid.value_or(kUnchanged);
  if ((uid == kUnchanged && gid == kUnchanged) || chown(path.c_str(), uid, gid) == 0) {
    return absl::OkStatus();
  }
  return errno_status(errno, attempt(path) + ": give the socket to its owner");
}

absl::Status open_up(int fd, const SocketFile& file, int backlog) {
  // Nobody can connect before listen(), whatever mode the umask gave the file.
  if (absl::Status given = give_to(file.path, file.owner); !given.ok()) return given;
  if (chmod(file.path.c_str(), file.mode) == 0 && listen(fd, backlog) == 0) {
    return absl::OkStatus();
  }
  return errno_status(errno, attempt(file.path));
}

absl::StatusOr<UniqueFd> listen_unix(int type, const SocketFile& file, int backlog) {
  const std::string& path = file.path;
  if (absl::Status status = check_length(path); !status.ok()) return status;
  UniqueFd fd = open_socket(type);
  if (!fd.valid()) return errno_status(errno, attempt(path));
  if (absl::Status status = bind_path(type, fd.get(), path); !status.ok()) return status;
  if (absl::Status opened = open_up(fd.get(), file, backlog); !opened.ok()) {
    unlink_socket(path);
    return opened;
  }
  return fd;
}

}  // namespace

absl::StatusOr<UniqueFd> listen_seqpacket(const SocketFile& file, int backlog) {
  return listen_unix(SOCK_SEQPACKET, file, backlog);
}

absl::StatusOr<UniqueFd> listen_stream(const SocketFile& file, int backlog) {
  return listen_unix(SOCK_STREAM, file, backlog);
}

absl::StatusOr<UniqueFd> listen_tcp(const Endpoint& endpoint, int backlog) {
  const std::string name = endpoint.url();
  const std::optional<SocketAddress> address = literal_address(endpoint);
  BERTH_CHECK(address && address->is_tcp(), "TCP is listened to at a literal address");
  UniqueFd fd(socket(address->family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.valid()) return errno_status(errno, attempt(name));
  const int on = 1;
  // Connections of a former berthd in TIME_WAIT do not matter; a process that listens does.
  setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(fd.get(), address->raw(), address->length) != 0 || listen(fd.get(), backlog) != 0) {
    return errno_status(errno, attempt(name));
  }
  return fd;
}

absl::Status change_mode(const std::string& path, mode_t mode) {
  if (chmod(path.c_str(), mode) == 0) return absl::OkStatus();
  return errno_status(errno, "give " + path + " another mode");
}

void unlink_socket(const std::string& path) {
  if (is_socket(path)) unlink(path.c_str());
}

FileIdentity identify_file(const std::string& path) {
  struct stat file {};
  if (stat(path.c_str(), &file) != 0) return {};
  return {file.st_dev, file.st_ino};
}

bool has_caller(int listener) {
  return poll_one(listener, POLLIN) != 0;
}

Accepted accept_session(int listener) {
  UniqueFd fd(accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (fd.valid()) return {Accepted::session, std::move(fd)};
  switch (errno) {
    case EAGAIN:
    case EINTR:
    case ECONNABORTED: return {Accepted::nothing, UniqueFd()};
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM: return {Accepted::out_of_fds, UniqueFd()};
    default: return {Accepted::failed, UniqueFd(), errno};
  }
}

}  // namespace berth::net
