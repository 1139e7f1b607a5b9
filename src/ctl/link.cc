#include "ctl/link.h"

#include <grpc/support/log.h>
#include <grpcpp/create_channel_posix.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sysexits.h>
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

absl::Status cannot_connect(const std::string& path, int error) {
  const std::string why = path + ": " + std::strerror(error);
  switch (error) {
    case ENOENT:
    case ECONNREFUSED:
      return absl::UnavailableError(
          "berthd is not running: " + why +
          "\nstart one for yourself with `berthd --user`, or the system's `berthd` as root");
    case EACCES:
    case EPERM:
      return absl::PermissionDeniedError(
          "you may not use the control socket: " + why +
          "\nroot may, and whom control_socket_mode and the socket's group let in");
    case EAGAIN: return absl::ResourceExhaustedError("berthd is too busy to answer: " + path);
    case EPROTOTYPE:
      return absl::UnavailableError("not a control socket (a lease socket?): " + path);
    default: return absl::UnavailableError("cannot connect to berthd: " + why);
  }
}

// Nonblocking, as gRPC wants it, and so that a full backlog is an answer.
absl::StatusOr<UniqueFd> connect_to(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    return absl::InvalidArgumentError("the socket's path is longer than 107 bytes: " + path);
  }
  path.copy(address.sun_path, path.size());
  UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.valid() ||
      connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    return cannot_connect(path, errno);
  }
  return fd;
}

}  // namespace

int exit_code_of(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk: return EX_OK;
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kNotFound: return EX_USAGE;
    case absl::StatusCode::kUnauthenticated:
    case absl::StatusCode::kPermissionDenied: return EX_NOPERM;
    case absl::StatusCode::kResourceExhausted:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kAborted: return EX_TEMPFAIL;
    case absl::StatusCode::kFailedPrecondition: return EX_CONFIG;
    default: return EX_UNAVAILABLE;
  }
}

absl::StatusOr<Link> Link::open(const std::string& named) {
  gpr_set_log_function([](gpr_log_func_args*) {});  // what matters is told by status_of()
  absl::StatusOr<UniqueFd> fd = connect_to(find_socket(named));
  if (!fd.ok()) return fd.status();
  return Link(v1::Admin::NewStub(grpc::CreateInsecureChannelFromFd("berthd", fd->release())));
}

void Link::set_deadline(grpc::ClientContext& context) {
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(kAnswerWithinS));
}

// berthd's own words where they are its own, and not gRPC's about its sockets.
absl::Status Link::status_of(const grpc::Status& status) {
  const std::string& text = status.error_message();
  switch (status.error_code()) {
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      return absl::DeadlineExceededError("berthd does not answer; waited " +
                                         std::to_string(kAnswerWithinS) + " s");
    case grpc::StatusCode::CANCELLED:  // by the end of the server
    case grpc::StatusCode::UNAVAILABLE:
      return absl::UnavailableError(
          text == "berthd is stopping" ? text : "berthd has ended the connection");
    case grpc::StatusCode::UNIMPLEMENTED:
      return absl::UnimplementedError(
          "this berthd is of another version and does not know the command");
    default: return {static_cast<absl::StatusCode>(status.error_code()), text};
  }
}

absl::Status Link::watch(const v1::WatchRequest& request,
                         const std::function<bool(const v1::Event&)>& each) {
  grpc::ClientContext context;
  const auto stream = stub_->WatchEvents(&context, request);
  v1::Event event;
  while (stream->Read(&event)) {
    if (each(event)) continue;
    context.TryCancel();
    stream->Finish();
    return absl::OkStatus();
  }
  return status_of(stream->Finish());
}

}  // namespace berth::ctl
