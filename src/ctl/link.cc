#include "ctl/link.h"

#include <grpc/support/log.h>
#include <grpcpp/create_channel_posix.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>

#include "base/unique_fd.h"

namespace berth::ctl {
namespace {

// berthd answers from memory; one that does not has worse troubles than this call.
constexpr int kAnswerWithinS = 10;
constexpr const char* kSystemSocket = BERTH_RUNSTATEDIR "/berth/control.sock";

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

std::string find_socket(const std::string& named) {
  if (!named.empty()) return named;
  if (std::string path = environment("BERTH_CONTROL"); !path.empty()) return path;
  if (std::string dir = environment("XDG_RUNTIME_DIR"); !dir.empty()) {
    dir += "/berth/control.sock";
    if (access(dir.c_str(), F_OK) == 0) return dir;
  }
  return kSystemSocket;
}

Failure cannot_connect(const std::string& path, int error) {
  const std::string why = path + ": " + std::strerror(error);
  switch (error) {
    case ENOENT:
    case ECONNREFUSED:
      return {"berthd is not running: " + why +
                  "\nstart one for yourself with `berthd --user`, or the system's `berthd` as root",
              kUnavailable};
    case EACCES:
    case EPERM:
      return {"you may not use the control socket: " + why +
                  "\nroot may, and whom control_socket_mode and the socket's group let in",
              kNotPermitted};
    case EAGAIN: return {"berthd is too busy to answer: " + path, kTryAgain};
    case EPROTOTYPE: return {"not a control socket (a lease socket?): " + path, kUnavailable};
    default: return {"cannot connect to berthd: " + why, kUnavailable};
  }
}

// Nonblocking, as gRPC wants it, and so that a full backlog is an answer.
UniqueFd connect_to(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    throw Failure{"the socket's path is longer than 107 bytes: " + path, kUsage};
  }
  path.copy(address.sun_path, path.size());
  UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.valid() ||
      connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    throw cannot_connect(path, errno);
  }
  return fd;
}

}  // namespace

Link::Link(const std::string& named) {
  gpr_set_log_function([](gpr_log_func_args*) {});  // what matters is told by check()
  UniqueFd fd = connect_to(find_socket(named));
  stub_ = v1::Admin::NewStub(grpc::CreateInsecureChannelFromFd("berthd", fd.release()));
}

void Link::set_deadline(grpc::ClientContext& context) {
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(kAnswerWithinS));
}

void Link::check(const grpc::Status& status) {
  const std::string& text = status.error_message();
  switch (status.error_code()) {
    case grpc::StatusCode::OK: return;
    case grpc::StatusCode::INVALID_ARGUMENT:
    case grpc::StatusCode::NOT_FOUND: throw Failure{text, kUsage};
    case grpc::StatusCode::UNAUTHENTICATED:
    case grpc::StatusCode::PERMISSION_DENIED: throw Failure{text, kNotPermitted};
    case grpc::StatusCode::RESOURCE_EXHAUSTED: throw Failure{text, kTryAgain};
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      throw Failure{"berthd does not answer; waited " + std::to_string(kAnswerWithinS) + " s",
                    kTryAgain};
    case grpc::StatusCode::CANCELLED:  // by the end of the server
    case grpc::StatusCode::UNAVAILABLE:
      // berthd's own words, or gRPC's about its sockets.
      throw Failure{text == "berthd is stopping" ? text : "berthd has ended the connection",
                    kUnavailable};
    case grpc::StatusCode::UNIMPLEMENTED:
      throw Failure{"this berthd is of another version and does not know the command",
                    kUnavailable};
    default: throw Failure{"berthd: " + text, kUnavailable};
  }
}

}  // namespace berth::ctl
