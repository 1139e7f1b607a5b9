// grpc_lease: leases over gRPC, as a program outside this tree would: grpc++, the messages of
// berth.v1, and recvmsg(2).
//
//   grpc_lease CONTROL LEASE KEY [TOKEN]   leases KEY, says hello, prints the answer, gives it back
//   grpc_lease CONTROL LEASE --hold        prints its session's token and holds it until its
//                                          standard input ends
//
// CONTROL and LEASE are the sockets' paths. With TOKEN, the calls name that session instead of the
// program's own; whether they are served is all that can be tried then. A failed call goes to
// standard error, as its status and, if there is one, the Refusal; the exit status is 1.
#include <grpcpp/grpcpp.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <optional>
#include <string>

#include "berth/v1/leases.grpc.pb.h"

namespace {

namespace v1 = berth::v1;

constexpr size_t kMaxFrameBytes = 65536;
constexpr const char* kStatusNames[] = {
    "OK",        "CANCELLED",      "UNKNOWN",           "INVALID_ARGUMENT",   "DEADLINE_EXCEEDED",
    "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
    "ABORTED",   "OUT_OF_RANGE",   "UNIMPLEMENTED",     "INTERNAL",           "UNAVAILABLE",
    "DATA_LOSS", "UNAUTHENTICATED"};

struct Frame {
  v1::ServerFrame message;
  int fd = -1;  // of a Grant
};

class Session {
 public:
  bool open(const char* path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    fd_ = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) return false;
    v1::ClientFrame hello;
    hello.mutable_hello()->set_version(1);
    const std::string bytes = hello.SerializeAsString();
    if (send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL) < 0) return false;
    const std::optional<Frame> frame = receive();
    if (!frame || !frame->message.has_welcome()) return false;
    token_ = frame->message.welcome().token();
    return true;
  }

  std::string token_in_hex() const {
    std::string hex;
    char digits[3];
    for (const char byte : token_) {
      std::snprintf(digits, sizeof digits, "%02x", static_cast<unsigned char>(byte));
      hex += digits;
    }
    return hex;
  }

  std::optional<Frame> receive() {
    std::string bytes(kMaxFrameBytes, '\0');
    iovec data{bytes.data(), bytes.size()};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
    msghdr message{};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    const ssize_t got = recvmsg(fd_, &message, MSG_CMSG_CLOEXEC);
    Frame frame;
    if (got <= 0 || !frame.message.ParseFromArray(bytes.data(), static_cast<int>(got))) return {};
    if (const cmsghdr* header = CMSG_FIRSTHDR(&message)) {
      std::memcpy(&frame.fd, CMSG_DATA(header), sizeof frame.fd);
    }
    return frame;
  }

 private:
  int fd_ = -1;
  std::string token_;
};

int complain(const grpc::Status& status) {
  std::fprintf(stderr, "%s %s\n", kStatusNames[status.error_code()],
               status.error_message().c_str());
  v1::StatusDetails details;
  v1::Refusal refusal;
  if (details.ParseFromString(status.error_details()) && details.details_size() == 1 &&
      details.details(0).UnpackTo(&refusal)) {
    std::fprintf(stderr, "%s\n", v1::Code_Name(refusal.code()).c_str());
  }
  return 1;
}

bool say_hello(int fd) {
  char answer[64];
  if (write(fd, "hello\n", 6) != 6) return false;
  const ssize_t got = read(fd, answer, sizeof answer);
  if (got > 0) std::printf("%.*s", static_cast<int>(got), answer);
  return got > 0;
}

int lease(v1::Leases::Stub& leases, Session& session, const char* key, const std::string& token) {
  v1::LeaseRequest request;
  request.set_request_id(1);
  request.set_key(key);
  grpc::ClientContext asking;
  asking.AddMetadata("berth-session", token);
  v1::Grant grant;
  const grpc::Status status = leases.Lease(&asking, request, &grant);
  if (!status.ok()) return complain(status);
  if (token != session.token_in_hex()) return 0;

  const std::optional<Frame> frame = session.receive();  // was sent before the call completed
  if (!frame || frame->message.grant().request_id() != 1 || frame->fd < 0) return 1;
  if (!say_hello(frame->fd)) return 1;
  close(frame->fd);

  v1::Release release;
  release.set_lease_id(grant.leases(0).lease_id());
  release.set_outcome(v1::REUSE);
  grpc::ClientContext giving_back;
  giving_back.AddMetadata("berth-session", token);
  v1::Released released;
  const grpc::Status given = leases.Release(&giving_back, release, &released);
  return given.ok() ? 0 : complain(given);
}

}  // namespace

int main(int argc, char** argv) {
  Session session;
  if (argc < 4 || !session.open(argv[2])) {
    std::fprintf(stderr, "grpc_lease CONTROL LEASE KEY [TOKEN]\n");
    return 2;
  }
  if (std::strcmp(argv[3], "--hold") == 0) {
    std::printf("%s\n", session.token_in_hex().c_str());
    std::fflush(stdout);
    return std::getchar() == EOF ? 0 : 1;
  }
  const auto channel =
      grpc::CreateChannel(std::string("unix:") + argv[1], grpc::InsecureChannelCredentials());
  const auto leases = v1::Leases::NewStub(channel);
  return lease(*leases, session, argv[3], argc > 4 ? argv[4] : session.token_in_hex());
}
