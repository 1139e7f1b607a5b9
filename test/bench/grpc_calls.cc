// grpc_calls: leases and releases over gRPC, and the least that a gRPC server can do with the same
// messages, to measure berthd against; and clients that ask for the status, to disturb it.
//
//   grpc_calls serve SOCKET                    answers berth.v1.Leases with messages made
//                                              beforehand: no session, no descriptor
//   grpc_calls load SOCKET TURNS               calls Lease and Release, TURNS times
//   grpc_calls load SOCKET TURNS LEASE KEY     the same with a session on the lease socket LEASE,
//                                              on which a descriptor comes and is closed
//   grpc_calls poll SOCKET CLIENTS PER_SECOND  so many connections, each of which calls
//   Admin.Status
//                                              so often (0: again as soon as it is answered) from
//                                              the line "polling" on until standard input ends
//
// `load` prints what a turn took as JSON, as lease_load does; `poll` how many calls were answered
// in a second.
#include <grpcpp/grpcpp.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "berth/v1/admin.grpc.pb.h"
#include "berth/v1/leases.grpc.pb.h"

namespace {

namespace v1 = berth::v1;
using Clock = std::chrono::steady_clock;
using std::chrono::nanoseconds;

constexpr int kWarmUpTurns = 300;

[[noreturn]] void fail(const std::string& what) {
  std::fprintf(stderr, "grpc_calls: %s\n", what.c_str());
  std::exit(1);
}

// ---- the bare server ----

class Bare final : public v1::Leases::CallbackService {
 public:
  Bare() {
    grant_.set_request_id(1);
    v1::GrantedLease& lease = *grant_.add_leases();
    lease.set_lease_id((uint64_t{1} << 40) + 1);  // as long as berthd's soon are
    lease.set_reused(true);
  }

 private:
  grpc::ServerUnaryReactor* Lease(grpc::CallbackServerContext* context, const v1::LeaseRequest*,
                                  v1::Grant* reply) override {
    *reply = grant_;
    return finish(context);
  }
  grpc::ServerUnaryReactor* Release(grpc::CallbackServerContext* context, const v1::Release*,
                                    v1::Released*) override {
    return finish(context);
  }
  static grpc::ServerUnaryReactor* finish(grpc::CallbackServerContext* context) {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }

  v1::Grant grant_;
};

void serve(const std::string& path) {
  Bare bare;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("unix:" + path, grpc::InsecureServerCredentials());
  builder.RegisterService(&bare);
  const auto server = builder.BuildAndStart();
  if (server == nullptr) fail(path);
  server->Wait();
}

// ---- the load ----

class Session {
 public:
  explicit Session(const char* path) : fd_(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    if (connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) fail(path);
    v1::ClientFrame hello;
    hello.mutable_hello()->set_version(1);
    const std::string bytes = hello.SerializeAsString();
    if (send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL) < 0) fail("send");
    char frame[4096];
    const ssize_t got = recv(fd_, frame, sizeof frame, 0);
    v1::ServerFrame welcome;
    if (got <= 0 || !welcome.ParseFromArray(frame, static_cast<int>(got))) fail("no welcome");
    for (const char byte : welcome.welcome().token()) {
      char digits[3];
      std::snprintf(digits, sizeof digits, "%02x", static_cast<unsigned char>(byte));
      token_ += digits;
    }
  }

  const std::string& token() const { return token_; }

  void receive_and_close() const {
    char frame[4096];
    iovec data{frame, sizeof frame};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
    msghdr message{};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    if (recvmsg(fd_, &message, MSG_CMSG_CLOEXEC) <= 0) fail("recvmsg");
    const cmsghdr* header = CMSG_FIRSTHDR(&message);
    if (header == nullptr) fail("a frame without a descriptor");
    int fd = -1;
    std::memcpy(&fd, CMSG_DATA(header), sizeof fd);
    close(fd);
  }

 private:
  const int fd_;
  std::string token_;
};

class Load {
 public:
  Load(const std::string& path, const Session* session, const char* key)
      : leases_(v1::Leases::NewStub(
            grpc::CreateChannel("unix:" + path, grpc::InsecureChannelCredentials()))),
        session_(session),
        token_(session != nullptr ? session->token() : std::string(32, '0')) {
    request_.set_request_id(1);
    request_.set_key(key);
    release_.set_outcome(v1::REUSE);
  }

  void turn() {
    grpc::ClientContext leasing, giving_back;
    v1::Grant grant;
    v1::Released released;
    leasing.AddMetadata("berth-session", token_);
    check(leases_->Lease(&leasing, request_, &grant));
    if (session_ != nullptr) session_->receive_and_close();
    release_.set_lease_id(grant.leases(0).lease_id());
    giving_back.AddMetadata("berth-session", token_);
    check(leases_->Release(&giving_back, release_, &released));
  }

 private:
  static void check(const grpc::Status& status) {
    if (!status.ok()) fail(status.error_message());
  }

  const std::unique_ptr<v1::Leases::Stub> leases_;
  const Session* session_;
  const std::string token_;
  v1::LeaseRequest request_;
  v1::Release release_;
};

void time_turns(Load load, int turns) {
  for (int i = 0; i < kWarmUpTurns; ++i) load.turn();
  std::vector<long> times;
  for (int i = 0; i < turns; ++i) {
    const Clock::time_point started = Clock::now();
    load.turn();
    times.push_back(std::chrono::duration_cast<nanoseconds>(Clock::now() - started).count());
  }
  std::sort(times.begin(), times.end());
  std::printf("{\"turns\": %d, \"warm_up\": %d, \"p50_ns\": %ld, \"p99_ns\": %ld}\n", turns,
              kWarmUpTurns, times[times.size() / 2], times[times.size() * 99 / 100]);
}

// ---- those who poll ----

// Asks on a connection of its own.
class Poller {
 public:
  explicit Poller(const std::string& path) {
    grpc::ChannelArguments own;
    own.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    admin_ = v1::Admin::NewStub(
        grpc::CreateCustomChannel("unix:" + path, grpc::InsecureChannelCredentials(), own));
  }

  void ask() {
    grpc::ClientContext context;
    v1::StatusReply reply;
    const grpc::Status status = admin_->Status(&context, {}, &reply);
    if (!status.ok()) fail(status.error_message());
  }

  // Returns how often it was answered. `pause`: from one call to the next, 0 for none.
  long ask_until(const std::atomic<bool>& over, Clock::time_point first, nanoseconds pause) {
    long answers = 0;
    for (Clock::time_point at = first; !over; at += pause, ++answers) {
      if (pause.count() > 0) std::this_thread::sleep_until(at);
      ask();
    }
    return answers;
  }

 private:
  std::unique_ptr<v1::Admin::Stub> admin_;
};

void poll(const std::string& path, int clients, int per_second) {
  const nanoseconds pause(per_second > 0 ? 1'000'000'000 / per_second : 0);
  std::vector<Poller> pollers;
  for (int i = 0; i < clients; ++i) pollers.emplace_back(path).ask();
  std::atomic<bool> over = false;
  std::atomic<long> answers = 0;
  std::vector<std::thread> threads;
  threads.reserve(pollers.size());
  const Clock::time_point started = Clock::now();
  for (int i = 0; i < clients; ++i) {
    threads.emplace_back([&, i] {
      answers +=
          pollers[static_cast<size_t>(i)].ask_until(over, started + i * pause / clients, pause);
    });
  }
  std::puts("polling");
  std::fflush(stdout);
  while (std::getchar() != EOF) continue;
  over = true;
  for (std::thread& thread : threads) thread.join();
  const std::chrono::duration<double> lasted = Clock::now() - started;
  std::printf("{\"per_second\": %.0f}\n", static_cast<double>(answers) / lasted.count());
}

int usage() {
  std::fputs(
      "usage: grpc_calls serve SOCKET\n"
      "       grpc_calls load SOCKET TURNS [LEASE KEY]\n"
      "       grpc_calls poll SOCKET CLIENTS PER_SECOND\n",
      stderr);
  return 64;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view what = argc > 1 ? argv[1] : "";
  if (what == "serve" && argc == 3) {
    serve(argv[2]);
  } else if (what == "load" && (argc == 4 || argc == 6) && std::atoi(argv[3]) > 0) {
    std::optional<Session> session;
    if (argc == 6) session.emplace(argv[4]);
    time_turns(Load(argv[2], session ? &*session : nullptr, argc == 6 ? argv[5] : "p0000"),
               std::atoi(argv[3]));
  } else if (what == "poll" && argc == 5 && std::atoi(argv[3]) > 0 && std::atoi(argv[4]) >= 0) {
    poll(argv[2], std::atoi(argv[3]), std::atoi(argv[4]));
  } else {
    return usage();
  }
  return 0;
}
