// Where the daemon's listening sockets come from: systemd passes some of them by name
// (sd_listen_fds(3)); the others are made.
//
// Loop thread.
#pragma once

#include <sys/types.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/unique_fd.h"
#include "net/listen.h"

namespace berth::net {

// A listening Unix socket, nonblocking and close-on-exec. The file of one that was made goes with
// it, unless it is another's by then; that of one that was passed stays.
class Listener {
 public:
  static Listener made(UniqueFd fd, std::string path);
  static Listener passed(UniqueFd fd);
  Listener(Listener&& other) noexcept;
  Listener& operator=(Listener&&) = delete;
  ~Listener();

  int fd() const { return fd_.get(); }
  // For people: "@NAME" for an abstract address.
  const std::string& path() const { return path_; }

 private:
  Listener(UniqueFd fd, std::string path, FileIdentity file);

  UniqueFd fd_;
  std::string path_;
  FileIdentity file_;  // that this process made
};

struct ListenSpec {
  std::string name;  // under which it may be passed
  int type;          // SOCK_SEQPACKET or SOCK_STREAM
  // For one that is made.
  SocketFile file;
  int backlog;
};

struct PassedSocket {
  std::string name;
  UniqueFd fd;
};

class Listeners {
 public:
  Listeners() = default;  // all are made
  explicit Listeners(std::vector<PassedSocket> passed) : passed_(std::move(passed)) {}

  // The socket that was passed under the name, if it is what it should be; else a new one.
  absl::StatusOr<Listener> open(const ListenSpec& spec);
  // TCP sockets are always made. `name`: whose it is, for the log.
  static absl::StatusOr<Listener> open_tcp(const std::string& name, const Endpoint& endpoint,
                                           int backlog);
  // To be called once all are open: what was passed must have been asked for.
  absl::Status check_all_used() const;

 private:
  std::vector<PassedSocket> passed_;
  std::vector<std::string> names_;  // of all that were opened
};

}  // namespace berth::net
