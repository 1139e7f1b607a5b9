// Asks a gRPC server for its health over a leased connection.
//
//     c++ -std=c++17 -o health grpc.cc $(pkg-config --cflags --libs berth grpc++)
//     ./health api
//
// An HTTP/2 connection is at an end with its client: what it negotiated cannot be undone. So the
// lease is never released for reuse; berthd dials the next one in advance (min_idle).
#include <fcntl.h>
#include <grpcpp/create_channel_posix.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <berth/berth.hpp>
#include <cstdio>
#include <memory>
#include <string>

// What HealthCheckResponse says, or why there is none.
static std::string health_over(const std::shared_ptr<grpc::Channel>& channel) {
  const std::string serving("\x08\x01", 2);  // the response's status is 1
  const grpc::Slice nothing;                 // a request that asks for the whole server
  const grpc::ByteBuffer request(&nothing, 1);
  grpc::ByteBuffer response;
  grpc::ClientContext context;
  grpc::CompletionQueue queue;
  grpc::Status status;
  grpc::GenericStub stub(channel);
  auto call = stub.PrepareUnaryCall(&context, "/grpc.health.v1.Health/Check", request, &queue);
  call->StartCall();
  call->Finish(&response, &status, nullptr);
  void* tag = nullptr;
  bool done = false;
  queue.Next(&tag, &done);
  if (!status.ok()) return status.error_message();
  grpc::Slice answer;
  if (!response.TrySingleSlice(&answer).ok()) return "an answer in pieces";
  const std::string bytes(answer.begin(), answer.end());
  return bytes == serving ? "serving" : "not serving";
}

int main(int argc, char** argv) {
  auto session = berth::Session::open();
  if (!session) return std::fprintf(stderr, "%s\n", session.error().words.c_str()), 1;
  auto lease = session->lease(argc > 1 ? argv[1] : "api", {1000});
  if (!lease) return std::fprintf(stderr, "%s\n", lease.error().words.c_str()), 1;
  // The channel closes the descriptor that it is given, at a time of its own; the lease has
  // another.
  const int fd = fcntl(lease->fd(), F_DUPFD_CLOEXEC, 0);
  if (fd < 0) return std::perror("health"), 1;
  const std::string health = health_over(grpc::CreateInsecureChannelFromFd("api", fd));
  std::puts(health.c_str());
  return health == "serving" ? 0 : 1;
}
