// SessionServer: a scripted daemon for tests of session clients. It listens on a lease socket in a
// folder of its own, accepts one session after another and runs the script on each.
//
// The script runs on the server's thread and may use gtest's EXPECT; every wait has a deadline of
// 10 s, after which the test fails instead of hanging. The destructor ends and joins the thread.
#pragma once

#include <chrono>
#include <functional>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <variant>
#include <vector>

#include "base/unique_fd.h"
#include "wire/session_frames.h"

namespace berth::test {

inline constexpr std::chrono::seconds kPatience{10};

// True once poll(2) reports one of `events` (or an end) on `fd`; fails the test otherwise.
bool wait_for(int fd, short events);

// One session, seen from the daemon's side.
class Peer {
 public:
  explicit Peer(UniqueFd socket) : socket_(std::move(socket)) {}

  int fd() const { return socket_.get(); }

  // The client's next frame; nothing once it has ended the session.
  std::optional<wire::ClientFrame> receive();

  // The next frame, which must be of this kind.
  template <class Message>
  Message expect() {
    std::optional<wire::ClientFrame> frame = receive();
    if (frame && std::holds_alternative<Message>(*frame)) return std::get<Message>(*frame);
    wrong_frame(frame);
    return {};
  }
  void expect_end();

  void send(const wire::ServerFrame& frame, std::span<const int> fds = {});
  void send_bytes(std::string_view bytes, std::span<const int> fds = {});

  // Hello in, Welcome out. Gives the Hello.
  wire::Hello welcome();
  // Grants what was asked for, with lease ids from `first_id`: ends of new socket pairs. Gives the
  // other ends.
  std::vector<UniqueFd> grant(const wire::LeaseRequest& request, uint64_t first_id);
  void refuse(uint64_t request_id, Code code, std::string message);
  void close() { socket_.reset(); }

 private:
  static void wrong_frame(const std::optional<wire::ClientFrame>& frame);

  UniqueFd socket_;
};

class SessionServer {
 public:
  using Script = std::function<void(Peer&)>;

  explicit SessionServer(Script script);
  ~SessionServer();
  SessionServer(const SessionServer&) = delete;
  SessionServer& operator=(const SessionServer&) = delete;

  const std::string& path() const { return path_; }

 private:
  void serve();

  Script script_;
  std::string folder_;
  std::string path_;
  UniqueFd listener_;
  std::thread thread_;
};

// Open descriptors of this process.
size_t count_open_fds();

}  // namespace berth::test
