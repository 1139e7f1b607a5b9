#include "support/session_server.h"

#include <dirent.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "base/limits.h"

namespace berth::test {

bool wait_for(int fd, short events) {
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  for (;;) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        deadline - std::chrono::steady_clock::now());
    pollfd poll{fd, events, 0};
    const int ready = ::poll(&poll, 1, static_cast<int>(std::max<int64_t>(left.count(), 0)));
    if (ready > 0) return true;
    if (ready < 0 && errno == EINTR) continue;
    ADD_FAILURE() << "nothing came within 10 s";
    return false;
  }
}

std::optional<wire::ClientFrame> Peer::receive() {
  if (!wait_for(fd(), POLLIN)) return std::nullopt;
  std::string bytes(kMaxFrameBytes, '\0');
  const ssize_t n = ::recv(fd(), bytes.data(), bytes.size(), MSG_DONTWAIT);
  if (n <= 0) return std::nullopt;
  auto decoded =
      wire::decode_client_frame(std::string_view(bytes).substr(0, static_cast<size_t>(n)));
  if (const auto* error = std::get_if<wire::DecodeError>(&decoded)) {
    ADD_FAILURE() << "the client sent a bad frame: " << error->message;
    return std::nullopt;
  }
  return std::get<wire::ClientFrame>(std::move(decoded));
}

void Peer::expect_end() {
  const auto frame = receive();
  EXPECT_FALSE(frame) << "a frame of kind " << frame->index() + 1 << " instead of the end";
}

void Peer::wrong_frame(const std::optional<wire::ClientFrame>& frame) {
  if (!frame) {
    ADD_FAILURE() << "the client ended the session";
  } else {
    ADD_FAILURE() << "the client sent a frame of kind " << frame->index() + 1;
  }
}

void Peer::send(const wire::ServerFrame& frame, std::span<const int> fds) {
  std::string bytes;
  wire::encode(frame, bytes);
  send_bytes(bytes, fds);
}

void Peer::send_bytes(std::string_view bytes, std::span<const int> fds) {
  std::string copy(bytes);
  iovec part{copy.data(), copy.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(kMaxBatch * sizeof(int))> control{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (!fds.empty()) {
    message.msg_control = control.data();
    message.msg_controllen = CMSG_SPACE(fds.size_bytes());
    cmsghdr* c = CMSG_FIRSTHDR(&message);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(fds.size_bytes());
    std::memcpy(CMSG_DATA(c), fds.data(), fds.size_bytes());
  }
  EXPECT_GE(::sendmsg(fd(), &message, MSG_NOSIGNAL), 0) << std::strerror(errno);
}

wire::Hello Peer::welcome() {
  auto hello = expect<wire::Hello>();
  send(wire::Welcome{1, 77, std::string(16, 't'), {kMaxFrameBytes, kMaxBatch, 4096, 256}});
  return hello;
}

std::vector<UniqueFd> Peer::grant(const wire::LeaseRequest& request, uint64_t first_id) {
  wire::Grant grant{request.request_id, {}};
  std::vector<UniqueFd> ours, theirs;
  std::vector<int> fds;
  for (uint32_t i = 0; i < request.count; ++i) {
    int pair[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    ours.emplace_back(pair[0]);
    theirs.emplace_back(pair[1]);
    fds.push_back(pair[1]);
    grant.leases.push_back({first_id + i, i % 2 == 1});
  }
  send(grant, fds);
  return ours;
}

void Peer::refuse(uint64_t request_id, Code code, std::string message) {
  send(wire::Refusal{request_id, code, std::move(message), std::nullopt});
}

SessionServer::SessionServer(Script script) : script_(std::move(script)) {
  char folder[] = "/tmp/berth-test-XXXXXX";
  folder_ = ::mkdtemp(folder);
  path_ = folder_ + "/lease.sock";
  listener_.reset(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path_.data(), path_.size());
  const auto* generic = reinterpret_cast<const sockaddr*>(&address);
  EXPECT_EQ(::bind(listener_.get(), generic, sizeof address), 0);
  EXPECT_EQ(::listen(listener_.get(), 16), 0);
  thread_ = std::thread([this] { serve(); });
}

SessionServer::~SessionServer() {
  ::shutdown(listener_.get(), SHUT_RDWR);  // wakes accept()
  thread_.join();
  ::unlink(path_.c_str());
  ::rmdir(folder_.c_str());
}

void SessionServer::serve() {
  for (;;) {
    UniqueFd accepted(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!accepted.valid()) return;
    Peer peer(std::move(accepted));
    script_(peer);
  }
}

size_t count_open_fds() {
  DIR* folder = ::opendir("/proc/self/fd");
  size_t count = 0;
  while (::readdir(folder) != nullptr) ++count;
  ::closedir(folder);
  return count - 3;  // ".", ".." and the folder's own
}

}  // namespace berth::test
