// libberth: finding berthd, and its first word.
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <optional>
#include <string>

#include "berth/berth.h"
#include "client/packet.h"
#include "support/session_server.h"

namespace berth::client {
namespace {

using test::Peer;
using test::SessionServer;

// Sets a variable, or clears it, and puts it back.
class Variable {
 public:
  Variable(const char* name, const char* value) : name_(name) {
    if (const char* old = ::getenv(name)) old_ = old;
    value != nullptr ? ::setenv(name, value, 1) : ::unsetenv(name);
  }
  ~Variable() { old_ ? ::setenv(name_, old_->c_str(), 1) : ::unsetenv(name_); }

 private:
  const char* name_;
  std::optional<std::string> old_;
};

int open_result(const std::string& path) {
  berth_session* session = nullptr;
  const int result = berth_session_open(path.c_str(), &session);
  EXPECT_EQ(session == nullptr, result < 0);
  berth_session_close(session);
  return result;
}

TEST(Open, TheArgumentGoesBeforeTheEnvironment) {
  const Variable socket("BERTH_SOCKET", "/from/the/environment");
  EXPECT_EQ(socket_path("/given"), "/given");
  EXPECT_EQ(socket_path(nullptr), "/from/the/environment");
}

TEST(Open, TheUsersSocketGoesBeforeTheSystemsIfItExists) {
  const Variable socket("BERTH_SOCKET", nullptr);
  char folder[] = "/tmp/berth-test-XXXXXX";
  ASSERT_NE(::mkdtemp(folder), nullptr);
  const Variable runtime("XDG_RUNTIME_DIR", folder);
  EXPECT_EQ(socket_path(nullptr), "/run/berth/lease.sock");
  const std::string berth = std::string(folder) + "/berth";
  const std::string path = berth + "/lease.sock";
  ::mkdir(berth.c_str(), 0700);
  ::mkdir(path.c_str(), 0700);  // anything that exists
  EXPECT_EQ(socket_path(nullptr), path);
  ::rmdir(path.c_str());
  ::rmdir(berth.c_str());
  ::rmdir(folder);
}

TEST(Open, WithoutADaemonTheErrorSaysHowToStartOne) {
  EXPECT_EQ(open_result("/nonexistent/lease.sock"), -ENOENT);
  const std::string words = berth_error();
  EXPECT_NE(words.find("/nonexistent/lease.sock"), std::string::npos) << words;
  EXPECT_NE(words.find("berthd --user"), std::string::npos) << words;
  EXPECT_EQ(code_exit(static_cast<Code>(berth_error_code())), 69);
}

TEST(Open, APathTooLongForASocketIsNamedAsSuch) {
  EXPECT_EQ(open_result("/" + std::string(107, 'x')), -EINVAL);
  EXPECT_NE(std::string(berth_error()).find("107"), std::string::npos) << berth_error();
  EXPECT_EQ(open_result("/" + std::string(106, 'x')), -ENOENT);
}

TEST(Open, GoodbyeInsteadOfWelcomeIsItsCode) {
  SessionServer server([](Peer& peer) {
    peer.expect<wire::Hello>();
    peer.send(wire::Goodbye{Code::kTooManySessions, "33 holds 64 sessions already"});
  });
  EXPECT_EQ(open_result(server.path()), -EUSERS);
  EXPECT_EQ(berth_error_code(), BERTH_TOO_MANY_SESSIONS);
  EXPECT_NE(std::string(berth_error()).find("33 holds 64 sessions"), std::string::npos);
}

TEST(Open, AVersionFromTheFutureIsRefused) {
  SessionServer server([](Peer& peer) {
    EXPECT_EQ(peer.expect<wire::Hello>().version, 1u);
    peer.send(wire::Welcome{2, 1, "", {}});
  });
  EXPECT_EQ(open_result(server.path()), -EPROTONOSUPPORT);
}

TEST(Open, OtherFirstWordsAreProtocolErrors) {
  int round = 0;
  SessionServer server([&round](Peer& peer) {
    peer.expect<wire::Hello>();
    if (round == 0) peer.send(wire::Released{1, Code::kOk, ""});
    if (round == 1) peer.send_bytes("HTTP/1.1 400");
    ++round;
  });
  EXPECT_EQ(open_result(server.path()), -EPROTO);
  EXPECT_EQ(open_result(server.path()), -EPROTO);
  EXPECT_EQ(open_result(server.path()), -ECONNRESET);
}

TEST(Open, ALongNameIsCutBetweenCharacters) {
  SessionServer server([](Peer& peer) { EXPECT_EQ(peer.welcome().name, std::string(63, 'n')); });
  berth_session* session = nullptr;
  const std::string name = std::string(63, 'n') + "é";
  ASSERT_EQ(berth_session_open_named(server.path().c_str(), name.c_str(), &session), 0);
  berth_session_close(session);
}

TEST(Open, NothingIsAllowedNull) {
  EXPECT_EQ(berth_session_open("/x", nullptr), -EINVAL);
  berth_session_close(nullptr);
  EXPECT_EQ(berth_session_fd(nullptr), -EINVAL);
}

}  // namespace
}  // namespace berth::client
